"""Grad-CAM against a plain loop, known values, and class activation maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import evaluate

# (3, 3, 4), and the weights of a class with their map after mean pooling and a linear layer.
MAP = ((7 * np.arange(36) + 3) % 17 / 8).reshape(3, 3, 4)
WEIGHTS = np.array([1, -1, 0.5, -0.25])
HEAT = np.array([[0, 0.211806, 0], [0, 0.208333, 0], [0, 0.145833, 0]])


def looped(features, gradients):
    """A number at a time."""
    h, w, c = features.shape
    heat = np.zeros((h, w))
    for k in range(c):
        weight = sum(gradients[y, x, k] for y in range(h) for x in range(w)) / (h * w)
        for y in range(h):
            for x in range(w):
                heat[y, x] += weight * features[y, x, k]
    return np.maximum(heat, 0)


def test_the_map_is_that_of_a_loop(x64):
    features, gradients = np.random.default_rng(0).normal(size=(2, 5, 4, 7))
    found = evaluate.grad_cam(features, gradients)
    assert found.dtype == jnp.float64
    assert 0 < (np.asarray(found) == 0).mean() < 1
    assert_allclose(found, looped(features, gradients), rtol=1e-12, atol=1e-15)


def test_each_position_may_have_its_own_weights(x64):
    features, gradients = np.random.default_rng(3).normal(size=(2, 5, 4, 7))
    found = evaluate.hires_cam(features, gradients)
    expected = [[max(sum(features[y, x] * gradients[y, x]), 0) for x in range(4)] for y in range(5)]
    assert found.dtype == jnp.float64
    assert_allclose(found, expected, rtol=1e-12, atol=1e-15)
    assert np.abs(found - evaluate.grad_cam(features, gradients)).max() > 1
    same = np.broadcast_to(gradients[0, 0], features.shape)
    assert_allclose(evaluate.hires_cam(features, same), evaluate.grad_cam(features, same), rtol=1e-12)


def test_known_map(x64):
    found = evaluate.grad_cam(MAP, np.broadcast_to(WEIGHTS / 9, MAP.shape))
    assert_allclose(found, HEAT, atol=5e-7)


class Moved(nnx.Module):
    """Features as they are, moved to the right, averaged and multiplied: one trunk, one warp, one linear layer."""

    def __init__(self, weights, moved):
        self.weights, self.moved = nnx.Param(jnp.asarray(weights)), moved

    def features(self, image):
        return image

    def classify(self, features):
        warped = jnp.roll(features, self.moved, axis=2)
        return warped.mean((1, 2)) @ self.weights, {"warped": warped}


@pytest.mark.parametrize("moved", [0, 1])
@pytest.mark.daily("1")
def test_after_mean_pooling_it_is_the_class_activation_map_of_the_unwarped_features(x64, moved):
    images = np.stack([MAP, MAP[::-1]])
    weights = np.stack([-WEIGHTS, WEIGHTS, 2 * WEIGHTS], axis=1)
    logits, out = evaluate.with_heat(Moved(weights, moved), jnp.asarray(images), jnp.array([1, 2]))
    assert_allclose(out["heat"], [HEAT, 2 * HEAT[::-1]], atol=1e-6)
    assert_allclose(out["heat"], np.maximum(np.einsum("nhwk,kn->nhw", images, weights[:, 1:]), 0) / 9, rtol=1e-12)
    labels = jnp.array([1, 2])
    _, other = evaluate.with_heat(Moved(weights, moved), jnp.asarray(images), labels, method="hires_cam")
    assert_allclose(other["heat"], out["heat"], rtol=1e-12)
    assert_allclose(logits, images.mean((1, 2)) @ weights, rtol=1e-12)
    assert_array_equal(out["warped"], np.roll(images, moved, axis=2))


@pytest.mark.slow
def test_without_a_label_it_is_of_the_likeliest_class():
    images = jnp.asarray(np.stack([MAP, -MAP]), jnp.float32)
    model = Moved(np.stack([WEIGHTS, -WEIGHTS], axis=1).astype(np.float32), 0)
    logits, out = evaluate.with_heat(model, images)
    assert sorted(np.asarray(logits).argmax(-1)) == [0, 1]
    assert_array_equal(out["heat"], evaluate.with_heat(model, images, logits.argmax(-1))[1]["heat"])
    assert (evaluate.with_heat(model, images, logits.argmin(-1))[1]["heat"] != out["heat"]).any()


@pytest.mark.slow
def test_gradients_go_through_the_warp(x64):
    class Bent(Moved):
        """What it multiplies depends on all features, as the places of a warp do."""

        def classify(self, features):
            turned = jnp.tanh(features) * features.mean((1, 2), keepdims=True)
            return super().classify(turned)

    model, step = Bent(np.random.default_rng(1).normal(size=(4, 3)), 1), 1e-6
    images = np.random.default_rng(2).normal(size=(2, 3, 2, 4))
    labels = np.array([2, 0])
    _, out = evaluate.with_heat(model, jnp.asarray(images), jnp.asarray(labels))
    for number, label in enumerate(labels):
        gradients = np.zeros(images.shape[1:])
        for place in np.ndindex(gradients.shape):
            change = np.zeros_like(images)
            change[(number, *place)] = step
            above, below = (model.classify(jnp.asarray(images + sign * change))[0] for sign in (1, -1))
            gradients[place] = (above - below)[number, label] / (2 * step)
        assert np.ptp(gradients, axis=(0, 1)).min() > 1e-3
        assert_allclose(out["heat"][number], looped(images[number], gradients), rtol=1e-6, atol=1e-8)


def test_a_compiled_map_of_half_precision_is_single():
    features = jnp.asarray(MAP, jnp.bfloat16)
    found = jax.jit(jax.vmap(evaluate.grad_cam))(features[None], features[None])
    assert found.dtype == jnp.float32
    exact = looped(*[np.asarray(features, np.float64)] * 2)
    assert_allclose(found[0], exact, rtol=1e-5)


@pytest.mark.usefixtures("untyped")
def test_what_makes_no_map_is_refused():
    with pytest.raises(ValueError, match="features must be floating point"):
        evaluate.grad_cam(np.zeros((2, 2, 1), int), MAP)
    with pytest.raises(ValueError, match=r"gradients must have the shape \(h, w, c\)"):
        evaluate.grad_cam(MAP, MAP[0])
    with pytest.raises(ValueError, match=r"gradients must have the shape \(3, 3, 4\) of the features, not \(3, 2, 4\)"):
        evaluate.grad_cam(MAP, MAP[:, :2])
    with pytest.raises(ValueError, match=r"the network must be one trunk and a classifier .* not Linear"):
        evaluate.with_heat(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), jnp.zeros((1, 2, 2, 2)))
    with pytest.raises(ValueError, match="method must be one of 'grad_cam', 'hires_cam', not 'cam'"):
        evaluate.with_heat(Moved(np.stack([WEIGHTS], axis=1), 0), jnp.asarray(MAP)[None], method="cam")
