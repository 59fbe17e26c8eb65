"""A trunk, a warp of its last features and a classifier, whole and in its two halves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal
from small_trunk import Trunk

from vtnjax import models
from vtnjax.nn import VolumetricTransformer

VTN = {"window": (3, 3), "widths": (3,), "squeezed": (2,)}
IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 10, 3)), jnp.float32)


@pytest.mark.slow
def test_the_last_features_are_warped_and_classified():
    trunk = Trunk(nnx.Rngs(0))
    shape = models.features_shape(trunk, (12, 10, 3))
    assert shape == (6, 5, 8)  # the dictionary's last entry, not the last in the order of the names
    transformer = VolumetricTransformer(8, 4, **VTN, rngs=nnx.Rngs(0))
    classifier = models.PooledClassifier(8, 3, rngs=nnx.Rngs(0))
    network = models.WarpedFeatures(trunk, transformer, classifier)
    image = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 10, 3)), jnp.float32)
    logits, out = run(network, image)
    assert_allclose(out["features"], run(trunk, image)["a"], atol=1e-6)
    assert_allclose(out["warped"], run(transformer, out["features"])[0], atol=1e-5)
    assert_allclose(logits, run(classifier, out["warped"]), atol=1e-5)
    assert out["coords"].shape == (2, 6, 5, 4, 2)
    plain, out = run(models.WarpedFeatures(trunk, None, classifier), image)
    assert_allclose(plain, run(classifier, out["features"]), atol=1e-5)


def test_features_are_scaled_before_they_are_warped():
    trunk, classifier = Trunk(nnx.Rngs(0)), models.PooledClassifier(8, 3, rngs=nnx.Rngs(0))
    logits, out = run(models.WarpedFeatures(trunk, lambda x: (x - 1, {}), classifier, scale=0.25), IMAGE)
    assert_allclose(out["features"], 0.25 * np.asarray(run(trunk, IMAGE)["a"]), atol=1e-6)
    assert_allclose(logits, run(classifier, out["features"] - 1), atol=1e-5)
    for dtype in (jnp.float32, jnp.bfloat16):
        image = jnp.ones((1, 12, 10, 3), dtype)
        scaled = models.WarpedFeatures(lambda image: {"a": image}, None, lambda x: x.mean((1, 2)), scale=0.25)
        assert scaled.features(image).dtype == dtype


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_factor_of_nothing_is_refused(scale):
    with pytest.raises(ValueError, match="scale must be above 0 and finite, not"):
        models.WarpedFeatures(Trunk(nnx.Rngs(0)), None, lambda x: x, scale=scale)


def make(*, warped=True):
    transformer = VolumetricTransformer(8, 4, **VTN, rngs=nnx.Rngs(0)) if warped else None
    return models.WarpedFeatures(Trunk(nnx.Rngs(0)), transformer, models.FlatClassifier(240, 3, rngs=nnx.Rngs(0)))


def halves(network):
    """Its two halves as functions of arrays, compiled, in evaluation mode."""
    network.eval()
    graphdef, state = nnx.split(network)
    features = jax.jit(lambda image: nnx.merge(graphdef, state, copy=True).features(image))
    return features, jax.jit(lambda features: nnx.merge(graphdef, state, copy=True).classify(features))


@pytest.mark.parametrize("warped", [True, False])
@pytest.mark.daily("False")
def test_the_call_is_classify_of_features(warped):
    network = make(warped=warped)
    features, classify = halves(network)
    logits, out = classify(features(IMAGE))
    called, told = run(network, IMAGE)
    assert set(out) == set(told)
    assert ("coords" in out) == warped
    assert_array_equal(features(IMAGE), told["features"])
    jax.tree.map(assert_array_equal, (logits, out), (called, told))


def test_the_features_are_the_trunks_last():
    network = make()
    features, _ = halves(network)
    assert_allclose(features(IMAGE), run(network.backbone, IMAGE)["a"], atol=1e-6)


def test_logits_have_a_gradient_to_the_features():
    features, classify = halves(make(warped=False))
    u = features(IMAGE)
    slopes = jax.jacobian(lambda u: classify(u)[0][0])(u)  # of the first image's logits
    network = make(warped=False)
    kernel = np.asarray(network.classifier.linear.kernel[...]).T.reshape(3, *u.shape[1:])
    assert_allclose(slopes[:, 0], kernel, atol=1e-6)
    assert_array_equal(slopes[:, 1], np.zeros_like(kernel))


@pytest.mark.slow
def test_logits_have_a_gradient_to_the_features_through_a_warp():
    features, classify = halves(make())
    u = features(IMAGE)
    slopes = jax.grad(lambda u: classify(u)[0][0, 1])(u)
    step = 1e-2 * jnp.asarray(np.random.default_rng(1).normal(size=u.shape), jnp.float32)
    change = classify(u + step)[0][0, 1] - classify(u - step)[0][0, 1]
    assert abs(change) > 1e-3
    assert float((slopes * 2 * step).sum()) == pytest.approx(float(change), rel=0.05)
