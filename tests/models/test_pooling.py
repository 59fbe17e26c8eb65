"""Pooling by slices: against plain loops, with gradients, what hangs over the edge, and an explicit mesh."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from vtnjax.models import pooling

pytestmark = pytest.mark.usefixtures("x64")
average_pool = jax.jit(pooling.average_pool, static_argnums=1)
max_pool = jax.jit(pooling.max_pool, static_argnums=1, static_argnames="ceil")
SHAPES = [(2, 4, 6, 3), (2, 5, 7, 3), (1, 7, 6, 5, 2)]


def looped(x, size, reduce, round_up):
    """Squares, or cubes, one at a time."""
    counts = [-(-n // size) if round_up else n // size for n in x.shape[1:-1]]
    out = np.zeros((len(x), *counts, x.shape[-1]))
    for n, *cell, c in np.ndindex(out.shape):
        out[n, *cell, c] = reduce(x[n, *(slice(size * i, size * i + size) for i in cell), c])
    return out


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.daily("1-shape0", "2-shape1", "3-shape0")
def test_maxima_and_means_are_those_of_a_loop(shape, size):
    x = np.random.default_rng(0).normal(size=shape) - 3
    for ceil in (False, True):
        np.testing.assert_array_equal(max_pool(jnp.asarray(x), size, ceil=ceil), looped(x, size, np.max, ceil))
    np.testing.assert_allclose(average_pool(jnp.asarray(x), size), looped(x, size, np.mean, False), atol=1e-14)


@pytest.mark.parametrize("ceil", [False, True])
def test_the_gradient_goes_to_each_square_s_maximum(ceil):
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3))
    weights = np.random.default_rng(1).normal(size=looped(x, 2, np.max, ceil).shape)
    expected = np.zeros_like(x)
    for n, i, j, c in np.ndindex(weights.shape):
        square = x[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c]
        y, x_ = np.unravel_index(np.argmax(square), square.shape)
        expected[n, 2 * i + y, 2 * j + x_, c] = weights[n, i, j, c]
    found = jax.jit(jax.grad(lambda x: (weights * max_pool(x, 2, ceil=ceil)).sum()))(jnp.asarray(x))
    np.testing.assert_array_equal(found, expected)


def test_equal_maxima_share_the_gradient():
    gradient = jax.jit(jax.grad(lambda x: max_pool(x, 2, ceil=True).sum()))(jnp.zeros((1, 3, 3, 1)))
    found = np.asarray(gradient)[0, ..., 0]
    assert np.all(found > 0)
    np.testing.assert_array_equal([found[:2, :2].sum(), found[:2, 2].sum(), found[2, :2].sum(), found[2, 2]], 1)


def test_means_of_bfloat16_are_summed_in_float32():
    x = jnp.asarray(np.random.default_rng(0).uniform(size=(1, 8, 8, 5)), jnp.bfloat16)
    expected = jnp.asarray(np.mean(np.asarray(x, np.float64), (1, 2)), jnp.bfloat16)
    found = average_pool(x, 8)
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.asarray(found)[:, 0, 0], expected)


def test_pooling_over_an_explicit_mesh(explicit_mesh):
    x = np.random.default_rng(0).normal(size=(8, 5, 7, 3))
    with jax.set_mesh(explicit_mesh):
        sharded = jax.device_put(x, NamedSharding(explicit_mesh, PartitionSpec("data")))
        for pool in (average_pool, max_pool, lambda x, size: max_pool(x, size, ceil=True)):
            np.testing.assert_array_equal(pool(sharded, 2), pool(jnp.asarray(x), 2))
