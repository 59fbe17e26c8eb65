"""The modules of second-order pooling: what they reduce, draw, learn and keep."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import nn, ops
from vtnjax.nn.pooling import Fixed

CHANNELS = 6
FEATURES = np.random.default_rng(0).normal(size=(8, 3, 4, CHANNELS)).astype(np.float32)
# name: (the module, how many numbers it makes, the op of one reduced example)
POOLS = {
    "isqrt": (lambda **o: nn.ISQRTCOV(CHANNELS, reduced=4, iterations=3, **o), 10, ("isqrt_covariance", 3)),
    "isqrt, not reduced": (lambda **o: nn.ISQRTCOV(CHANNELS, reduced=None, **o), 21, ("isqrt_covariance", 5)),
    "mpncov": (lambda **o: nn.MPNCOV(CHANNELS, reduced=4, **o), 10, ("matrix_power_covariance",)),
    "bilinear": (lambda **o: nn.BilinearPool(CHANNELS, **o), 36, ("bilinear_pool",)),
    "bilinear, reduced": (lambda **o: nn.BilinearPool(CHANNELS, reduced=4, **o), 16, ("bilinear_pool",)),
    "compact": (lambda **o: nn.CompactBilinearPool(CHANNELS, 32, **o), 32, ("compact_bilinear_pool",)),
    "kernel": (lambda **o: nn.KernelPool(CHANNELS, 16, 3, **o), 1 + 6 + 2 * 16, ("kernel_pool",)),
    "kernel, any length": (lambda **o: nn.KernelPool(CHANNELS, 16, 2, unit=False, **o), 1 + 6 + 16, ("kernel_pool",)),
}


def make(name, seed=0):
    return POOLS[name][0](rngs=nnx.Rngs(seed))


def reduced(module, x):
    """What a module in training reduces features to: a product, statistics of the batch, and no negative number."""
    kernel, bias = module.conv.kernel[...], module.conv.bias
    y = x @ np.asarray(kernel) + (0 if bias is None else np.asarray(bias[...]))
    mean, variance = y.mean((0, 1, 2)), y.var((0, 1, 2))
    return np.maximum((y - mean) / np.sqrt(variance + 1e-5), 0)


def one_by_one(module, op, x):
    name, *iterations = op
    arguments, options = [], {"iterations": iterations[0]} if iterations else {}
    if name in ("compact_bilinear_pool", "kernel_pool"):
        size = module.size if name == "compact_bilinear_pool" else module.sketch_size
        arguments = [np.asarray(module.hashes[...]), np.asarray(module.signs[...]), size]
        if name == "kernel_pool":
            arguments.append(np.asarray(module.coefficients[...]))
            options["unit"] = module.unit
    function = jax.jit(lambda image: getattr(ops, name)(image, *arguments, **options))
    return np.stack([function(image) for image in x])


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.daily("mpncov", "bilinear", "kernel, any length")
def test_a_module_pools_each_reduced_image(name):
    module = make(name)
    _, size, op = POOLS[name]
    x = reduced(module.reduction, FEATURES) if getattr(module, "reduction", None) else FEATURES
    expected = one_by_one(module, op, x.astype(np.float32))
    found = nnx.jit(lambda module, x: module(x))(module, jnp.asarray(FEATURES))
    assert found.shape == (8, size)
    assert module.size == size
    assert_allclose(found, expected, rtol=1e-3, atol=2e-4)


def test_reductions_have_a_bias_where_the_papers_code_has_one():
    assert make("isqrt").reduction.conv.bias is None
    assert make("bilinear, reduced").reduction.conv.bias is None
    assert make("mpncov").reduction.conv.bias is not None


@pytest.mark.slow
def test_default_sizes_are_those_of_the_papers():
    sizes = [nn.ISQRTCOV, nn.MPNCOV, nn.CompactBilinearPool, nn.KernelPool]
    assert [pool(2048, rngs=nnx.Rngs(0)).size for pool in sizes] == [32_896, 32_896, 8192, 14_337]
    assert nn.BilinearPool(512, rngs=nnx.Rngs(0)).size == 262_144


# ---- Sketches


@pytest.mark.parametrize("name", ["compact", "kernel"])
def test_sketches_are_drawn_once_by_the_seed_and_not_learned(name):
    module, same, other = make(name), make(name), make(name, seed=1)
    for key in ("hashes", "signs"):
        assert_array_equal(getattr(module, key)[...], getattr(same, key)[...])
        assert (getattr(module, key)[...] != getattr(other, key)[...]).any()
    assert module.hashes[...].dtype == jnp.int32
    assert module.signs[...].dtype == jnp.int8
    learned = {path[0] for path, _ in nnx.to_flat_state(nnx.state(module, nnx.Param))}
    assert learned == ({"coefficients"} if name == "kernel" else set())
    assert {"hashes", "signs"} <= {path[0] for path, _ in nnx.to_flat_state(nnx.state(module, Fixed))}


def test_sketches_are_uniform_and_independent():
    module = nn.CompactBilinearPool(100_000, 10, rngs=nnx.Rngs(0))
    hashes, signs = np.asarray(module.hashes[...]), np.asarray(module.signs[...], int)
    assert hashes.min() == 0
    assert hashes.max() == 9
    assert set(signs.ravel()) == {-1, 1}
    counts = np.stack([np.bincount(row, minlength=10) for row in hashes])
    assert np.abs(counts - 10_000).max() < 5 * math.sqrt(10_000)
    assert np.abs(signs.sum(1)).max() < 5 * math.sqrt(100_000)
    assert abs((signs[0] * signs[1]).sum()) < 5 * math.sqrt(100_000)
    assert abs((hashes[0] == hashes[1]).sum() - 10_000) < 5 * math.sqrt(10_000)


def test_sketches_can_be_drawn_in_a_compiled_function():
    traced = jax.jit(lambda: nnx.state(make("kernel")))()
    for found, expected in zip(jax.tree.leaves(traced), jax.tree.leaves(nnx.state(make("kernel"))), strict=True):
        assert_array_equal(found, expected)


def test_coefficients_are_those_of_a_gaussian_kernel():
    module = nn.KernelPool(3, 8, 12, gamma=0.7, rngs=nnx.Rngs(0))
    products = np.linspace(-1, 1, 5)
    series = sum(np.square(a) * products**order for order, a in enumerate(np.asarray(module.coefficients[...])))
    assert_allclose(series, np.exp(-0.7 * (2 - 2 * products)), rtol=1e-5)


def test_coefficients_may_be_fixed():
    fixed = nn.KernelPool(3, 8, learned=False, rngs=nnx.Rngs(0))
    assert not nnx.to_flat_state(nnx.state(fixed, nnx.Param))
    assert_array_equal(fixed.coefficients[...], nn.KernelPool(3, 8, rngs=nnx.Rngs(0)).coefficients[...])


# ---- Where it runs


@pytest.mark.slow
@pytest.mark.parametrize("name", POOLS)
def test_bfloat16_features_are_pooled_in_float32(name):
    module = POOLS[name][0](rngs=nnx.Rngs(0))
    assert module(jnp.asarray(FEATURES, jnp.bfloat16)).dtype == jnp.float32


@pytest.mark.slow
def test_a_module_may_reduce_in_bfloat16():
    module = nn.ISQRTCOV(CHANNELS, reduced=4, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    found = module(jnp.asarray(FEATURES))
    assert found.dtype == jnp.float32
    assert_allclose(found, nn.ISQRTCOV(CHANNELS, reduced=4, rngs=nnx.Rngs(0))(jnp.asarray(FEATURES)), atol=0.05)


@pytest.mark.parametrize("mesh", ["auto_mesh", "explicit_mesh"])
@pytest.mark.parametrize("name", POOLS)
@pytest.mark.daily("isqrt-explicit_mesh", "compact-explicit_mesh")
def test_a_sharded_batch_gives_what_one_device_gives(request, name, mesh):
    graphdef, state = nnx.split(make(name))
    weights = np.random.default_rng(1).normal(size=(8, POOLS[name][1])).astype(np.float32)

    @jax.jit
    def gradients(state, x, weights):
        def loss(state, x):
            return (nnx.merge(graphdef, state, copy=True)(x) * weights).sum()

        return jax.value_and_grad(loss, (0, 1), allow_int=True)(state, x)

    x = jnp.asarray(FEATURES)
    expected = gradients(state, x, jnp.asarray(weights))
    mesh = request.getfixturevalue(mesh)
    with jax.set_mesh(mesh):
        everywhere, split = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
        found = gradients(jax.device_put(state, everywhere), *jax.device_put((x, weights), split))
    for array, truth in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        if truth.dtype == jnp.float32:
            assert_allclose(array, truth, rtol=1e-3, atol=1e-3)


# ---- Bad input

BAD = {
    "no channels": (lambda r: nn.BilinearPool(0, rngs=r), "channels must be .* not 0"),
    "half a channel": (lambda r: nn.CompactBilinearPool(2.5, rngs=r), "channels must be .* not 2.5"),
    "reduced to nothing": (lambda r: nn.ISQRTCOV(4, reduced=0, rngs=r), "reduced must be .* not 0"),
    "no iteration": (lambda r: nn.ISQRTCOV(4, iterations=0, rngs=r), "iterations must be .* not 0"),
    "no size": (lambda r: nn.CompactBilinearPool(4, 0, rngs=r), "size must be .* not 0"),
    "no size of a kernel": (lambda r: nn.KernelPool(4, 0, rngs=r), "size must be .* not 0"),
    "one order": (lambda r: nn.KernelPool(4, 8, 1, rngs=r), "orders must be .* at least 2, not 1"),
    "a flat kernel": (lambda r: nn.KernelPool(4, 8, gamma=0.0, rngs=r), "gamma must be above 0 .* not 0.0"),
    "one image": (lambda r: nn.MPNCOV(4, rngs=r)(jnp.ones((3, 3, 4))), r"\(n, h, w, 4\), but .* \(3, 3, 4\)"),
    "others' channels": (lambda r: nn.KernelPool(4, 8, rngs=r)(jnp.ones((1, 3, 3, 5))), r"but .* \(1, 3, 3, 5\)"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.usefixtures("untyped")
def test_bad_input_gets_a_sentence(name):
    call, sentence = BAD[name]
    with pytest.raises(ValueError, match=sentence):
        call(nnx.Rngs(0))
