"""Descriptors for retrieval against golden values and plain loops, in float64 unless said."""

import re
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import ops
from vtnjax.ops import pooling

# From formulas that were checked against the code of GeM's and CroW's authors; six decimals.
MAP = ((7 * np.arange(36) + 3) % 17 / 8).reshape(3, 3, 4)
LONG = ((7 * np.arange(84) + 3) % 17 / 8).reshape(4, 7, 3)
GOLDEN = {
    "mac": (ops.mac, MAP, "1.75 1.875 2 2"),
    "spoc": (ops.spoc, MAP, "0.916667 1.083333 1.013889 0.944444"),
    "gem": (lambda x: ops.gem(x, 3.0), MAP, "1.190551 1.322393 1.326147 1.242548"),
    "crow": (ops.crow, MAP, "6.331951 7.461866 7.591902 7.294466"),
    "rmac": (ops.rmac, MAP, "6.536565 7.160469 6.959415 6.583547"),
    "rmac of a long map": (ops.rmac, LONG, "11.867865 12.162148 12.136555"),
}
POOLS = {"mac": ops.mac, "spoc": ops.spoc, "gem": lambda x: ops.gem(x, 3.0), "crow": ops.crow, "rmac": ops.rmac}
maxima = jax.jit(pooling.regional_maxima, static_argnames="levels")
# Maps, and how many regions there are beside the whole one; those of the second line are ties or nearly so.
REGIONS = {
    (14, 14): 14,
    (24, 32): 20,
    (32, 24): 20,
    (23, 32): 20,
    (16, 32): 26,
    (12, 32): 32,
    (1, 5): 7,
    (1, 1): 1,
    (3, 11): 38,
    (5, 9): 20,
    (10, 18): 20,
    (4, 33): 50,
    (10, 19): 26,
    (4, 7): 20,
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values(name, x64):
    pool, image, expected = GOLDEN[name]
    assert_allclose(jax.jit(pool)(image), np.array(expected.split(), float), atol=6e-7)


# ---- R-MAC's regions


def plain_regions(height, width, levels):
    """(top, left, size) of each region, by the formulas of R-MAC's code, in fractions."""
    shorter, longer = min(height, width), max(height, width)
    added = 0
    if longer > shorter:
        overlaps = [abs(1 - Fraction(longer - shorter, n * shorter) - Fraction(2, 5)) for n in range(1, 7)]
        added = 1 + overlaps.index(min(overlaps))
    found = []
    for level in range(1, levels + 1):
        size = int(Fraction(2 * shorter, level + 1))
        down, across = (level + (added if side > shorter else 0) for side in (height, width))
        steps = [Fraction(side - size, max(n - 1, 1)) for side, n in ((height, down), (width, across))]
        if size:
            found += [(int(steps[0] * i), int(steps[1] * j), size) for i in range(down) for j in range(across)]
    return found


@pytest.mark.parametrize("shape", REGIONS, ids=lambda shape: f"{shape[0]} x {shape[1]}")
@pytest.mark.daily("24 x 32", "3 x 11", "10 x 19")
def test_maxima_are_those_of_the_whole_map_and_of_regions_in_whole_numbers(shape, x64):
    features = np.random.default_rng(0).normal(size=(*shape, 2))
    squares = plain_regions(*shape, levels=3)
    expected = [features.max((0, 1))]
    for top, left, size in squares:
        region = features[top : top + size, left : left + size]
        assert region.shape == (size, size, 2)  # none leaves the map
        expected.append(region.max((0, 1)))
    assert len(squares) == REGIONS[shape]
    assert_array_equal(maxima(features), expected)
    assert_allclose(jax.jit(ops.rmac)(features), sum(v / (np.linalg.norm(v) + 1e-6) for v in expected), rtol=1e-12)


@pytest.mark.parametrize("levels", [1, 2, 5])
@pytest.mark.daily("2")
def test_each_level_has_smaller_regions(levels, x64):
    features = np.random.default_rng(1).normal(size=(7, 12, 3))
    expected = [features.max((0, 1))]
    for top, left, size in plain_regions(7, 12, levels):
        expected.append(features[top : top + size, left : left + size].max((0, 1)))
    assert_array_equal(maxima(features, levels=levels), expected)


def test_two_maps_of_one_transposed_have_the_same_descriptor(x64):
    rmac = jax.jit(ops.rmac)
    assert_allclose(rmac(LONG), rmac(LONG.swapaxes(0, 1)), rtol=1e-12)


# ---- GeM and CroW


@pytest.mark.slow
@pytest.mark.parametrize("p", [0.5, 1.0, 3.0, 10.0, np.array([1.0, 2.5, 7.0])], ids=["0.5", "1", "3", "10", "each"])
def test_gem_is_the_mean_of_powers(p, x64):
    features = np.random.default_rng(0).normal(size=(4, 5, 3))
    for channel, power in enumerate(np.broadcast_to(p, 3)):
        values = [max(value, 1e-6) ** power for value in features[..., channel].ravel()]
        assert_allclose(ops.gem(features, p)[channel], (sum(values) / 20) ** (1 / power), rtol=1e-10)
    check_grads(jax.jit(ops.gem), (jnp.asarray(features), jnp.asarray(p)), 2, rtol=1e-4)


def test_a_large_power_comes_to_the_maximum_and_neither_overflows_nor_vanishes():
    features = jnp.asarray([[[1e-3, 1e4]], [[1e-4, 1e3]]], jnp.float32)
    assert_allclose(ops.gem(features, 200.0), np.array([1e-3, 1e4]) * 0.5 ** (1 / 200), rtol=1e-5)
    to_features, to_p = jax.jit(jax.grad(lambda x, p: ops.gem(x, p).sum(), (0, 1)))(features, jnp.float32(200))
    assert bool(jnp.isfinite(to_features).all() & jnp.isfinite(to_p))


def test_a_power_that_is_known_is_taken_in_a_compiled_function():
    p, features = jnp.asarray(2.0), jnp.asarray([[[1.0], [7.0]]])
    assert_allclose(jax.jit(lambda x: ops.gem(x, p))(features), [5.0], rtol=1e-6)


def test_crow_weighs_positions_and_channels_as_a_loop_does(x64):
    rng = np.random.default_rng(0)
    features = rng.uniform(size=(4, 5, 3)) * (rng.uniform(size=(4, 5, 3)) < 0.6)
    features[..., 2] = 0  # no position
    sums = features.sum(2)
    length = np.sqrt((sums**2).sum())
    shares = [np.count_nonzero(features[..., k]) / 20 for k in range(3)]
    rarities = [np.log(sum(shares) / share) if share else 0 for share in shares]
    expected = np.zeros(3)
    for i, j, k in np.ndindex(4, 5, 3):
        expected[k] += features[i, j, k] * np.sqrt(sums[i, j] / length) * rarities[k]
    assert_allclose(ops.crow(features), expected, rtol=1e-12)


def test_a_negative_sum_weighs_nothing_in_crow(x64):
    features = np.array([[[3.0, 1.0], [-2.0, 1.0]]])
    weight = np.sqrt(4 / np.sqrt(16 + 1))
    assert_allclose(ops.crow(features), np.array([3, 1]) * weight * np.log(2), rtol=1e-12)


# ---- Of all


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@pytest.mark.parametrize("name", POOLS)
@pytest.mark.daily("mac-float32", "spoc-float16", "gem-float16", "crow-float16", "rmac-bfloat16")
def test_dead_channels_and_empty_maps_have_finite_gradients_in_every_dtype(name, dtype):
    dead = np.random.default_rng(0).uniform(size=(3, 4, 3)) * [1, 0, 1]
    maps = jnp.asarray(np.stack([dead, np.zeros((3, 4, 3)), np.full((3, 4, 3), 0.25)]), dtype)
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(lambda x: POOLS[name](x).sum())))(maps)
    assert values.dtype == jnp.float32
    assert gradients.dtype == dtype
    assert bool(jnp.isfinite(values).all() & jnp.isfinite(gradients).all())
    assert float(jnp.abs(gradients).max()) < 1e3


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_the_power_of_gem_has_a_finite_gradient_where_channels_are_dead(dtype):
    """In float16 the cube of the smallest value is 0, whose logarithm is not finite."""
    features = np.random.default_rng(0).uniform(size=(3, 4, 3)).astype(dtype) * np.array([1, 0, 1], dtype)
    slopes = jax.jit(jax.grad(lambda p, x: ops.gem(x, p).sum()))
    found, wide = (slopes(jnp.full(3, 3.0, jnp.float32), jnp.asarray(features, each)) for each in (dtype, jnp.float32))
    assert bool(jnp.isfinite(found).all())
    assert_allclose(found, wide, rtol=1e-5)
    assert float(jnp.abs(found).max()) > 0


@pytest.mark.parametrize("name", POOLS)
def test_a_value_that_is_no_number_shows(name):
    features = jnp.ones((3, 4, 2)).at[1, 2, 0].set(jnp.nan)
    assert jnp.isnan(jax.jit(POOLS[name])(features)[0])


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.daily("spoc")
def test_a_batch_is_compiled_as_one(name):
    batch = np.random.default_rng(0).uniform(size=(3, 4, 5, 2)).astype(np.float32)
    pooled, one = jax.jit(jax.vmap(POOLS[name]))(batch), jax.jit(POOLS[name])
    assert_allclose(pooled, np.stack([one(image) for image in batch]), rtol=1e-5)


def test_equal_maxima_give_the_first_the_gradient():
    gradient = jax.grad(lambda x: ops.mac(x).sum())(jnp.ones((2, 2, 1)))
    assert_array_equal(gradient[..., 0], [[1, 0], [0, 0]])


BAD = {
    "rank": (lambda: ops.mac(jnp.ones((4, 5))), "features must have the shape (h, w, c)"),
    "dtype": (lambda: ops.spoc(jnp.ones((4, 5, 2), jnp.int32)), "features must be floating point"),
    "nothing": (lambda: ops.rmac(jnp.ones((0, 5, 2))), "features must have at least one position"),
    "levels": (lambda: ops.rmac(jnp.ones((4, 5, 2)), levels=0), "levels must be a whole number of at least 1, not 0"),
    "epsilon": (lambda: ops.gem(jnp.ones((4, 5, 2)), 3.0, epsilon=0), "epsilon must be above 0 and finite, not 0"),
    "p": (lambda: ops.gem(jnp.ones((4, 5, 2)), 0.0), "p must be above 0, not 0.0"),
    "p's shape": (
        lambda: ops.gem(jnp.ones((4, 5, 2)), jnp.ones(3)),
        "p must be a number or one for each channel, (2,), but its shape is (3,)",
    ),
}


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_get_a_sentence(name):
    call, sentence = BAD[name]
    with pytest.raises(ValueError, match=re.escape(sentence)):
        call()
