"""Trunks that read padded images as they read the images alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run
from drawn_backbones import abstract, build
from flax import nnx
from numpy.testing import assert_allclose

from vtnjax.models.backbones._layers import ceil_max_pool, every

# Height and width, odd and even, on both sides of what a stride and a last window that hangs over round away.
SIZES = [(61, 46), (36, 67)]
PADDED = (64, 96)
NAMES = ["resnet18", "resnet50", "vgg16", "vgg16_bn", "squeezenet1_1", "googlenet"]


def images():
    rng = np.random.default_rng(0)
    return [rng.standard_normal((1, *size, 3), np.float32) for size in SIZES]


def padded(filling):
    """All images in one array, with something else around, and where they are."""
    batch = np.full((len(SIZES), *PADDED, 3), filling, np.float32)
    inside = np.zeros((len(SIZES), *PADDED, 1), bool)
    for number, image in enumerate(images()):
        h, w = image.shape[1:3]
        batch[number, :h, :w], inside[number, :h, :w] = image[0], True
    return jnp.asarray(batch), jnp.asarray(inside)


def run_padded(backbone, image, inside):
    graphdef, state = nnx.split(backbone)
    return jax.jit(lambda *arrays: nnx.merge(graphdef, state, copy=True).padded(*arrays))(image, inside)


def assert_as_alone(backbone):
    features, insides = run_padded(backbone, *padded(np.nan))
    assert list(features) == list(insides)
    for number, image in enumerate(images()):
        alone = run(backbone, image)
        alone.pop("logits", None)
        assert list(alone) == list(features)
        for name, expected in alone.items():
            h, w = expected.shape[1:3]
            there = np.zeros(insides[name].shape[1:3], bool)
            there[:h, :w] = True
            np.testing.assert_array_equal(insides[name][number, ..., 0], there, err_msg=name)
            found = features[name][number, :h, :w]
            assert_allclose(found, expected[0], atol=1e-4 * np.abs(expected).max(), err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_feature_is_that_of_the_image_alone(name):
    assert_as_alone(build(name))


@pytest.mark.slow
def test_strides_and_dilations_know_of_the_padding():
    assert_as_alone(build("resnet18", strides=(1, 2, 1, 2), dilations=(1, 1, 2, 2)))


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("side", [4, 5, 6, 7])
@pytest.mark.daily("7-3")
def test_a_pooling_of_hanging_windows_knows_how_many_an_image_has(size, side):
    inside = jnp.arange(12).reshape(1, 1, 12, 1) < side
    found = every(jnp.broadcast_to(inside, (1, 12, 12, 1)), 2, size - 2)
    assert int(found[0, 0].sum()) == ceil_max_pool(jnp.ones((1, side, side, 1)), size).shape[1]


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.daily("vgg16")
def test_a_mask_of_another_shape_is_refused(name):
    trunk = abstract(name)
    for inside in (jnp.ones((2, 64, 64, 1), bool), jnp.ones((2, *PADDED, 1)), jnp.ones((2, *PADDED), bool)):
        with pytest.raises(ValueError, match=r"inside must be truth values of the shape \(2, 64, 96, 1\), not"):
            trunk.padded(jnp.zeros((2, *PADDED, 3)), inside)
