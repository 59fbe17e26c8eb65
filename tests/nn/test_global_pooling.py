"""The poolings of retrieval as modules: what they learn, and what they pool."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose

from vtnjax import nn, ops
from vtnjax.ops.pooling import regional_maxima

FEATURES = np.random.default_rng(0).uniform(size=(2, 5, 7, 4)).astype(np.float32)


def test_gem_learns_one_power():
    module = nn.GeM(4, p=2.5, rngs=nnx.Rngs(0))
    assert module.size == 4
    assert [leaf.shape for leaf in jax.tree.leaves(nnx.state(module, nnx.Param))] == [()]
    gem = jax.jit(jax.vmap(ops.gem, (0, None)))
    assert_allclose(module(jnp.asarray(FEATURES)), gem(FEATURES, 2.5), rtol=1e-6)
    gradient = nnx.jit(nnx.grad(lambda module: module(jnp.asarray(FEATURES)).sum()))(module)
    step = 1e-2
    above, below = (gem(FEATURES, 2.5 + s).sum() for s in (step, -step))
    assert_allclose(gradient["p"][...], (above - below) / (2 * step), rtol=1e-2)


@pytest.mark.parametrize("levels", [1, 3])
def test_rmac_is_the_op(levels):
    module = nn.RMAC(4, levels=levels, rngs=nnx.Rngs(0))
    assert module.size == 4
    assert jax.tree.leaves(nnx.state(module, nnx.Param)) == []
    rmac, call = jax.jit(ops.rmac, static_argnames="levels"), nnx.jit(lambda module, x: module(x))
    expected = [rmac(x, levels=levels) for x in FEATURES]
    assert_allclose(call(module, jnp.asarray(FEATURES)), expected, rtol=1e-6)


@pytest.mark.slow
def test_whitened_regions_have_length_1_before_and_after():
    module = nn.RMAC(4, whitening=6, rngs=nnx.Rngs(0))
    module.whitening.bias[...] = jnp.asarray(np.random.default_rng(1).normal(size=6), jnp.float32)
    assert module.size == 6
    kernel, bias = (np.asarray(each[...], float) for each in (module.whitening.kernel, module.whitening.bias))
    found = nnx.jit(lambda module, x: module(x))(module, jnp.asarray(FEATURES))
    for image, descriptor in zip(FEATURES, found, strict=True):
        total = np.zeros(6)
        for region in np.asarray(regional_maxima(jnp.asarray(image)), float):
            whitened = region / np.linalg.norm(region) @ kernel + bias
            total += whitened / np.linalg.norm(whitened)
        assert_allclose(descriptor, total, atol=1e-4)


@pytest.mark.slow
def test_half_precision_features_are_pooled_in_float32():
    half = jnp.asarray(FEATURES, jnp.bfloat16)
    for module in (nn.GeM(4, rngs=nnx.Rngs(0)), nn.RMAC(4, whitening=3, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))):
        assert module(half).dtype == jnp.float32


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: nn.GeM(4, p=0.0, rngs=nnx.Rngs(0)), "p must be above 0 and finite, not 0.0"),
        (lambda: nn.GeM(0, rngs=nnx.Rngs(0)), "channels must be a whole number of at least 1, not 0"),
        (lambda: nn.RMAC(4, levels=0, rngs=nnx.Rngs(0)), "levels must be a whole number of at least 1, not 0"),
        (lambda: nn.RMAC(4, whitening=0, rngs=nnx.Rngs(0)), "whitening must be a whole number of at least 1, not 0"),
    ],
)
def test_bad_arguments_get_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("whitening", [None, 3])
def test_features_of_another_shape_get_a_sentence(whitening):
    module = nn.RMAC(4, whitening=whitening, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="features must have the shape"):
        module(jnp.ones((2, 5, 7, 3)))
