"""Averaged predictions against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose

from vtnjax.evaluate import make_ensemble

pytestmark = pytest.mark.usefixtures("quick_compile_module")

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(6, 3, 4, 1)).astype(np.float32)
LABELS, MASK = np.array([0, 1, 2, 0, 1, 2]), np.array([1, 1, 1, 1, 1, 0], np.float32)


class Linear(nnx.Module):
    """Logits that see where a pixel is."""

    def __init__(self, seed):
        self.layer = nnx.Linear(12, 3, rngs=nnx.Rngs(seed))

    def __call__(self, image):
        return self.layer(image.reshape(len(image), -1)), {}


def softmax(logits):
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("count", [1, 3])
def test_the_means_of_the_members_probabilities_are_scored(flip, count):
    models = [Linear(seed) for seed in range(count)]
    split = [nnx.split(model, nnx.Param, ...) for model in models]
    score = jax.jit(make_ensemble([graphdef for graphdef, *_ in split], flip=flip))
    images = [IMAGES * (1 + k) for k in range(count)]  # each member has an input of its own
    batch = {"label": jnp.asarray(LABELS), "mask": jnp.asarray(MASK)}
    sums = score([tuple(state) for _, *state in split], [jnp.asarray(x) for x in images], batch)
    views = [(m, x[:, :, ::step]) for m, x in zip(models, images, strict=True) for step in ((1, -1) if flip else (1,))]
    mean = np.mean([softmax(np.asarray(model(jnp.asarray(view))[0])) for model, view in views], axis=0)
    assert_allclose(sums["count"], 5)
    assert_allclose(sums["correct"], ((mean.argmax(-1) == LABELS) * MASK).sum())
    assert_allclose(sums["loss"], -(np.log(mean[np.arange(6), LABELS]) * MASK).sum(), rtol=1e-5)
