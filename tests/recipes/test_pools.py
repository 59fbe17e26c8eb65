"""Poolings of descriptors by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose

from vtnjax import ops
from vtnjax.recipes import POOLS

OPS = {"mac": ops.mac, "spoc": ops.spoc, "crow": ops.crow, "gem": lambda x: ops.gem(x, 3.0), "rmac": ops.rmac}
FEATURES = jnp.asarray(np.random.default_rng(0).uniform(0, 2, (2, 4, 5, 3)), jnp.float32)


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.daily("spoc")
def test_a_pool_is_the_operation_of_its_name(name):
    pool = POOLS[name](3, dtype=jnp.dtype("float32"), rngs=nnx.Rngs(0))
    assert_allclose(pool(FEATURES), jax.vmap(OPS[name])(FEATURES), rtol=1e-6)


def test_options_reach_the_modules():
    options = {"dtype": jnp.dtype("float32"), "rngs": nnx.Rngs(0)}
    assert float(POOLS["gem"](3, p=2.5, **options).p[...]) == 2.5
    assert jax.eval_shape(POOLS["rmac"](3, whitening=7, **options), FEATURES).shape == (2, 7)
    with pytest.raises(TypeError, match="unexpected keyword argument 'p'"):
        POOLS["mac"](3, p=3.0, **options)
