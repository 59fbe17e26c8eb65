"""What a workdir belongs to: a config and data, once a checkpoint is saved."""

import json
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict, FieldReference

from vtnjax import data, train
from vtnjax.train import DivergedError, default_workdir, open_workdir, own_data, remembered_divergence

CONFIG = {"steps": 10, "batch_size": 8, "learning_rate": 0.1, "clip_norm": 0.0, "data_dir": "a", "pretrained": "f.pth"}


def config(**changes):
    return ConfigDict({**CONFIG, **changes})


def stored(workdir, name="config.json"):
    return json.loads((workdir / name).read_text())


def save_checkpoint(workdir, step=4):
    (workdir / "checkpoints" / str(step)).mkdir(parents=True)


def diverge(workdir, *, write=True):
    with pytest.raises(DivergedError), remembered_divergence(workdir, write=write):
        raise DivergedError("the loss of step 7 is nan")


def images(classes, count=6):
    labels = np.arange(count) % len(classes)
    return data.Arrays(np.zeros((count, 2, 2, 1), np.uint8), labels, tuple(classes))


def test_a_workdir_belongs_to_its_config_once_a_checkpoint_is_saved(tmp_path):
    workdir = tmp_path / "a" / "b"
    open_workdir(workdir, config(), write=True)
    assert stored(workdir) == CONFIG
    open_workdir(workdir, config(steps=20), write=True)
    assert stored(workdir) == {**CONFIG, "steps": 20}
    (workdir / "checkpoints" / "4.orbax-checkpoint-tmp").mkdir(parents=True)
    (workdir / "checkpoints" / "damaged-4").mkdir()
    assert open_workdir(workdir, config(), write=True) == []
    save_checkpoint(workdir)
    assert open_workdir(workdir, config(), write=True) == []
    for write in (True, False):
        with pytest.raises(ValueError, match=r"extra must be 'absent', not \[1, 2\]; steps must be 10, not 20"):
            open_workdir(workdir, config(steps=20, extra=(1, 2)), write=write)
    assert stored(workdir) == CONFIG


def test_a_trained_network_may_be_evaluated_with_what_its_training_had_otherwise(tmp_path):
    kept = {"evaluation": {"name": "a"}, "picture": {"name": "b"}, "log_every": 5, "tensorboard": False}
    open_workdir(tmp_path, config(**kept), write=True)
    save_checkpoint(tmp_path)
    other = {"evaluation": {"name": "c", "threshold": 0.2}, "picture": {"name": "d"}, "log_every": 6}
    other |= {"tensorboard": True, "batch_size": 16, "data_dir": "elsewhere"}
    open_workdir(tmp_path, config(**kept | other), write=False, trains=False)
    assert stored(tmp_path) == CONFIG | kept
    for key in other.keys() - {"data_dir", "log_every", "tensorboard"}:
        with pytest.raises(ValueError, match=f"must be that of the run in .*: {key} must be "):
            open_workdir(tmp_path, config(**kept | {key: other[key]}), write=False)
    for key in ("learning_rate", "steps"):
        with pytest.raises(ValueError, match=f"must be that of the run in .*: {key} must be .*, not 3. Use"):
            open_workdir(tmp_path, config(**kept | other | {key: 3}), write=False, trains=False)


def test_steps_that_follow_the_batch_size_follow_it_where_a_network_is_evaluated(tmp_path):
    def of_epochs(batch_size, images=64):
        size = FieldReference(8)
        made = config(batch_size=size, steps=10 * (images // size))
        made.batch_size = batch_size
        return made

    open_workdir(tmp_path, of_epochs(8), write=True)
    save_checkpoint(tmp_path)
    larger = of_epochs(32)
    open_workdir(tmp_path, larger, write=False, trains=False)
    assert (larger.batch_size, larger.steps) == (32, 20)
    with pytest.raises(ValueError, match="steps must be 80, not 160"):
        open_workdir(tmp_path, of_epochs(32, images=128), write=False, trains=False)


def test_what_is_only_told_of_a_run_may_change(tmp_path):
    open_workdir(tmp_path, config(log_every=5, tensorboard=False), write=True)
    save_checkpoint(tmp_path)
    history = open_workdir(tmp_path, config(log_every=7, tensorboard=True), write=True)
    assert [(change["key"], change["after"]) for change in history] == [("log_every", 7), ("tensorboard", True)]


def test_a_run_goes_on_with_what_is_overridden_and_remembers_what_was(tmp_path):
    open_workdir(tmp_path, config(), write=True)
    save_checkpoint(tmp_path)
    more = config(steps=20, learning_rate=0.01)
    with pytest.raises(ValueError, match=r"learning_rate must be 0.1, not 0.01\. .*, or name .* by --override=KEY,KEY"):
        open_workdir(tmp_path, more, write=True, override=("steps",))
    assert stored(tmp_path) == CONFIG
    history = [
        {"step": 4, "key": "learning_rate", "before": 0.1, "after": 0.01},
        {"step": 4, "key": "steps", "before": 10, "after": 20},
    ]
    assert open_workdir(tmp_path, more, write=True, override=("steps", "learning_rate")) == history
    assert stored(tmp_path) == {**CONFIG, "steps": 20, "learning_rate": 0.01, "history": history}
    assert open_workdir(tmp_path, more, write=True) == history  # the same command goes on without it
    with pytest.raises(ValueError, match="steps must be 20, not 10"):
        open_workdir(tmp_path, config(learning_rate=0.01), write=True)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("stepz", "--override must name keys of the config, not 'stepz'; did you mean 'steps'"),
        ("clip", "--override must name keys of the config, not 'clip'; did you mean 'clip_norm'"),
        ("batch_size", "--override must not name 'batch_size', which a run keeps: start another run"),
    ],
)
def test_what_cannot_be_overridden_is_a_sentence(tmp_path, key, said):
    with pytest.raises(ValueError, match=said):
        open_workdir(tmp_path, config(), write=True, override=(key,))


def test_a_run_cannot_have_fewer_steps_than_it_has(tmp_path):
    open_workdir(tmp_path, config(), write=True)
    save_checkpoint(tmp_path, 8)
    with pytest.raises(ValueError, match=r"config.steps must be at least the 8 that the run in .* has done, not 7"):
        open_workdir(tmp_path, config(steps=7), write=True, override=("steps",))
    open_workdir(tmp_path, config(steps=8), write=True, override=("steps",))


def test_the_run_whose_weights_it_began_with_is_remembered(tmp_path):
    history = [{"step": 0, "key": "init_from", "before": "", "after": "runs/a"}]
    assert open_workdir(tmp_path, config(), write=True, init_from="runs/a") == history
    assert stored(tmp_path)["history"] == history
    assert open_workdir(tmp_path, config(), write=True) == []  # nothing was saved
    open_workdir(tmp_path, config(), write=True, init_from="runs/a")
    save_checkpoint(tmp_path)
    assert open_workdir(tmp_path, config(), write=True) == history
    assert open_workdir(tmp_path, config(), write=True, init_from="runs/b") == history


def test_a_config_of_other_keys_is_refused_by_them_alone(tmp_path):
    open_workdir(tmp_path, config(backbone="resnet18", photo=3), write=True)
    save_checkpoint(tmp_path)
    said = rf"run in {tmp_path}: its keys, .*, must be backbone, photo, not network\. Use the"
    with pytest.raises(ValueError, match=said):
        open_workdir(tmp_path, config(network=1, steps=20), write=True)


def test_a_workdir_is_only_checked_where_it_is_not_written(tmp_path):
    open_workdir(tmp_path / "run", config(), write=False)
    own_data(tmp_path / "run", images("ab"), images("ab"), write=False)
    assert not (tmp_path / "run").exists()


def test_a_workdir_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"the workdir .*file/run cannot be written"):
        open_workdir(tmp_path / "file" / "run", config(), write=True)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_a_damaged_config_is_named_where_it_matters(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    assert open_workdir(tmp_path, config(), write=True) == []
    assert stored(tmp_path) == CONFIG
    (tmp_path / "config.json").write_text(text)
    save_checkpoint(tmp_path)
    for read in (lambda: open_workdir(tmp_path, config(), write=True), lambda: train.read_config(tmp_path)):
        with pytest.raises(ValueError, match=r"config.json must hold a JSON object, .*: restore it, or remove it"):
            read()
    (tmp_path / "config.json").unlink()
    assert open_workdir(tmp_path, config(), write=True) == []
    assert stored(tmp_path) == CONFIG


def test_files_may_move_once_a_checkpoint_is_saved(tmp_path):
    open_workdir(tmp_path, config(), write=True)
    save_checkpoint(tmp_path)
    moved = {"data_dir": "b", "pretrained": ""}
    history = [
        {"step": 4, "key": "data_dir", "before": "a", "after": "b"},
        {"step": 4, "key": "pretrained", "before": "f.pth", "after": ""},
    ]
    assert open_workdir(tmp_path, config(**moved), write=False) == history
    assert stored(tmp_path) == CONFIG
    assert open_workdir(tmp_path, config(**moved), write=True) == history
    assert stored(tmp_path) == {**CONFIG, **moved, "history": history}
    assert open_workdir(tmp_path, config(**moved), write=True) == history


def test_after_a_divergence_the_rate_and_the_clipping_may_change(tmp_path):
    open_workdir(tmp_path, config(), write=True)
    save_checkpoint(tmp_path)
    lower = {"learning_rate": 0.01, "clip_norm": 1.0}
    with pytest.raises(ValueError, match=r"clip_norm must be 0\.0, not 1\.0; learning_rate must be 0\.1, not"):
        open_workdir(tmp_path, config(**lower), write=True)
    diverge(tmp_path)
    assert stored(tmp_path, "diverged.json") == {"step": 4, "error": "the loss of step 7 is nan"}
    with pytest.raises(ValueError, match=r"the config must be that of the run in .*: steps must be 10, not 20\. Use"):
        open_workdir(tmp_path, config(**lower, steps=20), write=True)
    history = [
        {"step": 4, "key": "clip_norm", "before": 0.0, "after": 1.0},
        {"step": 4, "key": "learning_rate", "before": 0.1, "after": 0.01},
    ]
    assert open_workdir(tmp_path, config(**lower), write=True) == history
    assert stored(tmp_path) == {**CONFIG, **lower, "history": history}
    assert train.read_config(tmp_path) == ({**CONFIG, **lower}, history)


def test_a_second_attempt_takes_the_place_of_one_that_saved_nothing(tmp_path):
    open_workdir(tmp_path, config(), write=True)
    save_checkpoint(tmp_path)
    diverge(tmp_path)
    open_workdir(tmp_path, config(learning_rate=0.05), write=True)
    found = open_workdir(tmp_path, config(learning_rate=0.01), write=True)
    assert found == [{"step": 4, "key": "learning_rate", "before": 0.1, "after": 0.01}]
    assert open_workdir(tmp_path, config(), write=True) == []
    assert stored(tmp_path) == CONFIG


def test_a_divergence_is_past_once_another_checkpoint_is_saved(tmp_path):
    open_workdir(tmp_path, config(), write=True)
    save_checkpoint(tmp_path)
    diverge(tmp_path)
    first = open_workdir(tmp_path, config(learning_rate=0.01), write=True)
    save_checkpoint(tmp_path, 8)
    with pytest.raises(ValueError, match=r"learning_rate must be 0\.01, not"):
        open_workdir(tmp_path, config(learning_rate=0.001), write=True)
    diverge(tmp_path)
    history = open_workdir(tmp_path, config(learning_rate=0.001), write=True)
    assert history == [*first, {"step": 8, "key": "learning_rate", "before": 0.01, "after": 0.001}]


def test_only_a_process_that_writes_remembers_a_divergence(tmp_path):
    diverge(tmp_path, write=False)
    assert not list(tmp_path.iterdir())


def test_data_belong_to_a_run_once_a_checkpoint_is_saved(tmp_path):
    own_data(tmp_path, images("ab"), images("ab"), write=True)
    own_data(tmp_path, images("abc", 9), images("abc", 3), write=True)
    wanted = {"classes": ["a", "b", "c"], "image": [2, 2, 1], "training_images": 9, "test_images": 3}
    assert stored(tmp_path, "data.json") == wanted
    save_checkpoint(tmp_path)
    own_data(tmp_path, images("abc", 9), images("abc", 3), write=True)
    with pytest.raises(ValueError, match=r"must have the 9 training images of the run in .*, not 12"):
        own_data(tmp_path, images("abc", 12), images("abc", 3), write=True)
    with pytest.raises(ValueError, match=r"must have the 3 test images of the run in .*, not 6"):
        own_data(tmp_path, images("abc", 9), images("abc", 6), write=False)
    assert stored(tmp_path, "data.json") == wanted


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ("zbc", r"the 3 classes of the run in .*: class 0 must be 'a', not 'z'\."),
        ("acb", r"the 3 classes of the run in .*: class 1 must be 'b', not 'c'\."),
        ("ab", r"the 3 classes, not 2, of the run in .*: class 2 must be 'c', not absent\."),
        ("abcd", r"the 3 classes, not 4, of the run in .*: class 3 must be absent, not 'd'\."),
    ],
)
@pytest.mark.parametrize("write", [True, False])
def test_other_classes_are_refused_by_name(tmp_path, classes, said, write):
    own_data(tmp_path, images("abc", 12), images("abc", 12), write=True)
    save_checkpoint(tmp_path)
    with pytest.raises(ValueError, match=said):
        own_data(tmp_path, images(classes, 12), images(classes, 12), write=write)


def test_of_ten_thousand_classes_the_first_that_differs_is_named(tmp_path):
    before = [f"species {number}" for number in range(10_000)]
    after = [*before[:7000], "moth", *before[7001:-1]]
    own_data(tmp_path, images(before), images(before), write=True)
    save_checkpoint(tmp_path)
    with pytest.raises(
        ValueError, match=r"10,000 classes, not 9,999, of .*: class 7000 must be 'species 7000', not 'moth'"
    ) as e:
        own_data(tmp_path, images(after), images(after), write=True)
    assert len(str(e.value)) < 300 + len(str(tmp_path))


def test_a_run_older_than_the_record_goes_on_and_gets_it(tmp_path):
    save_checkpoint(tmp_path)
    own_data(tmp_path, images("ab"), images("ab"), write=False)
    assert not (tmp_path / "data.json").exists()
    own_data(tmp_path, images("ab"), images("ab"), write=True)
    with pytest.raises(ValueError, match="class 1 must be 'b', not 'c'"):
        own_data(tmp_path, images("ac"), images("ac"), write=False)


def test_a_record_without_the_images_shape_gets_it_and_keeps_the_rest(tmp_path):
    own_data(tmp_path, images("ab"), images("ab"), write=True)
    save_checkpoint(tmp_path)
    whole = stored(tmp_path, "data.json")
    older = {key: value for key, value in whole.items() if key != "image"} | {"beside": 1}
    (tmp_path / "data.json").write_text(json.dumps(older))
    own_data(tmp_path, images("ab"), images("ab"), write=False)
    assert stored(tmp_path, "data.json") == older
    own_data(tmp_path, images("ab"), images("ab"), write=True)
    assert stored(tmp_path, "data.json") == whole | {"beside": 1}
    larger = data.Arrays(np.zeros((6, 4, 4, 1), np.uint8), np.arange(6) % 2, ("a", "b"))
    own_data(tmp_path, larger, larger, write=True)  # photographs are often stored anew at another size
    assert stored(tmp_path, "data.json")["image"] == [2, 2, 1]


def test_the_default_workdir_is_named_after_config_and_variant():
    assert default_workdir("configs/digits_stn.py") == Path("runs/digits_stn")
    assert default_workdir("/x/digits_stn.py:smoke,model=fcn") == Path("runs/digits_stn-smoke-model_fcn")


def test_a_run_of_before_there_were_some_keys_goes_on(tmp_path):
    open_workdir(tmp_path, config(), write=True)
    save_checkpoint(tmp_path)
    later = dict(train.config.LATER)
    assert open_workdir(tmp_path, config(**later), write=True) == []
    assert stored(tmp_path) == {**CONFIG, **later}
    with pytest.raises(ValueError, match=r"the config must be that of the run .*: head_multiplier must be 1\.0, not 5"):
        open_workdir(tmp_path, config(**later | {"head_multiplier": 5.0}), write=True)
