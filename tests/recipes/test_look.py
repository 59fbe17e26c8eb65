import jax
import numpy as np
import optax
import pytest
from config_files import get_config
from matplotlib.figure import Figure

from vtnjax import data, recipes, train


@pytest.fixture(scope="module")
def made():
    sets = data.Generated("train", count=64), data.Generated("test", count=40)
    recipe = recipes.read_recipe(get_config("digits_stn", "smoke,distortion=none,model=fcn"), sources=sets)
    return recipe, *train.create_state(recipe.network(0), optax.sgd(0.1), 0)


def test_a_figure_shows_an_image_of_each_class_with_its_label_and_a_wrong_guess(made, tmp_path):
    recipe, graphdef, state = made
    shown = {}

    def draw(images, out, titles, as_picture):
        shown.update(images=images, titles=titles)
        return Figure()

    recipes.save_figure(recipe._replace(picture=draw), graphdef, state, tmp_path / "figures" / "test.png")
    assert (tmp_path / "figures" / "test.png").read_bytes().startswith(b"\x89PNG")
    wanted = np.stack([recipe.test[digit]["image"] for digit in range(10)])  # record i shows the digit i % 10
    np.testing.assert_array_equal(shown["images"], wanted)
    network = train.merged(graphdef, state)
    guesses = np.argmax(network(recipe.as_input(jax.numpy.asarray(wanted)))[0], -1)
    assert shown["titles"] == [f"{i}" if i == guess else f"{i}\nnot {guess}" for i, guess in enumerate(guesses)]
    assert any("not" in title for title in shown["titles"])


def test_a_look_is_the_model_in_evaluation_mode(made):
    recipe, graphdef, state = made
    images = recipe.as_input(jax.numpy.asarray(recipe.test[3]["image"][None]))
    logits, _ = recipes.make_look(graphdef)(state, images)
    np.testing.assert_array_equal(logits, train.merged(graphdef, state)(images)[0])


@pytest.mark.slow
def test_a_look_for_a_picture_of_heat_has_the_heat_of_the_guess(tmp_path):
    recipe = recipes.read_recipe(get_config("scenes", "smoke,trunk=small,warp=none"))
    graphdef, state = train.create_state(recipe.network(0), optax.sgd(0.1), 0)
    images = recipe.as_input(jax.numpy.asarray(recipe.test[3]["image"][None]))
    logits, out = recipes.make_look(graphdef, recipes.PICTURES["heat"])(state, images)
    plain, others = recipes.make_look(graphdef, recipes.PICTURES["gallery"])(state, images)
    np.testing.assert_array_equal(logits, plain)
    assert out.keys() - others.keys() == {"heat"}
    weights = np.asarray(train.merged(graphdef, state).classifier.linear.kernel)[:, np.argmax(logits)]
    expected = np.maximum(np.asarray(out["features"]) @ weights, 0) / np.prod(out["features"].shape[1:3])
    np.testing.assert_allclose(out["heat"], expected, rtol=1e-4, atol=1e-6)
    shown = {}

    def draw(images, out, titles, as_picture):
        shown.update(out)
        return Figure()

    recipes.save_figure(recipe._replace(picture=draw), graphdef, state, tmp_path / "test.png")
    assert "heat" not in shown
    assert shown["box"].shape == (6, 4)
    recipes.check_look("heat", recipe, graphdef, state)


def test_a_network_without_heat_is_refused_before_it_is_trained(made):
    recipe, graphdef, state = made
    with pytest.raises(ValueError, match=r"the network must be one trunk and a classifier .* not STN"):
        recipes.check_look("heat", recipe, graphdef, state)
