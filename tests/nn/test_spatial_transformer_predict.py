"""What it predicts, and the warp of a given theta."""

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from compiled import run
from flax import nnx
from small_transformers import FEATURES, FLAT, SHAPE, SMALL, images, make, stir

from vtnjax.nn import SpatialTransformer


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("warp", [*FLAT, "affine3d"])
@pytest.mark.daily("translation-1")
def test_the_call_is_the_warp_by_what_is_predicted(warp, count):
    transformer = make(warp, count=count)
    stir(transformer)
    image = images(3, 4, 5) if warp == "affine3d" else images()
    graphdef, state = nnx.split(transformer)

    @jax.jit
    def in_two_steps(state, image):
        transformer = nnx.merge(graphdef, state)
        theta = transformer.predict(image)
        return theta, transformer.warp(image, theta)

    theta, (y, out) = in_two_steps(state, image)
    called, told = run(transformer, image)
    np.testing.assert_array_equal(theta, told["theta"])
    assert set(out) == set(told) == {"theta", "coords"}
    jax.tree.map(np.testing.assert_array_equal, (y, out), (called, told))


def test_theta_is_the_head_of_the_localisers_features():
    transformer = make("affine", count=2)
    stir(transformer)
    image = images()
    kernel, bias = (np.asarray(p[...], np.float64) for p in (transformer.head.kernel, transformer.head.bias))
    expected = (np.asarray(transformer.localiser(image)) @ kernel + bias).reshape(2, 2, 2, 3)
    np.testing.assert_allclose(transformer.predict(image), expected, atol=1e-5)


def test_theta_is_predicted_of_features_without_an_image():
    transformer = SpatialTransformer(None, FEATURES, rngs=nnx.Rngs(0))
    stir(transformer)
    features = jnp.asarray(np.random.default_rng(0).normal(size=(3, FEATURES)), jnp.float32)
    expected = np.asarray(features) @ np.asarray(transformer.head.kernel[...]) + np.eye(2, 3).ravel()
    for image in (None, images(count=3)):
        np.testing.assert_allclose(transformer.predict(image, features), expected.reshape(3, 2, 3), atol=1e-5)


def test_a_given_theta_warps_as_the_plain_loop_says():
    transformer = make("affine", shape=SMALL, padding="border")
    image = images()
    thetas = np.eye(2, 3) + 0.3 * np.random.default_rng(1).normal(size=(2, 2, 3))
    y, out = transformer.warp(image, jnp.asarray(thetas, jnp.float32))
    np.testing.assert_array_equal(out["theta"], np.asarray(thetas, np.float32))
    for i, theta in enumerate(thetas):
        coords = loops.pixels(loops.affine_grid(theta, SMALL), SHAPE)
        np.testing.assert_allclose(out["coords"][i], coords, atol=1e-5)
        np.testing.assert_allclose(y[i], loops.sample(np.asarray(image[i]), coords, padding="border"), atol=1e-4)


@pytest.mark.slow
def test_several_given_thetas_warp_the_same_image_each():
    transformer = make("translation", count=2)
    image = images(count=1)
    y, _ = transformer.warp(image, jnp.array([[[2 / 6, 0.0], [0.0, -2 / 5]]]))  # a pixel to the right, a pixel up
    np.testing.assert_allclose(y[0][:, :, :-1], image[:, :, 1:], atol=1e-5)
    np.testing.assert_allclose(y[1][:, 1:], image[:, :-1], atol=1e-5)


@pytest.mark.parametrize("warp", FLAT)
@pytest.mark.daily("linear")
def test_nothing_is_warped_where_theta_is_predicted(warp):
    transformer, image = make(warp), images()
    assert "gather" in str(jax.make_jaxpr(lambda image: transformer(image)[0])(image))
    predicted = str(jax.make_jaxpr(transformer.predict)(image))
    assert "gather" not in predicted
    assert predicted.count("dot_general") == 2  # of the localiser and of the head


@pytest.mark.slow
def test_a_warp_by_given_parameters_reads_no_parameter():
    graphdef, params, rest = nnx.split(make("affine"), nnx.Param, ...)

    def loss(params, theta):
        return (nnx.merge(graphdef, params, rest, copy=True).warp(images(), theta)[0] ** 2).sum()

    slopes, of_theta = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, jnp.tile(0.8 * jnp.eye(2, 3), (2, 1, 1)))
    assert all(np.abs(leaf).max() == 0 for leaf in jax.tree.leaves(slopes))
    assert np.all(np.abs(of_theta) > 0)
