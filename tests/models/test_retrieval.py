"""Networks for retrieval: what is pooled, what is whitened, and lengths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal
from small_trunk import Trunk

from vtnjax import models, nn, ops

IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 10, 3)), jnp.float32)


class Cut(nnx.Module):
    """A warp that is easy to see."""

    def __call__(self, features):
        return features[:, 1:] * 2 + 1, {"coords": features}


def make(pool=None, **options):
    return models.RetrievalNet(Trunk(nnx.Rngs(0)), pool or nn.GeM(8, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0), **options)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_the_last_features_are_warped_pooled_and_brought_to_length_1():
    network = make(transformer=Cut())
    descriptors, out = run(network, IMAGE)
    assert_allclose(out["features"], run(network.trunk, IMAGE)["a"], atol=1e-6)
    warped = np.asarray(out["features"], np.float64)[:, 1:] * 2 + 1
    assert_allclose(out["warped"], warped, rtol=1e-6)
    pooled = (warped**3).mean((1, 2)) ** (1 / 3)
    assert_allclose(out["pooled"], pooled, rtol=1e-5)
    assert_allclose(descriptors, unit(pooled), rtol=1e-5)
    assert descriptors.dtype == jnp.float32
    assert set(out) == {"features", "warped", "pooled", "coords"}


def test_a_whitening_is_between_two_lengths_of_1():
    network = make(jax.vmap(ops.mac), whitening=nnx.Linear(8, 5, rngs=nnx.Rngs(1)))
    network.whitening.bias[...] = jnp.arange(5.0)  # else the length before the layer would not matter
    descriptors, out = run(network, IMAGE)
    assert_array_equal(out["warped"], out["features"])
    highest = np.asarray(out["features"], np.float64).max((1, 2))
    assert_allclose(out["pooled"], highest, rtol=1e-6)
    whitened = unit(highest) @ np.asarray(network.whitening.kernel[...]) + np.arange(5)
    assert_allclose(descriptors, unit(whitened), rtol=1e-5)


def test_the_call_is_describe_of_features():
    network = make(transformer=Cut())
    graphdef, state = nnx.split(network)
    features = jax.jit(lambda image: nnx.merge(graphdef, state, copy=True).features(image))(IMAGE)
    describe = jax.jit(lambda features: nnx.merge(graphdef, state, copy=True).describe(features))
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=1e-5, atol=1e-6), describe(features), run(network, IMAGE))


def test_an_image_of_nothing_has_a_descriptor_and_a_gradient_of_numbers():
    graphdef, state = nnx.split(make(jax.vmap(ops.mac)))

    def total(state):
        descriptors, _ = nnx.merge(graphdef, state, copy=True)(jnp.zeros((1, 12, 10, 3)))
        return descriptors.sum(), descriptors

    gradient, descriptors = jax.jit(jax.grad(total, has_aux=True))(state)
    assert_array_equal(descriptors, 0)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_features_of_bfloat16_are_described_in_float32():
    trunk = models.SmallTrunk(3, (4, 6, 8), dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    whitening = nnx.Linear(8, 5, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    network = models.RetrievalNet(trunk, nn.GeM(8, rngs=nnx.Rngs(0)), whitening=whitening, rngs=nnx.Rngs(0))
    network.eval()
    descriptors, out = run(network, IMAGE.astype(jnp.bfloat16))
    assert out["features"].dtype == jnp.bfloat16
    assert descriptors.dtype == jnp.float32
    assert_allclose(np.linalg.norm(descriptors, axis=1), 1, atol=1e-5)


@pytest.mark.slow
def test_features_of_a_padded_image_are_those_of_the_image_and_0_around():
    rngs = nnx.Rngs(0)
    network = models.RetrievalNet(models.SqueezeNet(rngs=rngs), nn.GeM(512, rngs=rngs), rngs=rngs)
    graphdef, state = nnx.split(network)
    image = np.random.default_rng(0).normal(size=(1, 64, 96, 3)).astype(np.float32)
    inside = np.zeros((1, 64, 96, 1), bool)
    inside[:, :40, :77] = True
    padded = jax.jit(lambda *arrays: nnx.merge(graphdef, state, copy=True).padded(*arrays))
    found, there = map(np.asarray, padded(image, inside))
    expected = np.asarray(run(network.trunk, image[:, :40, :77])["fire9"])
    h, w = expected.shape[1:3]
    assert_allclose(found[:, :h, :w], expected, atol=1e-4)
    assert_array_equal(there, np.pad(np.ones((1, h, w, 1), bool), [(0, 0), (0, 3 - h), (0, 5 - w), (0, 0)]))
    assert_array_equal(found * ~there, 0)
