"""Co-localisation: images and their true boxes, and that training moves the windows to what the images share."""

import argparse
import json
import subprocess
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import models, recipes
from vtnjax.experiments.colocalisation import __main__ as command
from vtnjax.experiments.colocalisation.encoder import load_encoder
from vtnjax.experiments.colocalisation.images import class_images, hide_digits, tight_boxes
from vtnjax.experiments.colocalisation.localiser import AS_WRITTEN, DIGIT_SCALE, Colocaliser, Recipe
from vtnjax.experiments.colocalisation.pictures import save_pictures


def blocks(count, seed=0):
    """Bright squares as digits, and other pictures to cut clutter from."""
    digits = np.zeros((count, 28, 28, 1), np.float32)
    digits[:, 8:20, 8:20] = 1
    return digits, np.random.default_rng(seed).uniform(0.2, 0.8, (5, 28, 28, 1)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("patches", [0, 16])
def test_the_true_boxes_hold_the_digits(patches):
    digits, others = blocks(4)
    images, boxes = hide_digits(jax.random.key(0), digits, others, patches)
    assert images.shape == (4, 84, 84, 1)
    for image, box in zip(np.array(images), np.asarray(boxes), strict=True):
        left, top, right, bottom = (box + 0.5).astype(int)
        assert (right - left, bottom - top) == (28, 28)
        assert_array_equal(image[top : top + 28, left : left + 28][8:20, 8:20], 1)
        image[top + 8 : top + 20, left + 8 : left + 20] = 0
        assert (image.max() > 0) == (patches > 0)
        assert (image > 0).sum() <= patches * 36
    assert len(np.unique(np.asarray(boxes), axis=0)) == 4


@pytest.mark.slow
def test_the_tight_boxes_are_those_of_the_digits_pixels():
    digits, others = blocks(3)
    _, boxes = hide_digits(jax.random.key(0), digits, others, 0)
    tight = tight_boxes(np.asarray(boxes), digits)
    assert_array_equal(tight - np.asarray(boxes), [[8, 8, -8, -8]] * 3)


def test_more_than_half_of_a_box_is_found():
    truth = jnp.array([[0.0, 0, 10, 10]] * 3)
    found = np.array([[0, 0, 10, 10], [0, 3, 10, 13], [0, 4, 10, 14]], np.float32)
    figures = command.measure(found, truth)
    assert figures["found"] == pytest.approx(2 / 3)
    assert figures["overlap"] == pytest.approx((1 + 7 / 13 + 6 / 14) / 3)


@pytest.mark.slow
def test_training_moves_the_windows_to_what_the_images_share(tmp_path):
    # Coarse pixels as descriptors, which a square says much to, instead of a trained network.
    def describe(crops):
        return 10 * crops.reshape(len(crops), 7, 4, 7, 4).mean((2, 4)).reshape(len(crops), 49)

    images, truth = hide_digits(jax.random.key(1), *blocks(30), 0)
    with jax.numpy_dtype_promotion("standard"):  # optax's own schedule is not strict about dtypes
        boxes, loss = Colocaliser(describe, Recipe(steps=200)).run(images, 0)
    assert boxes.shape == (9, 30, 4)
    assert np.isfinite(loss)
    before, after = (command.measure(boxes[i], truth) for i in (0, -1))
    assert after["overlap"] > before["overlap"] + 0.1
    save_pictures(images, truth, boxes, tmp_path / "boxes")
    assert (tmp_path / "boxes.png").exists()
    assert (tmp_path / "boxes.gif").exists()


@pytest.mark.slow
def test_a_window_of_a_digits_scale_cuts_pixels_as_they_are():
    image = jax.random.uniform(jax.random.key(0), (84, 84, 1))
    transformers = [Colocaliser(jnp.ravel, recipe)._make(0) for recipe in (Recipe(), AS_WRITTEN)]
    for top, left in ((0, 0), (31, 7), (56, 56)):
        centre = 2 * (np.array([left, top]) + 13.5) / 83 - 1
        thetas = np.array([centre]), np.array([[DIGIT_SCALE, *centre]])
        expected = image[top : top + 28, left : left + 28]
        for transformer, theta in zip(transformers, thetas, strict=True):
            crops, _ = transformer.warp(image[None], jnp.asarray(theta, jnp.float32))
            assert_allclose(crops[0], expected, atol=1e-4)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(("as_written", "name"), [(False, "T-8-0"), (True, "T-as_written-8-0")])
@pytest.mark.daily("True-T-as_written-8-0")
def test_the_try_of_the_lowest_loss_counts(tmp_path, as_written, name):
    class Tried:
        """Windows nearer to the digits, and more of them found, the lower the loss is; seed 1 has the lowest."""

        def run(self, images, seed):
            assert images.shape == (100, 84, 84, 1)
            loss = {0: 3.0, 1: 1.0, 2: 2.0}[seed]
            return np.stack([truth + 100, truth + np.float32(4 * (loss - 1))]), loss

    _, truth = class_images("T", 8, 0)
    truth = np.asarray(truth)
    options = {
        "images": "T",
        "seed": 0,
        "tries": 3,
        "as_written": as_written,
        "results": tmp_path,
        "pictures": tmp_path,
    }
    figures = command.run_class(Tried(), argparse.Namespace(**options), 8, Recipe())
    assert (figures["loss"], figures["found"], figures["overlap"], figures["found_at_first"]) == (1.0, 1.0, 1.0, 0.0)
    record = json.loads((tmp_path / "colocalisation" / f"{name}.json").read_text())
    assert record["figures"] == figures
    assert record["recipe"] == Recipe()._asdict()
    assert record["tries"] == [{"loss": 3.0, "found": 0.0}, {"loss": 1.0, "found": 1.0}, {"loss": 2.0, "found": 1.0}]


def test_the_objective_is_eq_8_of_moved_windows_and_a_penalty_for_leaving_the_image():
    def describe(crops):  # the mean brightness: the loss of two images is then easy to write down
        return crops.mean((1, 2))

    images = jnp.stack([jnp.full((84, 84, 1), 1.0), jnp.full((84, 84, 1), 3.0)])
    recipe = Recipe(margin=5.0, inside=100.0, jitter=0.0, looks=2)
    colocaliser = Colocaliser(describe, recipe)
    transformer = colocaliser._make(0)
    transformer.head.bias[...] = jnp.array([0.8, 0.0])
    params, objective = nnx.state(transformer), jax.jit(colocaliser._objective)
    aim, loss = objective(params, images, jax.random.key(0), jnp.float32(0))
    beyond = 0.8 + DIGIT_SCALE - 1
    columns = 0.9 * 83 - 13.5 + np.arange(28)  # of which those beyond 83 read zeros, or a part of the last pixel
    crops = np.array([1.0, 3.0]) * np.clip(84 - columns, 0, 1).mean()
    expected = np.mean((crops[0] - crops[1]) ** 2 - (crops - [1, 3]) ** 2 + 5)
    assert loss == pytest.approx(expected, rel=1e-4)
    assert aim - loss == pytest.approx(100 * beyond**2, rel=1e-4)
    moved = [objective(params, images, jax.random.key(0), jnp.float32(s))[1] for s in (0, 0.5)]
    assert moved[0] == loss
    assert abs(moved[1] - loss) > 0.01


def test_the_boxes_are_found_without_a_warp():
    colocaliser = Colocaliser(jnp.ravel, Recipe())
    params = nnx.state(colocaliser._make(0))
    found = str(jax.make_jaxpr(colocaliser._run_boxes)(params, jnp.zeros((2, 84, 84, 1))))
    assert "conv_general_dilated" in found
    assert "gather" not in found


def test_without_an_encoder_one_is_trained_in_the_checkout(fake, monkeypatch):
    ran, told = [], []

    def load_member(workdir, *_):
        raise ValueError(f"nothing in {workdir}")

    monkeypatch.setattr(subprocess, "run", lambda command, **options: ran.append((command, options)))
    monkeypatch.setattr(recipes, "load_member", load_member)
    workdir = fake / "runs" / "colocalisation" / "encoder"
    with pytest.raises(ValueError, match=f"nothing in {workdir}"):
        load_encoder(None, told.append)
    ((words, options),) = ran
    assert words[1:4] == ["train.py", "--config", "configs/digits_stn.py:model=cnn,distortion=none"]
    assert words[-2:] == ["--workdir", str(workdir)]
    assert options == {"cwd": fake, "check": True}
    assert str(workdir) in told[0]
    with pytest.raises(ValueError, match="nothing in other"):
        load_encoder(Path("other"), told.append)
    assert len(ran) == 1


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("network", "shape", "fits"), [("cnn", (28, 28, 1), True), ("cnn", (42, 42, 1), False), ("fcn", (28, 28, 1), False)]
)
@pytest.mark.daily("fcn-shape2-False", "cnn-shape0-True")
def test_an_encoder_is_a_cnn_for_digits_of_28_pixels(monkeypatch, network, shape, fits):
    model = models.STN(network, shape, classes=10, parameters=54_000, rngs=nnx.Rngs(0))
    graphdef, params, statistics = nnx.split(model, nnx.Param, ...)
    state = types.SimpleNamespace(params=params, statistics=statistics)
    monkeypatch.setattr(recipes, "load_member", lambda *_: (graphdef, state, None))
    if fits:
        assert callable(load_encoder(Path("run"), print))
        return
    with pytest.raises(ValueError, match="must be a run of model=cnn,distortion=none, but run is of another network"):
        load_encoder(Path("run"), print)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--tries", "0"), "--tries must be at least 1, not 0"),
        (("--jitter", "1"), "--jitter must be at least 0 and below 1, not 1.0"),
        (("--steps", "30"), "--steps must be a multiple of 25, not 30"),
        (("--classes", "10"), "invalid choice: 10"),
    ],
)
def test_what_cannot_be_is_said(monkeypatch, capsys, words, said):
    monkeypatch.setattr(sys, "argv", ["colocalisation", "--images", "T", *words])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


def test_the_classes_are_found_one_after_the_other(fake, monkeypatch, capsys):
    asked = []

    def run_class(colocaliser, arguments, label, recipe):
        asked.append((colocaliser, arguments.results, arguments.pictures, label, recipe))
        return {"found": 0.5, "overlap": 0.25, "found_at_first": 0.0}

    monkeypatch.setattr(command, "load_encoder", lambda workdir, say: str(workdir))
    monkeypatch.setattr(command, "Colocaliser", lambda describe, recipe: describe)
    monkeypatch.setattr(command, "run_class", run_class)
    words = ["--images", "TC", "--classes", "3", "8", "--encoder", "e", "--steps", "50"]
    monkeypatch.setattr(sys, "argv", ["colocalisation", *words, "--as_written", "--jitter", "0.5"])
    command.main()
    assert [recipe for *_, recipe in asked] == [AS_WRITTEN._replace(steps=50, jitter=0.5)] * 2
    asked.clear()
    capsys.readouterr()
    words += ["--jitter", "0"]
    monkeypatch.setattr(sys, "argv", ["colocalisation", *words])
    command.main()
    places, recipe = (fake / "results" / "experiments", fake / "runs" / "colocalisation"), Recipe(steps=50, jitter=0)
    assert asked == [("e", *places, label, recipe) for label in (3, 8)]
    first, second = capsys.readouterr().out.splitlines()
    assert first == "TC, digit 3: 50 % found (the paper: 75), mean overlap 0.25, at first 0 %"
    assert second.startswith("TC, digit 8: 50 % found (the paper: 89)")
