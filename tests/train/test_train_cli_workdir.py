"""What a run depends on, by runs of train.py: its config once a checkpoint is saved, and its data by what they are."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import train_runs as runs

pytestmark = pytest.mark.slow

TINY = {"steps": 2, "batch_size": 8, "log_every": 1, "eval_every": 2, "checkpoint_every": 2}
WITHOUT = """
import runpy


def get_config(key):
    config = runpy.run_path("configs/digits_stn.py")["get_config"]("smoke")
    del config[key]
    return config
"""

TWICE = """
import runpy
import sys

for line in sys.argv[1:]:
    sys.argv = line.split()
    try:
        runpy.run_path("train.py", run_name="__main__")
    except SystemExit as end:
        print(end.code)
"""


def write_images(root: Path, classes: str, *, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for name in classes:
        for split, count in (("train", 8), ("test", 4)):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 256, (28, 28), np.uint8))
    return root


def rename(root: Path, before: str, after: str) -> None:
    for split in ("train", "test"):
        (root / split / before).rename(root / split / after)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on a folder of three classes, and the folder."""
    root = tmp_path_factory.mktemp("trained")
    images = write_images(root / "images", "abc")
    runs.run_in_turn(root / "run", dataset="folder", data_dir=images, **TINY)
    return root


@pytest.fixture
def copied(trained, tmp_path):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run", tmp_path / "images"


def test_a_start_that_failed_does_not_own_the_workdir(tmp_path):
    workdir = tmp_path / "run"
    said = runs.complaint(workdir, dataset="folder", data_dir=tmp_path / "nothing", **TINY)
    assert "nothing" in said
    runs.run_in_turn(workdir, **TINY)
    assert runs.checkpoints(workdir) == [2]
    assert json.loads((workdir / "config.json").read_text())["dataset"] == "generated"


def test_after_a_divergence_a_lower_rate_and_clipping_go_on(tmp_path):
    wild = {**TINY, "steps": 3, "checkpoint_every": 3, "eval_every": 1, "optimiser": "momentum", "clip_norm": 0.0}
    wild |= {"warmup_steps": 1, "schedule": "constant", "learning_rate": 1e30}  # of the first step the rate is 0
    said = runs.complaint(tmp_path, **wild)
    assert "the last good checkpoint is step 1" in said
    tame = {**wild, "learning_rate": 0.01, "clip_norm": 1.0}
    assert "batch_size must be 8, not 16" in runs.complaint(tmp_path, **{**tame, "batch_size": 16})
    out, _ = runs.run_in_turn(tmp_path, **tame)
    assert "resuming from step 1" in out
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["history"] == [
        {"step": 1, "key": "clip_norm", "before": 0.0, "after": 1.0},
        {"step": 1, "key": "learning_rate", "before": 1e30, "after": 0.01},
    ]
    assert (config["learning_rate"], config["clip_norm"]) == (0.01, 1.0)
    # A mean of predictions has no warp.
    last = out.splitlines()[-1].removeprefix("finished: step 3, ").partition(", folded ")[0]
    out, _ = runs.run_in_turn(tmp_path, "--eval_only", "--also", str(tmp_path), **tame)
    assert out.splitlines()[-1] == f"step 3: {last}"
    assert "learning_rate must be 0.01, not 0.001" in runs.complaint(tmp_path, **{**tame, "learning_rate": 0.001})


def test_more_steps_end_as_if_they_had_been_asked_for_at_first(tmp_path):
    constant = {**TINY, "schedule": "constant", "optimiser": "momentum"}
    runs.run_in_turn(tmp_path / "long", **{**constant, "steps": 5})
    runs.run_in_turn(tmp_path / "run", **constant)
    out, _ = runs.run_in_turn(tmp_path / "run", "--override=steps", **{**constant, "steps": 5})
    assert "resuming from step 2" in out
    runs.assert_same_run(tmp_path / "run", tmp_path / "long", 5)
    said = runs.complaint(tmp_path / "run", "--override=steps", **{**constant, "steps": 4})
    assert "config.steps must be at least the 5 that the run in" in said
    assert "without --eval_only" in runs.complaint(tmp_path / "run", "--override=steps", "--eval_only", **constant)


def test_a_run_begins_with_the_weights_of_another_and_goes_on_without_it(copied, tmp_path):
    workdir, _ = copied
    write_images(tmp_path / "more", "abcd")
    options = {"dataset": "folder", "data_dir": tmp_path / "more", **TINY}
    out, _ = runs.run_in_turn(tmp_path / "next", "--init_from", str(workdir), **options)
    assert f"arrays from {workdir}, step 2" in out
    assert re.findall(r"  not (\S+), which has the shape \(\S+, 3\) there and \(\S+, 4\) here", out)
    history = json.loads((tmp_path / "next" / "config.json").read_text())["history"]
    assert history == [{"step": 0, "key": "init_from", "before": "", "after": str(workdir)}]
    shutil.rmtree(workdir)
    out, _ = runs.run_in_turn(tmp_path / "next", "--init_from", str(workdir), **options)
    assert "this run is finished: step 2" in out
    said = runs.complaint(tmp_path / "third", "--init_from", str(workdir), **options)
    assert "must be the workdir of a trained run" in said


def test_a_renamed_class_is_refused_by_name(copied, trained):
    workdir, images = copied
    rename(images, "a", "z")
    options = {"dataset": "folder", "data_dir": images, **TINY}
    said = runs.complaint(workdir, "--eval_only", **options)
    assert f"the 3 classes of the run in {workdir}: class 0 must be 'a', not 'b'" in said
    assert "class 0 must be 'a', not 'b'" in runs.complaint(workdir, **options)
    other = workdir.with_name("other")
    runs.run_in_turn(other, **options)
    said = runs.complaint(other, "--eval_only", "--also", str(trained / "run"), **options)
    assert f"the 3 classes of the run in {trained / 'run'}: class 0 must be 'a'" in said


def test_a_run_does_not_depend_on_where_its_images_lie(copied):
    workdir, images = copied
    moved = images.rename(images.with_name("moved"))
    options = {"dataset": "folder", **TINY}
    first, _ = runs.run_in_turn(workdir, "--eval_only", data_dir=moved, **options)
    again, _ = runs.run_in_turn(workdir, "--eval_only", data_dir=f"{moved}/", **options)
    assert first.splitlines()[-1] == again.splitlines()[-1]
    assert "this run is finished: step 2" in runs.run_in_turn(workdir, data_dir=f"{moved}/", **options)[0]
    (moved / "train" / "a" / "7.png").unlink()
    said = runs.complaint(workdir, data_dir=moved, **options)
    assert "must have the 24 training images of the run in" in said


def test_a_run_does_not_depend_on_the_weights_it_began_with(tmp_path):
    options = {
        **TINY,
        "config": "configs/cub_vtn.py:smoke,backbone=squeezenet,warp=none",
        "batches.images_per_class": 2,
    }
    runs.run_in_turn(tmp_path / "run", **options)
    options["pretrained"] = tmp_path / "moved.pth"
    out, _ = runs.run_in_turn(tmp_path / "run", "--eval_only", **options)
    assert out.splitlines()[-1].startswith("step 2: test error ")
    assert "this run is finished: step 2" in runs.run_in_turn(tmp_path / "run", **options)[0]
    out, _ = runs.run_in_turn(tmp_path / "run", "--eval_only", "--also", str(tmp_path / "run"), **options)
    assert out.splitlines()[-1].startswith("step 2: test error ")
    assert "moved.pth" in runs.complaint(tmp_path / "other", **options)


@pytest.mark.parametrize("text", ["", "[1]"])
def test_a_damaged_config_of_a_run_is_named(copied, text):
    workdir, images = copied
    (workdir / "config.json").write_text(text)
    options = {"dataset": "folder", "data_dir": images, **TINY}
    for words in ([], ["--eval_only"]):
        assert f"{workdir / 'config.json'} must hold a JSON object" in runs.complaint(workdir, *words, **options)


def test_words_left_over_and_wrong_keys_are_named(tmp_path):
    said = runs.complaint(tmp_path / "run", "eval_only", f"workdir={tmp_path}", "--config.tensorboard", "False")
    assert said == (
        "'eval_only' belongs to no flag; did you mean --eval_only?; "
        f"'workdir={tmp_path}' belongs to no flag; did you mean --workdir={tmp_path}?; "
        "'False' belongs to no flag; did you mean --config.tensorboard=False?"
    )
    said = runs.complaint(tmp_path / "run", config="configs/cub_vtn.py:smoke", **{"inputs.crop": 48})
    assert said == "the config has no key 'inputs'; did you mean 'input'?"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("key", ["optimiser", "clip_norm", "dataset", "network", "tensorboard"])
def test_a_config_file_that_lacks_a_key_is_told_which(tmp_path, key):
    (tmp_path / "without.py").write_text(WITHOUT)
    said = runs.complaint(tmp_path / "run", config=f"{tmp_path / 'without.py'}:{key}")
    assert said.startswith(f"the config lacks the key {key!r}")


def test_boundaries_in_steps_are_refused(tmp_path):
    said = runs.complaint(tmp_path, schedule="step", boundaries="(20,30)")
    assert "config.boundaries must be increasing fractions of the run" in said
    assert said.endswith("not (20, 30); steps (20, 30) of 40 are (0.5, 0.75)")


def test_the_script_runs_twice_in_one_interpreter(tmp_path):
    """As `%run train.py` does in a notebook; the second run has the flags of its own line only."""
    line = f"train.py --config {runs.CONFIG} --workdir {tmp_path}"
    first, second = f"{line} --eval_only --config.seed=-1", f"{line} --config.steps=3 --config.warmup_steps=99"
    command = [sys.executable, "-c", TWICE, first, second]
    done = subprocess.run(command, cwd=runs.ROOT, capture_output=True, text=True, env=runs.environment())
    ends = [end for end in done.stdout.splitlines() if end.startswith("train.py: ")]
    assert "config.seed must be" in ends[0]
    assert ends[1:] == ["train.py: config.warmup_steps must be from 0 to below steps (3), not 99"]
