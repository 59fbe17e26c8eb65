"""Second-order pooling against golden values, eigenvalues, SciPy and plain loops, in float64 unless said."""

import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import ops

# From formulas that were checked against the code of iSQRT-COV's authors; six decimals.
MAP = ((7 * np.arange(36) + 3) % 17 / 8).reshape(3, 3, 4)
HASHES = np.array([[0, 3, 5, 3], [2, 2, 7, 4], [6, 1, 0, 5]])
SIGNS = np.array([[1, -1, 1, 1], [-1, 1, 1, -1], [1, 1, -1, 1]])
A = np.sqrt(np.exp(-0.5) * 0.5 ** np.arange(4) / [1, 1, 2, 6])
GOLDEN = {
    "covariance": (
        "0.326389 -0.175347 -0.017940 -0.037616 0.326389 -0.185185 0.129630 0.418210 -0.158951 0.378858",
        lambda x: ops.covariance(x)[np.triu_indices(4)],
    ),
    "eigenvalues of the covariance": (
        "0.082639 0.246033 0.397326 0.723847",
        lambda x: jnp.linalg.eigvalsh(ops.covariance(x)),
    ),
    "isqrt, 1 iteration": (
        "0.366784 -0.185210 -0.029535 -0.033568 0.352646 -0.186201 0.124982 0.453741 -0.155044 0.418398",
        lambda x: ops.isqrt_covariance(x, iterations=1),
    ),
    "isqrt, 3 iterations": (
        "0.509633 -0.202655 -0.057086 -0.022978 0.462636 -0.184576 0.105254 0.586677 -0.131774 0.571038",
        lambda x: ops.isqrt_covariance(x, iterations=3),
    ),
    "isqrt": (
        "0.541253 -0.172989 -0.043049 -0.022917 0.508712 -0.162583 0.096274 0.612368 -0.119425 0.595629",
        ops.isqrt_covariance,
    ),
    "power": (
        "0.543241 -0.170363 -0.041534 -0.023002 0.512184 -0.160585 0.096156 0.613534 -0.119472 0.595659",
        ops.matrix_power_covariance,
    ),
    "bilinear": (
        "0.268132 0.224478 0.236997 0.225904 0.224478 0.304033 0.237223 0.266531 "
        "0.236997 0.237223 0.298529 0.221842 0.225904 0.266531 0.221842 0.279846",
        ops.bilinear_pool,
    ),
    "compact, summed": (
        "0 -7.1875 -4.171875 0 5.5625 -3.21875 0 7.15625",
        lambda x: ops.compact_bilinear_pool(x, HASHES[:2], SIGNS[:2], 8, normalise=False),
    ),
    "compact": (
        "0 -0.513136 -0.390939 0 0.451418 -0.343390 0 0.512019",
        lambda x: ops.compact_bilinear_pool(x, HASHES[:2], SIGNS[:2], 8),
    ),
    "kernel": (
        "0.778801 0.504804 0.596587 0.558344 0.520101 0 -0.219896 -0.127635 0 0.170180 -0.098475 0 0.218940 "
        "0.066695 0.081941 -0.050302 -0.035006 -0.148417 0.103091 -0.153417 -0.168567",
        lambda x: ops.kernel_pool(x, HASHES, SIGNS, 8, A, unit=False, normalise=False),
    ),
}
# Of sum_k (k / K) out_k, k from 1 to K, at the cells (0, 0) and (2, 1).
GOLDEN_GRADIENTS = {
    "isqrt": "-0.105922 -0.155704 -0.247305 -0.166337 0.046105 0.010789 0.097240 0.191872",
    "power": "-0.095451 -0.139600 -0.238342 -0.164145 0.048979 0.011107 0.099481 0.195122",
    "bilinear": "-0.013342 -0.007858 0.009646 0.013154 -0.022468 -0.006229 0.018986 0.035878",
}
POOLS = {
    "isqrt": ops.isqrt_covariance,
    "power": ops.matrix_power_covariance,
    "bilinear": ops.bilinear_pool,
    "compact": lambda x: ops.compact_bilinear_pool(x, HASHES[:2], SIGNS[:2], 8),
    "kernel": lambda x: ops.kernel_pool(x, HASHES, SIGNS, 8, A),
}


def numbers(words):
    return [float(word) for word in words.split()]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def weighted(function):
    """A number of all outputs: sum_k (k / K) out_k."""

    def total(x):
        out = function(x)
        return (out * (1 + jnp.arange(out.size, dtype=out.dtype)) / out.size).sum()

    return total


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_values(x64, name):
    expected, function = GOLDEN[name]
    assert_allclose(function(jnp.asarray(MAP)), numbers(expected), rtol=0, atol=6e-7)


@pytest.mark.parametrize("name", GOLDEN_GRADIENTS)
def test_golden_gradients(x64, name):
    gradient = jax.jit(jax.grad(weighted(GOLDEN[name][1])))(jnp.asarray(MAP))
    found = np.concatenate([gradient[0, 0], gradient[2, 1]])
    assert_allclose(found, numbers(GOLDEN_GRADIENTS[name]), rtol=0, atol=6e-7)


# ---- The root


def symmetric(triangle, size):
    """The matrix of an upper triangle that is given row by row."""
    matrix = np.zeros((size, size))
    matrix[np.triu_indices(size)] = triangle
    return matrix + np.triu(matrix, 1).T


@pytest.mark.parametrize("iterations", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("shape", [(4, 5, 6), (2, 2, 6)], ids=["full rank", "fewer positions than channels"])
def test_isqrt_is_an_iteration_of_the_eigenvalues(x64, shape, iterations):
    x = normal(*shape)
    values, vectors = np.linalg.eigh(np.cov(x.reshape(-1, shape[-1]).T, bias=True))
    y, z = values / values.sum(), np.ones(shape[-1])
    for _ in range(iterations):
        t = (3 - z * y) / 2
        y, z = y * t, z * t
    expected = np.sqrt(values.sum()) * (vectors * y) @ vectors.T
    found = ops.isqrt_covariance(jnp.asarray(x), iterations=iterations)
    assert_allclose(symmetric(found, shape[-1]), expected, atol=1e-12)


@pytest.mark.parametrize("power", [0.5, 0.3, 1.0, 1.5])
def test_the_power_is_that_of_scipy(x64, power):
    x = normal(4, 5, 6)
    matrix = np.cov(x.reshape(-1, 6).T, bias=True)
    expected = scipy.linalg.fractional_matrix_power(matrix, power)
    if power == 0.5:
        assert_allclose(scipy.linalg.sqrtm(matrix), expected, atol=1e-10)
    assert_allclose(symmetric(ops.matrix_power_covariance(x, power=power), 6), expected, atol=1e-10)


@pytest.mark.parametrize("name", ["isqrt", "power"])
def test_roots_are_of_the_first_degree_and_blind_to_a_shift(x64, name):
    x, function = normal(4, 5, 6), POOLS[name]
    assert_allclose(function(1e-9 * x), 1e-9 * np.asarray(function(x)), rtol=1e-6)
    assert_allclose(function(x + normal(6, seed=1)), function(x), atol=1e-12)


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.daily("bilinear")
def test_the_order_of_the_positions_does_not_matter(x64, name):
    x = normal(4, 5, 4)
    moved = np.random.default_rng(1).permutation(x.reshape(20, 4)).reshape(2, 10, 4)
    assert_allclose(POOLS[name](moved), POOLS[name](x), atol=2e-4 if name in ("compact", "kernel") else 1e-12)


@pytest.mark.parametrize("dead", [(), (1,), (0, 3)], ids=["none", "one", "two"])
@pytest.mark.parametrize("power", [0.5, 0.8])
def test_the_gradient_of_the_power_is_that_of_finite_differences(x64, dead, power):
    x = normal(4, 5, 5)
    x[..., dead] = 0
    loss = jax.jit(weighted(lambda x: ops.matrix_power_covariance(x, power=power)))
    gradient = jax.grad(loss)(jnp.asarray(x))
    alive = [channel for channel in range(5) if channel not in dead]
    for i, channel in itertools.product([(0, 0), (3, 4), (2, 1)], alive):
        step = np.zeros_like(x)
        step[(*i, channel)] = 1e-6
        assert_allclose(gradient[(*i, channel)], (loss(x + step) - loss(x - step)) / 2e-6, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("power", [0.5, 0.8])
def test_the_gradient_follows_a_dead_direction_that_turns(x64, power):
    """Features of three directions in four channels, turned towards the fourth: the rank stays, the root is smooth."""
    x = jnp.asarray(normal(4, 5, 4) * [1, 1, 1, 0])

    def turned(angle):
        c, s = jnp.cos(angle), jnp.sin(angle)
        z, dead = x[..., 2], x[..., 3]
        mixed = jnp.stack([x[..., 0], x[..., 1], c * z - s * dead, s * z + c * dead], axis=-1)
        return weighted(lambda x: ops.matrix_power_covariance(x, power=power))(mixed)

    turned = jax.jit(turned)
    expected = (turned(0.3 + 1e-6) - turned(0.3 - 1e-6)) / 2e-6
    assert_allclose(jax.grad(turned)(0.3), expected, rtol=1e-6)


def test_equal_eigenvalues_keep_their_coupling(x64):
    """Where the reference's quotient is infinite and set to 0."""
    x = np.concatenate([np.eye(4), -np.eye(4)]).reshape(2, 4, 4)  # its covariance is 1/4 of the identity
    loss = jax.jit(weighted(ops.matrix_power_covariance))
    gradient = jax.grad(loss)(jnp.asarray(x))
    for i in np.ndindex(2, 4, 4):
        step = np.zeros_like(x)
        step[i] = 1e-5
        assert_allclose(gradient[i], (loss(x + step) - loss(x - step)) / 2e-5, rtol=1e-5, atol=1e-8)


def test_the_root_by_iterations_has_a_gradient_at_dead_channels(x64):
    loss = jax.jit(weighted(ops.isqrt_covariance))
    x = MAPS["dead channels"]
    gradient = jax.grad(loss)(jnp.asarray(x))
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = 1e-5
        assert_allclose(gradient[i], (loss(x + step) - loss(x - step)) / 2e-5, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("share", "ratio"), [(0.1, 0.997), (0.01, 0.659), (1 / 256, 0.448), (1e-3, 0.237), (1e-4, 0.076)]
)
def test_five_iterations_leave_small_eigenvalues_small(x64, share, ratio):
    """Of eigenvalues that add up to 1, how much of its root one has."""
    spread = np.sqrt(2 * np.array([share, 1 - share]))
    x = np.concatenate([np.diag(spread), -np.diag(spread)])[None]  # its covariance is diagonal
    assert_allclose(ops.isqrt_covariance(jnp.asarray(x))[0] / np.sqrt(share), ratio, atol=6e-4)


# ---- Sketches


def convolved(x, count):
    """The circular convolution of the first `count` sketches of one vector, place by place."""
    found = {0: 1.0}
    for hashes, signs in zip(HASHES[:count], SIGNS[:count], strict=True):
        longer = dict.fromkeys(range(8), 0.0)
        for (place, value), i in itertools.product(found.items(), range(4)):
            longer[(place + hashes[i]) % 8] += value * signs[i] * x[i]
        found = longer
    return np.array([found[place] for place in range(8)])


@pytest.mark.parametrize("shape", [(3, 3, 4), (1, 1, 4)], ids=["by products", "by spectra"])
def test_a_compact_pool_sums_convolved_sketches(x64, shape):
    x = normal(*shape)
    expected = sum(convolved(each, 2) for each in x.reshape(-1, 4))
    assert_allclose(POOLS_BARE["compact"](x), expected, atol=1e-12)
    roots = np.sign(expected) * np.sqrt(np.abs(expected))
    assert_allclose(POOLS["compact"](x), roots / np.linalg.norm(roots), atol=2e-4)


POOLS_BARE = {
    "compact": lambda x: ops.compact_bilinear_pool(x, HASHES[:2], SIGNS[:2], 8, normalise=False),
    "kernel": lambda x: ops.kernel_pool(x, HASHES, SIGNS, 8, A, normalise=False),
}


def test_both_ways_of_a_compact_pool_are_used():
    def operations(shape):
        return jax.jit(POOLS_BARE["compact"]).lower(jax.ShapeDtypeStruct(shape, jnp.float32)).as_text()

    assert "fft" not in operations((3, 3, 4))
    assert "fft" in operations((1, 1, 4))


def test_a_kernel_pool_is_the_mean_of_all_orders_of_unit_vectors(x64):
    x = normal(3, 3, 4)
    unit = (x / np.linalg.norm(x, axis=-1, keepdims=True)).reshape(9, 4)
    each = [[A[:1], A[1] * v, A[2] * convolved(v, 2), A[3] * convolved(v, 3)] for v in unit]
    expected = np.mean([np.concatenate(orders) for orders in each], axis=0)
    assert_allclose(POOLS_BARE["kernel"](x), expected, atol=1e-12)
    found = np.asarray(POOLS["kernel"](x))
    assert_allclose(np.linalg.norm(found), 1, rtol=1e-12)
    roots = np.sign(expected) * np.sqrt(np.abs(expected))
    assert_allclose(found, roots / np.linalg.norm(roots), atol=2e-4)


def test_a_kernel_of_the_second_order_is_the_mean_of_a_compact_pool(x64):
    x = normal(3, 3, 4)
    found = ops.kernel_pool(x, HASHES[:2], SIGNS[:2], 8, np.array([0.0, 0, 1]), unit=False, normalise=False)
    assert_allclose(found[5:], POOLS_BARE["compact"](x) / 9, atol=1e-12)


@pytest.mark.parametrize(("channels", "size", "spread"), [(512, 8192, 0.034), (64, 256, 0.198)])
def test_products_of_sketches_are_squares_of_products(channels, size, spread):
    """Over sketches the ratio to <x, y>^2 is 1 with a spread that was measured with another implementation."""
    rng = np.random.default_rng(0)
    x = np.abs(rng.normal(size=channels)).astype(np.float32)
    hashes = jnp.asarray(rng.integers(size, size=(100, 2, channels)))
    signs = jnp.asarray(rng.choice([-1, 1], size=(100, 2, channels)))
    bare = jax.jit(
        jax.vmap(
            lambda h, s: ops.compact_bilinear_pool(jnp.asarray(x)[None, None], h, s, size, normalise=False),
        )
    )
    ratios = np.square(bare(hashes, signs)).sum(-1) / np.square(x @ x)
    assert abs(ratios.mean() - 1) < 3 * spread / math.sqrt(100)
    assert spread / 2 < ratios.std() < 2 * spread


# ---- Bad maps and small numbers

MAPS = {
    "zeros": np.zeros((3, 3, 4)),
    "constant": np.ones((3, 3, 4)),
    "dead channels": MAP * [1, 0, 1, 0],
    "one position": MAP[:1, :1],
    "fewer positions than channels": MAP[:1],
    "equal channels": MAP[..., :1] * np.ones(4),
    "tiny": 1e-20 * MAP,
    "huge": 1e15 * MAP,
}


@pytest.mark.parametrize("name", POOLS)
def test_values_and_gradients_are_finite(name):
    """The gradients of both modes, forward along the map itself."""
    total = weighted(POOLS[name])
    both = jax.jit(lambda x: (*jax.value_and_grad(total)(x), jax.jvp(total, (x,), (x,))[1]))
    for kind, x in MAPS.items():
        for found in both(jnp.asarray(x, jnp.float32)):
            assert np.isfinite(found).all(), kind


@pytest.mark.parametrize("name", ["isqrt", "power"])
def test_gradients_of_the_first_degree_are_those_of_any_size(name):
    slopes = jax.jit(jax.grad(weighted(POOLS[name])))
    expected = slopes(jnp.asarray(MAP, jnp.float32))
    for size in (1e-12, 1e12):
        assert_allclose(slopes(jnp.asarray(size * MAP, jnp.float32)), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["isqrt", "power", "bilinear", "compact"])
def test_a_map_of_zeros_gives_zeros(name):
    value, gradient = jax.jit(jax.value_and_grad(weighted(POOLS[name])))(jnp.zeros((3, 3, 4)))
    assert value == 0
    assert_array_equal(gradient, np.zeros((3, 3, 4)))


@pytest.mark.usefixtures("optimised")
def test_low_precision_features_are_pooled_in_float32():
    x = np.maximum(normal(28, 28, 64) + 0.5, 0)
    rounded = jnp.asarray(x, jnp.bfloat16)
    for function in (ops.covariance, ops.isqrt_covariance):
        found = jax.jit(function)(rounded)
        with jax.enable_x64(True):
            same, exact = (np.asarray(jax.jit(function)(jnp.asarray(each, jnp.float64))) for each in (rounded, x))
        assert found.dtype == jnp.float32
        assert np.linalg.norm(found - same) < 1e-5 * np.linalg.norm(same)
        assert np.linalg.norm(found - exact) < 5e-3 * np.linalg.norm(exact)


def products(function):
    """The lines of a program, of features in bfloat16, that multiply matrices."""
    text = jax.jit(function).lower(jax.ShapeDtypeStruct((3, 3, 4), jnp.bfloat16)).as_text()
    return [line for line in text.splitlines() if "dot_general" in line]


@pytest.mark.parametrize("name", POOLS)
def test_products_are_asked_for_at_the_highest_precision(name):
    found = products(jax.value_and_grad(weighted(POOLS[name])))
    assert found or name == "kernel"
    assert all("f32" in line and "HIGHEST, HIGHEST" in line for line in found)


def test_a_covariance_and_its_gradient_are_one_product_each():
    assert len(products(jax.value_and_grad(lambda x: jnp.sum(ops.covariance(x) ** 2)))) == 2


# ---- Bad input

X = np.ones((3, 3, 4), np.float32)
BAD = {
    "a batch": (lambda: ops.covariance(np.ones((2, 3, 3, 4))), "features", "(2, 3, 3, 4)", "jax.vmap"),
    "whole numbers": (lambda: ops.bilinear_pool(np.ones((3, 3, 4), int)), "features", "int"),
    "no position": (lambda: ops.isqrt_covariance(X[:0]), "features", "at least one position", "(0, 3, 4)"),
    "no iteration": (lambda: ops.isqrt_covariance(X, iterations=0), "iterations", "at least 1", "0"),
    "half an iteration": (lambda: ops.isqrt_covariance(X, iterations=2.5), "iterations", "whole number", "2.5"),
    "a power of 0": (lambda: ops.matrix_power_covariance(X, power=0.0), "power", "above 0", "0.0"),
    "an epsilon of 0": (lambda: ops.bilinear_pool(X, epsilon=0.0), "epsilon", "above 0", "0.0"),
    "one sketch": (lambda: ops.kernel_pool(X, HASHES[:1], SIGNS[:1], 8, A), "hashes", "at least 2", "(1, 4)"),
    "three sketches": (lambda: ops.compact_bilinear_pool(X, HASHES, SIGNS, 8), "hashes", "(2, 4)", "(3, 4)"),
    "of other channels": (lambda: ops.compact_bilinear_pool(X[..., :3], HASHES[:2], SIGNS[:2], 8), "hashes", "(2, 3)"),
    "real hashes": (lambda: ops.compact_bilinear_pool(X, 1.0 * HASHES[:2], SIGNS[:2], 8), "hashes", "float"),
    "few signs": (lambda: ops.kernel_pool(X, HASHES, SIGNS[:2], 8, A), "signs", "(3, 4)", "(2, 4)"),
    "few coefficients": (lambda: ops.kernel_pool(X, HASHES, SIGNS, 8, A[:3]), "coefficients", "4", "(3,)"),
    "whole coefficients": (lambda: ops.kernel_pool(X, HASHES, SIGNS, 8, np.ones(4, int)), "coefficients", "int"),
    "no size": (lambda: ops.compact_bilinear_pool(X, HASHES[:2], SIGNS[:2], 0), "size", "at least 1", "0"),
    "a size of a half": (lambda: ops.kernel_pool(X, HASHES, SIGNS, 7.5, A), "size", "whole number", "7.5"),
    "a traced size": (
        lambda: jax.jit(lambda size: ops.compact_bilinear_pool(X, HASHES[:2], SIGNS[:2], size))(8),
        *("size", "static", "traced"),
    ),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.usefixtures("untyped")
def test_bad_input_gets_a_sentence(name):
    call, *words = BAD[name]
    with pytest.raises(ValueError, match=re.escape(words[0])) as caught:
        call()
    assert all(word in str(caught.value) for word in words), caught.value
