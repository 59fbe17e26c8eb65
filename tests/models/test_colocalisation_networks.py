"""The networks of co-localisation: the localiser's layers, and descriptors that are a CNN's own activations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run
from flax import nnx
from numpy.testing import assert_allclose

from vtnjax import models, nn


def test_the_localiser_has_the_layers_of_the_paper_with_stride_two():
    localiser = models.ColocalisationLocaliser((84, 84, 1), rngs=nnx.Rngs(0))
    shapes = [leaf.shape for leaf in jax.tree.leaves(nnx.state(localiser, nnx.Param))]
    assert sorted(shapes) == sorted([(9, 9, 1, 8), (8,), (3528, 8), (8,), (8, 8), (8,)])
    assert models.count_parameters(localiser) == 28_960
    rngs = nnx.Rngs(0)
    transformer = nn.SpatialTransformer(localiser, 8, warp="attention", shape=(28, 28), rngs=rngs)
    assert models.count_parameters(transformer) == 28_960 + 27
    y, out = run(transformer, jnp.ones((2, 84, 84, 1)))
    assert (y.shape, out["theta"].shape) == ((2, 28, 28, 1), (2, 3))


def test_the_localiser_against_loops():
    localiser = models.ColocalisationLocaliser((5, 4, 1), rngs=nnx.Rngs(1))
    image = np.random.default_rng(0).random((1, 5, 4, 1)).astype(np.float32)
    kernel = np.asarray(localiser.conv.kernel[...])[:, :, 0]
    padded = np.pad(image[0, ..., 0], 4)
    cells = [
        [np.tensordot(padded[i : i + 9, j : j + 9], kernel, axes=2) for j in range(0, 4, 2)] for i in range(0, 5, 2)
    ]
    # Three rows of cells by two columns: the pooling takes the first two rows.
    x = np.maximum(np.array(cells)[:2], 0).max((0, 1))
    for layer in localiser.layers:
        x = np.maximum(x @ np.asarray(layer.kernel[...]), 0)
    assert_allclose(localiser(jnp.asarray(image))[0], x, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("untyped")
def test_images_too_small_for_the_localiser_are_refused():
    with pytest.raises(ValueError, match="at least 3 x 3 pixels for the localiser, not 2 x 40"):
        models.ColocalisationLocaliser((2, 40, 1), rngs=nnx.Rngs(0))


def test_a_descriptor_holds_the_networks_own_activations():
    network = models.STN("cnn", (24, 26, 1), classes=7, parameters=3000, rngs=nnx.Rngs(0))
    cnn = network.classifier
    cnn.conv1.bias[...] = 0.1 + cnn.conv1.bias[...]
    image = jax.random.uniform(jax.random.key(0), (2, 24, 26, 1))
    logits, out = run(network, image)
    first = nnx.max_pool(nnx.relu(run(cnn.conv1, image)), (2, 2), strides=(2, 2), padding="SAME")
    expected = np.concatenate([np.reshape(each, (2, -1)) for each in (first, out["features"], logits)], axis=1)
    assert_allclose(models.describe_crops(cnn, image), expected, rtol=1e-4, atol=1e-5)
