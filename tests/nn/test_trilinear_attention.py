"""The module of attention maps against plain loops, and what it refuses."""

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from numpy.testing import assert_allclose

from vtnjax.nn import TrilinearAttention


def test_trilinear_attention_is_one_row_of_the_table():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    for module, wanted in (
        (TrilinearAttention(), lambda x: loops.trilinear_attention(x, ("spatial", "relation"), 7.0)),
        (TrilinearAttention(normalise=(), sharpness=2.0), lambda x: loops.trilinear_attention(x, (), 2.0)),
        (TrilinearAttention("features"), lambda x: x),
        (TrilinearAttention("self"), loops.self_attention),
    ):
        assert_allclose(jax.jit(module)(jnp.asarray(x)), np.stack([wanted(each) for each in x]), rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: TrilinearAttention("trilinaer"), "kind must be .* not 'trilinaer'; did you mean 'trilinear'"),
        (lambda: TrilinearAttention(sharpness=0.0), "sharpness must be above 0, not 0.0"),
        (lambda: TrilinearAttention(normalise="output"), "normalise must be a sequence of names"),
        (lambda: TrilinearAttention()(jnp.zeros((3, 4, 5))), r"features must have the shape \(n, h, w, c\), but"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
