"""Gradients of programs compiled as users compile them: where XLA makes what two passes read, it may round it twice."""

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads
from numpy.testing import assert_allclose

from vtnjax import nn
from vtnjax._arrays import highest, maximum
from vtnjax.models import SmallTrunk, layers
from vtnjax.nn import volumetric_transformer

# The tests do without these, see tests/conftest.py.
FUSED: dict[str, str | bool] = (
    {"xla_cpu_use_fusion_emitters": True} if jaxlib.version.__version_info__ < (0, 11) else {}
)


def compiled_gradient(loss, *given):
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        return jax.jit(jax.grad(loss)).lower(*given).compile(compiler_options=FUSED)(*given)
    finally:
        jax.config.update("jax_disable_most_optimizations", True)


def gradient_by_operations(loss, *given):
    with jax.disable_jit():
        return jax.grad(loss)(*given)


def assert_same(found, expected):
    for (path, one), (_, other) in zip(*map(jax.tree_util.tree_leaves_with_path, (found, expected)), strict=True):
        name = jax.tree_util.keystr(path)
        assert_allclose(one, other, rtol=0, atol=1e-4 * np.abs(other).max(), err_msg=name)


def drawn(*shape):
    return jnp.asarray(np.random.default_rng(len(shape)).standard_normal(shape, np.float32))


@pytest.mark.slow
def test_maxima_of_squares_behind_batchnorm_keep_their_gradient(monkeypatch):
    trunk = SmallTrunk(1, (4, 6, 8), rngs=nnx.Rngs(0))
    graphdef, params, rest = nnx.split(trunk, nnx.Param, ...)
    images, weights = drawn(8, 24, 24, 1), drawn(8, 6, 6, 8)

    def loss(params):
        return (weights * nnx.merge(graphdef, params, rest, copy=True)(images)["conv3"]).mean()

    found = compiled_gradient(loss, params)
    # Of windows, whose gradient looks for the maxima itself.
    monkeypatch.setattr(layers, "max_pool", lambda x, size: nnx.max_pool(x, (size, size), strides=(size, size)))
    assert_same(found, gradient_by_operations(loss, params))


@pytest.mark.slow
def test_the_maxima_of_a_vtns_groups_behind_batchnorm_keep_their_gradient(monkeypatch):
    module = nn.VolumetricTransformer(64, groups=8, window=(3, 3), rngs=nnx.Rngs(0))
    scale, bias, weights = jnp.abs(drawn(1, 1, 1, 64)) + 0.5, drawn(1, 1, 1, 64), drawn(4, 12, 12, 8)

    def loss(x, scale, bias):
        mean = x.mean((0, 1, 2), keepdims=True)
        variance = (x**2).mean((0, 1, 2), keepdims=True) - mean**2
        normed = (x - mean) * (jax.lax.rsqrt(variance + 1e-5) * scale) + bias
        maxima, response = module._pool(normed)
        return (weights * (maxima[..., 0] + response)).sum()

    given = drawn(4, 12, 12, 64), scale, bias
    found = compiled_gradient(loss, *given)
    monkeypatch.setattr(volumetric_transformer, "highest", lambda x: x.max(-1))
    assert_same(found, gradient_by_operations(loss, *given))


@pytest.mark.slow
def test_maxima_and_their_derivatives(x64):
    x, y = (jnp.asarray(np.random.default_rng(seed).normal(size=(4, 5))) for seed in (0, 1))
    np.testing.assert_array_equal(maximum(x, y[:1]), np.maximum(x, y[:1]))
    np.testing.assert_array_equal(highest(x), np.max(x, -1))
    check_grads(jax.jit(lambda x, y: maximum(x, y[:1]) ** 2), (x, y), order=2)
    check_grads(jax.jit(lambda x: highest(x) ** 2), (x,), order=2)


@pytest.mark.parametrize("function", [lambda x: maximum(x[0], x[1]), highest])
@pytest.mark.daily("highest")
def test_equal_values_share_one_gradient(function):
    gradient = jax.grad(function)(jnp.ones(2))
    assert np.all(gradient >= 0)
    assert gradient.sum() == 1
