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
