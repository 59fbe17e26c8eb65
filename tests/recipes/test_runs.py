"""What a trained run's folder alone can do: predictions, pictures, and what is said of what it cannot."""

import json
import shutil

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smaller
import train_runs
import trained_runs as runs
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

import vtnjax
from vtnjax import data, evaluate, recipes, train

DIGITS = "digits_stn:smoke"
PHOTOGRAPHS = "cub_stn:smoke,backbone=small"
SEVERAL = "svhn_stn:smoke,model=single"


def stacked(source):
    return np.stack([source[index]["image"] for index in range(len(source))])


def labels(source):
    return np.stack([source[index]["label"] for index in range(len(source))])


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run's workdir, its recipe, and the run."""
    workdir = tmp_path_factory.mktemp("digits")
    recipe = runs.leave(workdir, DIGITS, {2: 0.9, 4: 0.5, 6: 0.7})
    return workdir, recipe, vtnjax.load_run(workdir)


@pytest.fixture(scope="module")
def images():
    """Digits as their source holds them."""
    return stacked(runs.First(data.Generated("test", count=5), 5))


@pytest.fixture
def photographs(tmp_path):
    return tmp_path, runs.leave(tmp_path, PHOTOGRAPHS, {2: None}), vtnjax.load_run(tmp_path)


def assert_as_evaluated(run, recipe):
    """The figures of the test set are those of the predictions."""
    prediction, _ = run.forward(stacked(recipe.test))
    wanted = recipes.make_evaluate(recipe, 16, train.data_mesh(jax.devices()[:1]))(run.model)
    expected = labels(recipe.test)
    right = prediction.argmax(-1) == expected
    assert wanted["accuracy"] == pytest.approx(right.reshape(len(right), -1).all(1).mean(), abs=1e-6)
    chosen = np.take_along_axis(prediction, expected[..., None], -1)[..., 0]
    assert wanted["loss"] == pytest.approx(-np.log(chosen).reshape(len(right), -1).sum(1).mean(), rel=1e-4)
    assert prediction.dtype == np.float32
    assert_allclose(prediction.sum(-1), 1, rtol=1e-5)
    return prediction


# ---- Predictions


@pytest.mark.slow
def test_predictions_are_what_the_evaluation_sees(digits):
    _, recipe, run = digits
    assert assert_as_evaluated(run, recipe).shape == (20, 10)
    assert run.classes == recipe.test.classes


@pytest.mark.slow
def test_photographs_are_prepared_as_the_test_set_prepares_them(photographs):
    workdir, recipe, run = photographs
    wanted = assert_as_evaluated(run, recipe)
    raw = data.load_source("drawn:cub", "test")
    given = [raw[index]["image"] for index in range(len(recipe.test))]
    assert_array_equal(run.prepare(given), stacked(recipe.test))
    prediction, out = run.predict(given)
    assert_array_equal(prediction, wanted)
    assert out["warped"].shape == (20, 2, 56, 56, 3)
    assert_allclose(run.predict(given[3])[0], wanted[3:4], rtol=1e-4)  # without statistics of the batch or dropout
    config = json.loads((workdir / "config.json").read_text())
    (workdir / "config.json").write_text(json.dumps({**config, "pretrained": "/gone.pth"}))
    assert_array_equal(vtnjax.load_run(workdir).predict(given)[0], wanted)
    assert_array_equal(run.prepare([image / np.float32(255) for image in given]), stacked(recipe.test))


@pytest.mark.slow
def test_networks_of_several_labels_give_a_distribution_for_each(tmp_path):
    recipe = runs.leave(tmp_path, SEVERAL, {2: None})
    run = vtnjax.load_run(tmp_path)
    prediction = assert_as_evaluated(run, recipe)
    assert prediction.shape == (20, 5, 11)
    figure = run.picture(recipe.test[0]["image"])
    digits = "".join(run.classes[each] for each in prediction[0].argmax(-1) if run.classes[each] != "none")
    assert figure.axes[0].get_title() == f"{digits}\n{prediction[0].max(-1).prod():.2f}"


@pytest.mark.slow
def test_one_compiled_program_serves_every_part_of_a_batch(digits, images):
    run = vtnjax.load_run(digits[0])
    many = np.concatenate([images] * 3)[:13]
    parts, out = run.predict(many, batch_size=4)
    assert parts.shape == (13, 10)
    assert {name: len(each) for name, each in out.items()} == dict.fromkeys(out, 13)
    run.predict(many[:1], batch_size=4)
    assert run._compiled.func._cache_size() == 1
    whole, _ = run.predict(many)
    assert_allclose(parts, whole, rtol=1e-5)
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1, not 0"):
        run.predict(many, batch_size=0)


@pytest.mark.slow
def test_the_model_is_what_predicts(digits):
    _, recipe, run = digits
    image = recipe.test[3]["image"][None]
    logits, _ = jax.jit(lambda image: run.model(run.as_input(image)))(image)
    assert_allclose(run.forward(image)[0], jax.nn.softmax(logits), rtol=1e-4)
    assert run.shape == (42, 42, 1)


# ---- What may be given


def in_the_middle(digit):
    canvas = np.zeros((42, 42, 1), digit.dtype)
    canvas[7:35, 7:35] = digit
    return canvas


def test_a_digit_lies_undistorted_in_the_middle_of_the_canvas(digits, images):
    run = digits[2]
    assert_array_equal(run.prepare(images), np.stack([in_the_middle(image) for image in images]))
    test = stacked(digits[1].test)
    assert_array_equal(run.prepare(test), test)  # of the size that the network reads


@pytest.mark.slow
def test_every_form_of_the_same_images_gives_the_same(digits, images, tmp_path):
    run, wanted = digits[2], digits[2].prepare(images)
    for index, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{index}.png"), image)
    paths = [tmp_path / f"{index}.png" for index in range(len(images))]
    rgb = images.repeat(3, -1)
    alike = [images[..., :], jnp.asarray(images), list(images), [image[..., 0] for image in images], paths]
    alike += [list(map(str, paths)), [paths[0], *images[1:]], rgb, np.concatenate([rgb, rgb[..., :1]], -1)]
    for given in alike:
        prepared = run.prepare(given)
        assert prepared.dtype == np.uint8
        assert_array_equal(prepared, wanted)
    for one in (images[0], images[0][..., 0], jnp.asarray(images[0]), paths[0], str(paths[0])):
        assert_array_equal(run.prepare(one), wanted[:1])
    floats = images / 255
    for given in (floats, floats.astype(np.float32), jnp.asarray(floats, jnp.float32), [floats[0], *images[1:]]):
        prepared = run.prepare(given)
        assert prepared.dtype == np.float32
        assert_allclose(prepared, wanted / 255, atol=1e-7)
    assert_allclose(run.prepare(jnp.asarray(floats, jnp.bfloat16)), wanted / 255, atol=4e-3)
    assert_allclose(run.predict(floats)[0], run.predict(images)[0], rtol=1e-4)


def test_colours_become_grey_as_pillow_has_them(digits):
    from PIL import Image

    colours = np.random.default_rng(0).integers(0, 256, (28, 28, 3), np.uint8)
    grey = np.asarray(Image.fromarray(colours).convert("L"), int)
    assert np.abs(digits[2].prepare(colours)[0, 7:35, 7:35, 0] - grey).max() <= 1


def test_another_size_is_brought_to_the_sources_as_a_folder_of_pictures_does(digits, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (70, 50, 1), np.uint8)
    (tmp_path / "train" / "a").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "train" / "a" / "1.png"), image)
    wanted = in_the_middle(data.Folder(tmp_path, "train", channels=1, size=28)[0]["image"])
    assert_array_equal(digits[2].prepare(image)[0], wanted)


def test_a_source_larger_than_the_canvas_loses_its_borders():
    image = np.arange(50 * 45, dtype=np.float32).reshape(50, 45, 1) / 2250
    fitted = recipes.Images("RTS").fit(image, (50, 45, 1))
    assert_array_equal(fitted, image[4:46, 1:43])
    assert_array_equal(
        recipes.Images("RTS").fit(image[:41], (41, 45, 1)), np.pad(image[:41, 1:43], ((0, 1), (0, 0), (0, 0)))
    )


def test_grey_pictures_become_colours_for_photographs():
    grey = np.random.default_rng(0).integers(0, 256, (60, 80, 1), np.uint8)
    read = recipes.Photographs(size=64, crop=56)
    from vtnjax.recipes.given import read_given

    (image,) = read_given(grey, (56, 56, 3))
    assert_array_equal(image, grey.repeat(3, -1))
    assert read.fit(image, (9, 9, 3)).shape == (56, 56, 3)


@pytest.mark.slow
def test_volumes_are_read_as_they_are_and_digits_put_in_one():
    from vtnjax.recipes.given import read_given

    shape, read = (60, 60, 60, 1), recipes.Volumes()
    volumes = np.random.default_rng(0).random((2, *shape)).astype(np.float32)
    assert_array_equal(read_given(volumes, shape), volumes)
    assert_array_equal(read_given(volumes[0], shape), volumes[:1])
    with pytest.raises(ValueError, match=r"images must be .*, not an array of shape \(20, 28, 28, 1\)"):
        read_given(np.zeros((20, 28, 28, 1), np.float32), shape)
    assert_array_equal(read.fit(volumes[0], (28, 28, 1)), volumes[0])
    source = data.Generated("test", count=3)
    assert_allclose(read.fit(source[0]["image"], (28, 28, 1)), read.to_test(source)[0]["image"], atol=1e-5)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "images must be a path, .*, and not empty"),
        (np.zeros((0, 28, 28, 1), np.uint8), "and not empty"),
        (np.zeros(5, np.uint8), r"not an array of shape \(5,\)"),
        (np.zeros((1, 1, 9, 9, 1), np.uint8), r"not an array of shape \(1, 1, 9, 9, 1\)"),
        ([np.zeros((2, 9, 9, 1), np.uint8)], r"not an array of shape \(2, 9, 9, 1\) among them"),
        (np.zeros((0, 9), np.uint8), r"not an array of shape \(0, 9\)"),
        (np.zeros((9, 9), int), r"must be uint8 in 0..255 or floating point in \[0, 1\], not int64"),
        (np.zeros((9, 9), bool), "not bool"),
        (np.full((9, 9), 255.0), r"floating point images must be in \[0, 1\], not from 255 to 255"),
        (np.full((9, 9), -0.5), "not from -0.5 to -0.5"),
        (np.full((9, 9), np.nan), "not from nan to nan"),
        (np.zeros((9, 9, 5), np.uint8), r"must have 1 channels, not 5"),
        ("nothing.png", r"nothing.png cannot be read \(No such file"),
        (3, "images must be a path"),
    ],
)
def test_what_is_no_image_is_refused(digits, given, said):
    with pytest.raises(ValueError, match=said):
        digits[2].predict(given)


# ---- Pictures


def test_the_picture_is_the_recipes_with_the_first_three_classes(digits, images):
    run = digits[2]
    prediction, _ = run.predict(images[:2])
    figure = run.picture(images[:2])
    assert len(figure.axes) == 6  # two columns of the input, the grid, what was read
    first = [int(each) for each in np.argsort(-prediction[1])[:3]]
    wanted = "\n".join(f"{run.classes[each]} {prediction[1, each]:.2f}" for each in first)
    assert figure.axes[1].get_title() == wanted


# ---- The folder


def test_a_run_that_was_moved_loads_without_its_data_and_leaves_no_trace(digits, tmp_path, monkeypatch, images):
    workdir, _, run = digits
    moved = shutil.copytree(workdir, tmp_path / "elsewhere")
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps({**config, "data_dir": "/gone"}))
    monkeypatch.setattr(data, "load_source", None)
    before = sorted((path, path.stat().st_mtime_ns) for path in moved.rglob("*"))
    again = vtnjax.load_run(str(moved))
    assert_array_equal(again.predict(images)[0], run.predict(images)[0])
    assert sorted((path, path.stat().st_mtime_ns) for path in moved.rglob("*")) == before


@pytest.mark.slow
def test_the_latest_the_best_or_any_checkpoint_is_read(digits):
    workdir, recipe, latest = digits
    assert latest.step == 6
    found = {step: vtnjax.load_run(workdir, step=step) for step in ("best", 4)}
    assert {step: run.step for step, run in found.items()} == {"best": 2, 4: 4}
    for run in (*found.values(), latest):
        wanted = nnx.state(recipe.network(run.step, pretrained=False), nnx.Param)
        jax.tree.map(assert_array_equal, nnx.state(run.model, nnx.Param), wanted)


@pytest.mark.parametrize("step", [3, "first"])
def test_a_checkpoint_that_is_not_there_is_refused(digits, step):
    with pytest.raises(ValueError, match=rf"step must be 'latest', 'best' or one of \[6, 4, 2\] in .*, not {step!r}"):
        vtnjax.load_run(digits[0], step=step)


def test_a_damaged_latest_checkpoint_is_told_and_the_one_before_it_taken(digits, tmp_path, caplog):
    moved = shutil.copytree(digits[0], tmp_path / "elsewhere")
    train_runs.damage(moved, 6, "flip")
    assert vtnjax.load_run(moved).step == 4
    assert "checkpoint 6 is damaged" in caplog.text
    with pytest.raises(ValueError, match=r"none of the checkpoints \[6\] in .* can be read"):
        vtnjax.load_run(moved, step=6)


def test_a_folder_that_is_no_run_or_an_older_ones_is_refused(digits, tmp_path):
    with pytest.raises(ValueError, match="must be the workdir of a trained run, but it has no checkpoints"):
        vtnjax.load_run(tmp_path)
    moved = shutil.copytree(digits[0], tmp_path / "elsewhere")
    known = json.loads((moved / "data.json").read_text())
    for left in ({key: value for key, value in known.items() if key != "image"}, None):
        (moved / "data.json").unlink() if left is None else (moved / "data.json").write_text(json.dumps(left))
        with pytest.raises(ValueError, match=r"data\.json must say what images the run reads, but .* once more"):
            vtnjax.load_run(moved)
    config = json.loads((moved / "config.json").read_text())
    (moved / "config.json").write_text(json.dumps({**config, "seed": [0, 1]}))
    (moved / "data.json").write_text(json.dumps(known))
    with pytest.raises(ValueError, match=r"must hold one run, but it holds the seeds \[0, 1\] trained together"):
        vtnjax.load_run(moved)
    (moved / "data.json").unlink()
    (moved / "config.json").write_text(json.dumps({"model": "st_fcn", "steps": 3}))
    with pytest.raises(ValueError, match=r"config\.json must say what its network is .* train the run again"):
        vtnjax.load_run(moved)


# ---- Every config


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in (runs.ROOT / "configs").glob("*.py")))
def test_every_network_predicts_and_exports(name):
    from vtnjax.export import describe, export_run

    config = smaller.get_config(f"{name}:smoke")
    recipe = recipes.read_recipe(config)
    image = recipe.train[0]["image"].shape
    model = recipe.network(0, pretrained=False)
    model.eval()
    from vtnjax.recipes.recipe import read_input

    run = recipes.Run(config, 0, recipe.train.classes, model, read_input(config), image)
    assert run.shape == recipe.test[0]["image"].shape
    assert isinstance(recipe.evaluation, evaluate.Retrieval if run.describes else evaluate.Classification)
    probabilities, out = jax.eval_shape(run.probabilities, jax.ShapeDtypeStruct((3, *run.shape), np.uint8))
    assert {len(leaf.shape) > 0 and leaf.shape[0] for leaf in [probabilities, *jax.tree.leaves(out)]} == {3}
    said = describe(run, export_run(run))
    assert said["input"] == {"shape": ["n", *run.shape], "dtype": "uint8"}
    assert said["output"] == {"shape": ["n", *probabilities.shape[1:]], "dtype": "float32"}
    assert said.get("classes") == (None if run.describes else list(run.classes))
