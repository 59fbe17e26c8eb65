"""The configs of digits and house numbers: every variant builds, and some run."""

import functools

import config_files
import optax
import pytest
import train_runs as runs
from flax import nnx

from vtnjax import data, distort
from vtnjax.models.layers import MODELS, count_parameters
from vtnjax.recipes import PICTURES, read_recipe

WARPS = ("affine", "projective", "tps", "translation", "attention")
NAMES = tuple(name for name in distort.DISTORTIONS if name not in ("RTS2", "VOLUME"))  # of two digits, of volumes


@functools.cache
def sources():
    return data.Generated("train", count=20), data.Generated("test", count=20)


def get_config(variant):
    return config_files.get_config("digits_stn", variant)


def assert_builds(variant):
    """The model and a training step of a variant have the shapes they should; nothing is computed."""
    recipe = read_recipe(get_config(variant), sources=sources())
    after, metrics, (logits, out) = config_files.shapes(recipe, optax.sgd(0.1, momentum=0.9))
    assert metrics.keys() == {"loss", "accuracy", "gradient_norm"}
    assert logits.shape == (64, 10)
    assert (recipe.picture is PICTURES["before_after"]) == ("coords" in out)
    size = sum(leaf.size for name, leaf in after.items() if name.startswith("params/"))
    assert size == pytest.approx(400_000, rel=0.05)


@pytest.mark.parametrize(
    ("name", "plain", "warped"),
    [
        ("digits_stn", "model=fcn,distortion=RTS", "model=st_fcn,distortion=RTS"),
        ("distorted_digits", "model=cnn,distortion=TC", "model=st_cnn,distortion=TC"),
        ("feature_maps", "network=cnn,distortion=TC", "network=stn_c0,distortion=TC"),
    ],
)
def test_only_what_was_warped_is_halved(name, plain, warped):
    pools = [config_files.get_config(name, variant).network.pool for variant in (plain, warped)]
    assert pools == [1, 2]


def variants(pairs):
    return [f"smoke,model={m},distortion={d},warp={w}" for m in MODELS for d, w in pairs if "st_" in m or w == "affine"]


FEW = variants([*((name, "affine") for name in NAMES), *(("RTS", warp) for warp in WARPS[1:])])
ALL = variants([(name, warp) for name in NAMES for warp in WARPS])


@pytest.mark.parametrize("variant", FEW)
@pytest.mark.daily("smoke,model=fcn,distortion=none,warp=affine")
def test_variants_build(variant):
    assert_builds(variant)


@pytest.mark.slow
@pytest.mark.parametrize("variant", sorted({*ALL} - {*FEW}))
def test_every_other_variant_builds(variant):
    assert_builds(variant)


def test_the_plain_config_is_the_default_job():
    config = get_config("")
    assert (config.network.model, config.network.warp) == ("st_fcn", "affine")
    assert (config.input.distortion, config.dataset) == ("RTS", "digits")
    assert get_config("dataset=generated").steps == config.steps
    assert get_config("smoke").dataset == "generated"


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("parameters", [400_000, 54_000])
def test_a_network_has_about_the_parameters_of_its_config(parameters):
    config = get_config("model=cnn,distortion=none")
    assert config.network.parameters == 400_000
    config.network.parameters = parameters
    network = nnx.eval_shape(lambda: read_recipe(config, sources=sources()).network(0))
    assert count_parameters(network) == pytest.approx(parameters, rel=0.02)


CONVOLVES = {"steps": 10, "batch_size": 8, "network.parameters": 100_000, "env": runs.environment(**runs.OPTIMISED)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "overrides"),
    [
        ("", {}),
        ("model=fcn,distortion=R", {"dtype": "bfloat16"}),
        ("model=st_cnn,distortion=TC,warp=tps", {"localiser_multiplier": 0.1, "optimiser": "adam", **CONVOLVES}),
        ("model=cnn,distortion=none", {"schedule": "step", "warmup_steps": 2, **CONVOLVES}),
        ("distortion=E,warp=projective", {"weight_decay": 0.001}),
    ],
)
def test_smoke_runs_end_with_a_figure_and_a_picture(tmp_path, variant, overrides):
    config = f"{runs.SMALLER}:digits_stn:smoke,{variant}" if variant else runs.CONFIG
    run = runs.run if "env" in overrides else runs.run_in_turn
    out, _ = run(tmp_path, config=config, **overrides)
    last = runs.metrics(tmp_path)[-1]
    assert last["step"] == overrides.get("steps", 40)
    assert 0 <= last["test/accuracy"] <= 1
    assert out.splitlines()[-1].startswith(f"finished: step {last['step']}, test error")
    assert (tmp_path / "figures" / "test.png").stat().st_size > 1000
    assert "\r" not in out


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["network=stn_c1,distortion=R", "network=stn_sl1,distortion=TC"])
def test_smoke_runs_of_placed_transformers_end_with_a_picture(tmp_path, variant):
    runs.run_in_turn(tmp_path, config=f"{runs.SMALLER}:feature_maps:smoke,{variant}")
    last = runs.metrics(tmp_path)[-1]
    assert last["step"] == 10
    assert 0 <= last["test/accuracy"] <= 1
    assert (tmp_path / "figures" / "test.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_smoke_run_of_house_numbers_ends_with_a_picture(tmp_path):
    runs.run_in_turn(tmp_path, config="configs/svhn_stn.py:smoke,model=sl3")
    last = runs.metrics(tmp_path)[-1]
    assert (last["step"], 0 <= last["test/accuracy"] <= 1) == (6, True)
    assert (tmp_path / "figures" / "test.png").stat().st_size > 10_000
