"""Averaged predictions against NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose

from vtnjax.evaluate import Averaged, Classification

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
@pytest.mark.daily("1-True")
def test_the_means_of_the_members_probabilities_are_scored(flip, count):
    models = [Linear(seed) for seed in range(count)]
    as_inputs = [lambda images, k=k: images * (1 + k) for k in range(count)]  # each member has an input of its own
    batch = {"image": jnp.asarray(IMAGES), "label": jnp.asarray(LABELS), "mask": jnp.asarray(MASK)}
    figures = Classification()(Averaged(models, as_inputs, flip=flip), lambda: [batch])
    views = [
        (model, as_input(IMAGES)[:, :, ::step])
        for model, as_input in zip(models, as_inputs, strict=True)
        for step in ((1, -1) if flip else (1,))
    ]
    mean = np.mean([softmax(np.asarray(model(jnp.asarray(view))[0])) for model, view in views], axis=0)
    assert_allclose(figures["accuracy"], ((mean.argmax(-1) == LABELS) * MASK).sum() / 5)
    assert_allclose(figures["loss"], -(np.log(mean[np.arange(6), LABELS]) * MASK).sum() / 5, rtol=1e-5)


def test_a_label_that_no_member_believes_in_has_a_finite_loss():
    models = [Linear(0), Linear(1)]
    for model in models:
        model.layer.bias[...] = jnp.array([1000.0, 0, 0])
    batch = {"image": jnp.asarray(IMAGES), "label": jnp.full(6, 1), "mask": jnp.ones(6)}
    figures = Classification()(Averaged(models, [jnp.asarray] * 2), lambda: [batch])
    assert figures["accuracy"] == 0
    assert_allclose(figures["loss"], -np.log(np.finfo(np.float32).tiny), rtol=1e-6)


class Twice(Linear):
    """Two labels an image."""

    def __call__(self, image):
        logits, out = super().__call__(image)
        return jnp.stack([logits, -logits], axis=1), out


def test_several_labels_of_an_image_are_averaged_too():
    models, labels = [Twice(0), Twice(1)], np.stack([LABELS, 2 - LABELS], axis=1)
    batch = {"image": jnp.asarray(IMAGES), "label": jnp.asarray(labels), "mask": jnp.ones(6)}
    figures = Classification()(Averaged(models, [jnp.asarray] * 2), lambda: [batch])
    mean = np.mean([softmax(np.asarray(model(jnp.asarray(IMAGES))[0])) for model in models], axis=0)  # (6, 2, 3)
    right = (mean.argmax(-1) == labels).all(1)
    chosen = np.take_along_axis(mean, labels[..., None], axis=-1)[..., 0]
    assert_allclose(figures["accuracy"], right.mean())
    assert_allclose(figures["loss"], -np.log(chosen).sum(1).mean(), rtol=1e-5)
