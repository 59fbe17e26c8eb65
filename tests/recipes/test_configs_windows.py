"""The config of attention windows on photographs: every variant builds, and some run."""

import config_files
import jax
import optax
import pytest
import train_runs as runs

from vtnjax import train
from vtnjax.recipes import PICTURES

SMALL = ["", "transformers=4,resolution=448", "transformers=0,resolution=448,dataset=cars"]
TRUNKS = ["", "backbone=resnet50", "backbone=resnet18,transformers=4,resolution=448", "backbone=squeezenet"]


def get_config(variant):
    return config_files.get_config("cub_stn", variant)


def read(config):
    return config_files.read(config, "cub_stn", f"smoke,dataset={config.dataset.removeprefix('drawn:')}")


def assert_builds(variant):
    """A training step has the shapes it should, evaluation a row of logits and a window an image and transformer."""
    config = get_config(variant)
    recipe = read(config)
    _, metrics, (logits, out) = config_files.shapes(recipe, optax.sgd(0.1))
    assert metrics.keys() == {"loss", "accuracy", "gradient_norm"}
    assert logits.shape == (config.batch_size, len(recipe.train.classes))
    count, size = config.network["count"], config.network.size
    if count:
        assert out["warped"].shape == (config.batch_size, count, size, size, 3)
    assert (recipe.picture is PICTURES["windows"]) == (count > 0)
    assert out["features"].shape[1] == max(count, 1)


@pytest.mark.parametrize("variant", SMALL)
@pytest.mark.daily("transformers=0,resolution=448,dataset=cars")
def test_small_variants_build(variant):
    assert_builds(f"smoke,backbone=small,{variant}")


@pytest.mark.slow
@pytest.mark.parametrize("variant", TRUNKS)
def test_the_other_trunks_build(variant):
    assert_builds(f"smoke,{variant}")


@pytest.mark.parametrize("resolution", [224, 448])
def test_the_localiser_reads_224_pixels_of_images_of_both_sizes(resolution):
    config = get_config(f"backbone=small,resolution={resolution}")
    assert config.input.crop == resolution
    recipe = read(config)
    params = jax.eval_shape(lambda: train.create_state(recipe.network(0), optax.sgd(0.1), 0)[1].params)
    layers = params["transformer"]["localiser"]["layers"]
    assert layers["hidden"]["kernel"].shape == ((224 // 4) ** 2 * 128, 128)
    assert params["classifier"]["kernel"].shape[0] == 2 * 64


def test_the_papers_settings_are_the_defaults():
    config = get_config("")
    assert (config.network.trunk.name, config.dataset, config.network["count"]) == ("inception", "cub", 2)
    assert (config.optimiser, config.batch_size, config.steps) == ("sgd", 256, 30_000)
    rate = train.learning_rate_schedule(config)
    steps = (0, 9_999, 10_000, 19_999, 20_000, 24_999, 25_000)
    rates = (0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3, 1e-4)
    for step, wanted in zip(steps, rates, strict=True):
        assert float(rate(step)) == pytest.approx(wanted, rel=1e-3), step
    assert (config.localiser_multiplier, config.weight_decay, config.network.dropout) == (1e-4, 1e-5, 0.7)
    photo = {"name": "photographs", "keep_aspect": True, "rotation": 0.0, "flip": True}
    assert config.input.to_dict() == {"size": 256, "crop": 224, **photo}
    assert get_config("resolution=448").input.to_dict() == {"size": 512, "crop": 448, **photo}


def test_weights_that_are_missing_are_named(tmp_path):
    config = get_config("smoke,backbone=resnet18")
    config.pretrained = str(tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        read(config).network(0)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["transformers=4,resolution=448", "transformers=0"])
def test_smoke_runs_end_with_a_figure_and_a_picture(tmp_path, variant):
    out, _ = runs.run_in_turn(tmp_path, config=f"configs/cub_stn.py:smoke,backbone=small,{variant}")
    assert out.splitlines()[-1].startswith("finished: step ")
    assert 0 <= runs.metrics(tmp_path)[-1]["test/accuracy"] <= 1
    assert (tmp_path / "figures" / "test.png").stat().st_size > 10_000
