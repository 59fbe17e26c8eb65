import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose

from vtnjax.recipes import HEADS

FEATURES = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)


def logits(name, features):
    head = HEADS[name]((3, 4, 5), 7, dtype=jnp.dtype("float32"), rngs=nnx.Rngs(0))
    head.eval()
    return head(jnp.asarray(features))


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.daily("flat")
def test_a_head_makes_a_logit_for_each_class(name):
    assert logits(name, FEATURES).shape == (2, 7)


def test_only_a_pooled_head_is_blind_to_where_a_feature_is():
    moved = FEATURES[:, ::-1, ::-1]
    assert_allclose(logits("pooled", moved), logits("pooled", FEATURES), atol=1e-5)
    assert np.abs(logits("flat", moved) - logits("flat", FEATURES)).max() > 0.01
