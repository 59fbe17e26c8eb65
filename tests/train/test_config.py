import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from vtnjax.train import check_config, choose, default_workdir, open_workdir

GOOD = {
    "steps": 10,
    "batch_size": 8,
    "learning_rate": 0.1,
    "seed": 0,
    "data_dir": "",
    "log_every": 1,
    "eval_every": 1,
    "checkpoint_every": 1,
    "dtype": "float32",
}
CHOICES = {"model": ("st_fcn", "fcn"), "warp": ("affine", "tps"), "smoke": False}


@pytest.mark.parametrize(
    ("variant", "chosen"),
    [
        ("", ("st_fcn", "affine", False)),
        ("smoke", ("st_fcn", "affine", True)),
        ("model=fcn,warp=tps", ("fcn", "tps", False)),
        (" warp = tps , smoke ", ("st_fcn", "tps", True)),
    ],
)
def test_variants_choose(variant, chosen):
    assert tuple(choose(variant, **CHOICES).values()) == chosen


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("smok", "did you mean 'smoke'"),
        ("modle=fcn", "did you mean 'model'"),
        ("model=fnc", "must be one of st_fcn, fcn, not 'fnc'; did you mean 'fcn'"),
        ("model", "must be one of st_fcn, fcn, not ''"),
        ("smoke=1", "takes no value"),
    ],
)
def test_wrong_variants_are_named_with_the_nearest(variant, words):
    with pytest.raises(ValueError, match=words):
        choose(variant, **CHOICES)


def test_a_good_config_passes():
    check_config(ConfigDict(GOOD))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 0}, "config.steps must be a whole number"),
        ({"log_every": 1.5}, "config.log_every must be a whole number"),
        ({"learning_rate": 0.0}, "config.learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "config.learning_rate must be above 0"),
        ({"seed": -1}, "config.seed"),
        ({"dtype": "bfloat61"}, "did you mean 'bfloat16'"),
    ],
)
def test_numbers_that_make_no_sense_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        check_config(ConfigDict({**GOOD, **change}))


def test_a_config_that_lacks_a_key_is_refused():
    with pytest.raises(ValueError, match="the config lacks steps"):
        check_config(ConfigDict({key: value for key, value in GOOD.items() if key != "steps"}))


def test_a_workdir_belongs_to_its_config(tmp_path):
    workdir = tmp_path / "a" / "b"
    open_workdir(workdir, ConfigDict(GOOD), write=True)
    assert json.loads((workdir / "config.json").read_text()) == GOOD
    open_workdir(workdir, ConfigDict(GOOD), write=True)
    other = {**GOOD, "steps": 20, "extra": (1, 2)}
    with pytest.raises(ValueError, match=r"extra was 'absent' and is now \[1, 2\]; steps was 10 and is now 20"):
        open_workdir(workdir, ConfigDict(other), write=True)
    assert [path.name for path in workdir.iterdir()] == ["config.json"]


def test_a_workdir_is_only_checked_where_it_is_not_written(tmp_path):
    open_workdir(tmp_path / "run", ConfigDict(GOOD), write=False)
    assert not (tmp_path / "run").exists()


def test_a_workdir_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"the workdir .*file/run cannot be written"):
        open_workdir(tmp_path / "file" / "run", ConfigDict(GOOD), write=True)


def test_the_default_workdir_is_named_after_config_and_variant():
    assert default_workdir("configs/digits_stn.py") == Path("runs/digits_stn")
    assert default_workdir("/x/digits_stn.py:smoke,model=fcn") == Path("runs/digits_stn-smoke-model_fcn")
