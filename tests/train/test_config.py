import runpy
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from vtnjax import recipes
from vtnjax.recipes import Consistency
from vtnjax.train import check_config, choose, make_optimiser
from vtnjax.train.config import naming

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
        ("model=fnc", "must be one of 'st_fcn', 'fcn', not 'fnc'; did you mean 'fcn'"),
        ("model", "must be one of 'st_fcn', 'fcn', not ''"),
        ("smoke=1", "must be a switch without a value"),
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
        ({"steps": -1}, "config.steps must be a whole number of at least 0, not -1"),
        ({"log_every": 1.5}, "config.log_every must be a whole number"),
        ({"learning_rate": 0.0}, "config.learning_rate must be above 0"),
        ({"learning_rate": float("nan")}, "config.learning_rate must be above 0"),
        ({"learning_rate": float("inf")}, "config.learning_rate must be above 0 and finite, not inf"),
        ({"learning_rate": "fast"}, "config.learning_rate must be above 0 and finite, not 'fast'"),
        ({"eval_every": 0}, "config.eval_every must be a whole number of at least 1, not 0"),
        ({"checkpoint_every": -1}, "config.checkpoint_every must be a whole number of at least 1, not -1"),
        ({"seed": -1}, "config.seed"),
        ({"seed": 2**63}, r"config.seed must be a whole number of at least 0 and below 2\*\*63"),
        ({"data_threads": -1}, "config.data_threads must be a whole number of at least 0, not -1"),
    ],
)
def test_numbers_that_make_no_sense_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        check_config(ConfigDict({**GOOD, **change}))


def test_a_config_that_lacks_a_key_is_refused():
    with pytest.raises(ValueError, match=r"the config must have steps, .*, but lacks steps"):
        check_config(ConfigDict({key: value for key, value in GOOD.items() if key != "steps"}))


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "configs").glob("*.py")), ids=lambda path: path.stem
)
def test_the_configs_of_this_project_pass(path):
    get_config = runpy.run_path(str(path))["get_config"]
    for variant in ("", "smoke"):
        recipes.check_config(get_config(variant))
        make_optimiser(get_config(variant))


def test_a_part_of_the_config_is_named():
    with pytest.raises(ValueError, match=r"^config.input: crop must be 3$"), naming("input"):
        raise ValueError("crop must be 3")
    with (
        pytest.raises(ValueError, match=r"^config.objective must (not have 'wieght'|have 'margin')"),
        naming("objective"),
    ):
        Consistency(weight=1.0, wieght=1.0)  # pyright: ignore[reportCallIssue]
    with pytest.raises(ValueError, match=r"^config.objective must have 'margin', for which"), naming("objective"):
        Consistency(weight=1.0)  # pyright: ignore[reportCallIssue]
    with pytest.raises(TypeError, match="not supported"), naming("input"):
        sorted([1, "a"])  # pyright: ignore[reportArgumentType]
