"""What several networks are made of, each alone."""

import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run
from flax import nnx
from numpy.testing import assert_allclose

from vtnjax import models
from vtnjax.models import FeatureLocaliser, count_parameters, layers


def features():
    return jnp.asarray(np.random.default_rng(0).normal(size=(3, 5, 6, 8)), jnp.float32)


def test_a_flat_classifier_tells_where_something_is():
    classifier = models.FlatClassifier(5 * 6 * 8, 3, width=4, rngs=nnx.Rngs(0))
    x = features()
    assert np.abs(run(classifier, x) - run(classifier, x[:, ::-1])).max() > 1e-3
    pooled = models.PooledClassifier(8, 3, rngs=nnx.Rngs(0))
    assert_allclose(run(pooled, x), run(pooled, x[:, ::-1]), atol=1e-5)


def test_a_small_trunk_halves_twice():
    assert models.features_shape(models.SmallTrunk(1, (3, 4, 5), rngs=nnx.Rngs(0)), (48, 48, 1)) == (12, 12, 5)


def test_count_parameters_counts_what_is_learned():
    assert count_parameters(nnx.Linear(3, 4, rngs=nnx.Rngs(0))) == 16
    assert count_parameters(nnx.BatchNorm(5, rngs=nnx.Rngs(0))) == 10
    assert count_parameters(None) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("width", "classes"), [(7, 3), (40, 10)])
def test_widths_follow_from_the_number_of_parameters(width, classes):
    fcn = layers.FCN(30, width, classes, rngs=nnx.Rngs(0))
    assert layers.fcn_width(30, classes, count_parameters(fcn)) == width
    cnn = layers.CNN((22, 25, 2), width, classes, rngs=nnx.Rngs(0))
    assert layers.cnn_width((22, 25, 2), classes, count_parameters(cnn)) == width


@pytest.mark.parametrize("depth", [2, 3])
def test_a_localiser_has_hidden_layers_of_32_units(depth):
    localiser = layers.FCNLocaliser((5, 6, 8), depth=depth, rngs=nnx.Rngs(0))
    kernels = [np.asarray(layer.kernel[...]) for layer in localiser.layers]
    assert [kernel.shape for kernel in kernels] == [(240, 32), *[(32, 32)] * (depth - 1)]
    x = np.asarray(features()).reshape(3, -1)
    for kernel in kernels:
        x = np.maximum(x @ kernel, 0)
    assert_allclose(run(localiser, features()), x, atol=1e-5)


def test_a_feature_localiser_has_few_channels_and_as_many_units():
    localiser = FeatureLocaliser((5, 6, 8), 4, rngs=nnx.Rngs(0))
    narrow = np.maximum(np.asarray(features()) @ np.asarray(localiser.conv.kernel[...])[0, 0], 0)
    units = np.maximum(narrow.reshape(3, -1) @ np.asarray(localiser.hidden.kernel[...]), 0)
    assert_allclose(run(localiser, features()), units, atol=1e-5)
    # Linear in its places, a map says the same at twice the size.
    slope = np.broadcast_to(np.linspace(1, 2, 10)[:, None, None], (3, 10, 12, 8)).astype(np.float32)
    halved = np.broadcast_to(slope[:, :, :6].reshape(3, 5, 2, 6, 8).mean(2), (3, 5, 6, 8))
    assert_allclose(run(localiser, jnp.asarray(slope)), run(localiser, jnp.asarray(halved)), atol=1e-5)


def test_a_convolution_with_pooling_keeps_the_last_odd_row_and_column():
    layer = layers.ConvPool(8, 2, 3, rngs=nnx.Rngs(0))
    x, kernel = np.asarray(features()), np.asarray(layer.conv.kernel[...])
    convolved = np.stack(
        [[np.tensordot(x[:, i : i + 3, j : j + 3], kernel, 3) for j in range(4)] for i in range(3)]
    )  # (3, 4, n, 2)
    pooled = [[convolved[i : i + 2, j : j + 2].max((0, 1)) for j in (0, 2)] for i in (0, 2)]
    assert_allclose(run(layer, features()), np.maximum(np.array(pooled), 0).transpose(2, 0, 1, 3), atol=1e-5)


def test_the_last_features_are_the_last_that_a_trunk_names():
    def trunk(image):
        return {"z": image, "a": image + 1}

    assert_allclose(layers.last_features(trunk, features()), features() + 1)
