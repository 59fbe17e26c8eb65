"""The config of the trilinear attention sampling network: every variant builds, and some run."""

import config_files
import optax
import pytest
import train_runs as runs

from vtnjax import train

ATTENTIONS = ("both", "features", "plain", "spatial", "spatial_both", "output", "relation", "self")
SMALL = [
    *(f"sampler={sampler}" for sampler in ("inverse_cdf", "ssn", "uniform", "none")),
    "branch=master",
    "parts=2,selection=ranked",
    "predict=part,attention=self",
]
TRUNKS = ["backbone=resnet50", "backbone=resnet101,resolution=448", "backbone=vgg19,dataset=cars", "dataset=inat2017"]


def get_config(variant):
    return config_files.get_config("cub_tasn", variant)


def assert_builds(variant):
    """A step of a variant has the shapes it should, and evaluation one row of logits an image; nothing is computed."""
    config = get_config(variant)
    recipe = config_files.read(config, "cub_tasn", f"smoke,dataset={config.dataset.removeprefix('drawn:')}")
    _, metrics, (logits, out) = config_files.shapes(recipe, optax.sgd(0.1))
    assert ("soft_loss" in metrics) == (config.network.parts > 0)
    assert logits.shape == (config.batch_size, len(recipe.train.classes))
    assert "coords" in out


@pytest.mark.parametrize("variant", SMALL)
@pytest.mark.daily("sampler=none")
def test_small_variants_build(variant):
    assert_builds(f"smoke,backbone=squeezenet,{variant}")


@pytest.mark.slow
@pytest.mark.parametrize("variant", [*TRUNKS, *(f"backbone=squeezenet,attention={name}" for name in ATTENTIONS)])
def test_the_other_variants_build(variant):
    assert_builds(f"smoke,{variant}")


def test_the_references_settings_are_the_defaults():
    config = get_config("")
    assert (config.optimiser, config.learning_rate, config.momentum, config.weight_decay) == ("sgd", 0.1, 0.0, 0.0)
    assert (config.batch_size, config.steps) == (96, 300 * (5994 // 96))
    assert train.learning_rate_schedule(config)(config.steps // 3 + 1) == pytest.approx(0.01)
    config.batch_size = 12
    assert train.learning_rate_schedule(config)(0) == pytest.approx(0.0125)
    assert (config.network.resolution, config.network.parts, config.network.attention.sharpness) == (224, 1, 7.0)
    assert get_config("branch=master").network.parts == 0
    assert get_config("sampler=none").network.parts == 0


@pytest.mark.slow
def test_a_smoke_run_ends_with_a_figure_and_a_picture(tmp_path):
    config = f"{runs.SMALLER}:cub_tasn:smoke,warp=vtn,head=isqrt"
    runs.assert_smoke_run_ends(tmp_path, config, **{"network.warp.groups": 4})


@pytest.mark.slow
def test_a_killed_run_ends_as_if_never_killed(tmp_path):
    config = f"{runs.SMALLER}:hidden_digits:smoke"
    options = {"config": config, "log_every": 2, "eval_every": 20, "checkpoint_every": 3}
    runs.assert_ends_as_if_never_killed(tmp_path, "soft_loss", kill_at=8, steps=40, **options)
