import functools
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import train_runs as runs
from flax import nnx

from vtnjax import data, distort
from vtnjax.models.stn import MODELS, count_parameters
from vtnjax.recipes import CrossEntropy, build_model, build_prepare, build_sources, distort_source, to_float
from vtnjax.train import create_state, make_optimiser
from vtnjax.train.state import named_leaves
from vtnjax.train.step import make_train_step

WARPS = ("affine", "projective", "tps", "translation", "attention")
NAMES = tuple(name for name in distort.DISTORTIONS if name not in ("RTS2", "VOLUME"))  # of two digits, of volumes


@functools.cache
def source():
    return data.Generated("train", count=20)


def get_config(variant):
    return runpy.run_path(str(runs.ROOT / "configs" / "digits_stn.py"))["get_config"](variant)


def assert_builds(variant):
    """The model and a training step of a variant have the shapes they should; nothing is computed."""
    config = get_config(variant)
    config.optimiser, config.schedule = "momentum", "constant"  # optax breaks strict dtype promotion in the others

    def one_step():
        optimiser = make_optimiser(config)
        graphdef, before = create_state(build_model(config, source()), optimiser, config.seed)
        batch = {"image": jnp.zeros((8, 28, 28, 1), jnp.uint8), "label": jnp.zeros(8, jnp.int32)}
        after, metrics = make_train_step(graphdef, optimiser, build_prepare(config), CrossEntropy())(before, batch)
        return named_leaves(before), named_leaves(after), metrics

    before, after, metrics = jax.eval_shape(one_step)
    assert before == after
    assert {name: value.shape for name, value in metrics.items()} == dict.fromkeys(
        ("loss", "accuracy", "gradient_norm"), ()
    )
    assert sum(leaf.size for name, leaf in after.items() if name.startswith("params/")) == pytest.approx(
        400_000, rel=0.05
    )


@pytest.mark.parametrize(
    ("name", "plain", "warped"),
    [
        ("digits_stn", "model=fcn,distortion=RTS", "model=st_fcn,distortion=RTS"),
        ("distorted_digits", "model=cnn,distortion=TC", "model=st_cnn,distortion=TC"),
        ("feature_maps", "network=cnn,distortion=TC", "network=stn_c0,distortion=TC"),
    ],
)
def test_only_what_was_warped_is_halved(name, plain, warped):
    read = runpy.run_path(str(runs.ROOT / "configs" / f"{name}.py"))["get_config"]
    assert (read(plain).pool, read(warped).pool) == (1, 2)


def variants(pairs):
    return [f"smoke,model={m},distortion={d},warp={w}" for m in MODELS for d, w in pairs if "st_" in m or w == "affine"]


FEW = variants([*((name, "affine") for name in NAMES), *(("RTS", warp) for warp in WARPS[1:])])
ALL = variants([(name, warp) for name in NAMES for warp in WARPS])


@pytest.mark.parametrize("variant", FEW)
def test_variants_build(variant):
    assert_builds(variant)


@pytest.mark.slow
@pytest.mark.parametrize("variant", sorted({*ALL} - {*FEW}))
def test_every_other_variant_builds(variant):
    assert_builds(variant)


def test_the_plain_config_is_the_default_job():
    config = get_config("")
    assert (config.model, config.distortion, config.warp, config.dataset) == ("st_fcn", "RTS", "affine", "digits")
    assert get_config("dataset=generated").steps == config.steps
    assert get_config("smoke").dataset == "generated"


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("parameters", [400_000, 54_000])
def test_a_network_has_about_the_parameters_of_its_config(parameters):
    config = get_config("model=cnn,distortion=none")
    assert config.parameters == 400_000
    config.parameters = parameters
    network = nnx.eval_shape(lambda: build_model(config, source()))
    assert count_parameters(network) == pytest.approx(parameters, rel=0.02)


def test_sources_of_different_classes_are_refused(monkeypatch):
    sets = {"train": data.Generated("train", count=10), "test": data.Arrays(*_arrays(), classes=("a", "b"))}
    monkeypatch.setattr(data, "load_source", lambda name, split, **_: sets[split])
    with pytest.raises(ValueError, match="the training and the test set must have the same classes"):
        build_sources(get_config("smoke"))


def _arrays():
    records = [data.Generated("test", count=2)[i] for i in range(2)]
    return jnp.stack([r["image"] for r in records]).__array__(), jnp.array([0, 1]).__array__()


def test_the_test_set_is_distorted_once_and_always_the_same():
    once, again = (distort_source("RTS", source()) for _ in range(2))
    assert once[3]["image"].shape == (42, 42, 1)
    assert once[3]["image"].dtype == "float32"
    assert (once[3]["image"] == again[3]["image"]).all()
    assert [once[i]["label"] for i in range(20)] == [source()[i]["label"] for i in range(20)]
    assert distort_source("none", source()) is source()


def test_volumes_are_made_when_they_are_asked_for_and_always_the_same():
    test = distort_source("VOLUME", source())
    assert isinstance(test, data.Source)
    assert (len(test), test.classes) == (20, source().classes)
    record, again = test[3], test[3]
    assert record["image"].shape == (60, 60, 60, 1)
    assert record["image"].dtype == "float32"
    assert (record["image"] == again["image"]).all()
    assert record["label"] == source()[3]["label"]
    assert np.abs(record["image"] - test[13]["image"]).max() > 0.5  # the same digit elsewhere


def test_bytes_become_floats_from_zero_to_one_and_floats_stay():
    assert to_float(jnp.array([0, 255], jnp.uint8).reshape(1, 2, 1, 1)).ravel().tolist() == [0, 1]
    images = jnp.full((1, 2, 2, 1), 0.25)
    assert to_float(images) is images


def test_images_are_distorted_before_they_are_rounded():
    config = get_config("smoke")
    config.dtype = "bfloat16"
    images = jnp.stack([source()[i]["image"] for i in range(8)])
    key = jax.random.key(0)
    prepared = jax.jit(build_prepare(config))(key, images)
    assert prepared.dtype == jnp.bfloat16
    exact = jax.jit(lambda k, x: distort.distort_batch("RTS", k, to_float(x)))(key, images)
    assert (prepared == exact.astype(jnp.bfloat16)).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "overrides"),
    [
        ("", {}),
        ("model=fcn,distortion=R", {"dtype": "bfloat16"}),
        ("model=st_cnn,distortion=TC,warp=tps", {"localiser_multiplier": 0.1, "optimiser": "adam", "steps": 10}),
        ("model=cnn,distortion=none", {"schedule": "step", "warmup_steps": 2, "steps": 10}),
        ("distortion=E,warp=projective", {"weight_decay": 0.001}),
    ],
)
def test_smoke_runs_end_with_a_figure_and_a_picture(tmp_path, variant, overrides):
    out, _ = runs.run(tmp_path, config=f"{runs.CONFIG},{variant}", **overrides)
    last = runs.metrics(tmp_path)[-1]
    assert last["step"] == overrides.get("steps", 40)
    assert 0 <= last["test/accuracy"] <= 1
    assert out.splitlines()[-1].startswith(f"finished: step {last['step']}, test error")
    assert (tmp_path / "figures" / "test.png").stat().st_size > 1000
    assert "\r" not in out


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["network=stn_c1,distortion=R", "network=stn_sl1,distortion=TC"])
def test_smoke_runs_of_placed_transformers_end_with_a_picture(tmp_path, variant):
    runs.run(tmp_path, config=f"configs/feature_maps.py:smoke,{variant}")
    last = runs.metrics(tmp_path)[-1]
    assert last["step"] == 10
    assert 0 <= last["test/accuracy"] <= 1
    assert (tmp_path / "figures" / "test.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_smoke_run_of_house_numbers_ends_with_a_picture(tmp_path):
    runs.run(tmp_path, config="configs/svhn_stn.py:smoke,model=sl3")
    last = runs.metrics(tmp_path)[-1]
    assert (last["step"], 0 <= last["test/accuracy"] <= 1) == (6, True)
    assert (tmp_path / "figures" / "test.png").stat().st_size > 10_000
