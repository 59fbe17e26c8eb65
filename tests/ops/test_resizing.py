"""`ops.resize` beside NumPy's linear interpolation along one axis after the other, and PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from vtnjax import ops

pytestmark = pytest.mark.usefixtures("x64")

SHAPES = [((5, 7), (5, 7)), ((5, 7), (9, 3)), ((4, 6), (8, 12)), ((1, 5), (3, 1)), ((6, 1), (1, 4))]


def along(values, new, axis, align_corners):
    """The axis of an array interpolated at `new` places, by np.interp, which holds the ends."""
    old = values.shape[axis]
    if align_corners:
        places = np.linspace(0, old - 1, new) if new > 1 else np.array([(old - 1) / 2])
    else:
        places = (np.arange(new) + 0.5) * old / new - 0.5
    return np.apply_along_axis(lambda line: np.interp(places, np.arange(old), line), axis, values)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(("old", "new"), SHAPES)
@pytest.mark.daily("old1-new1-False")
def test_resize_interpolates_along_both_axes(old, new, align_corners):
    image = np.random.default_rng(0).normal(size=(*old, 3))
    expected = along(along(image, new[0], 0, align_corners), new[1], 1, align_corners)
    resized = jax.jit(functools.partial(ops.resize, shape=new, align_corners=align_corners))(image)
    assert_allclose(resized, expected, atol=1e-12)


def test_the_gradient_spreads_what_the_pixels_were_read_with():
    image, weights = np.random.default_rng(0).normal(size=(2, 3, 1)), np.random.default_rng(1).normal(size=(4, 5, 1))
    gradient = jax.jit(jax.grad(lambda image: (ops.resize(image, (4, 5)) * weights).sum()))(jnp.asarray(image))
    # Of a linear map the gradient is the sum of the weights of what each pixel alone would make.
    for place in np.ndindex(image.shape):
        alone = np.zeros(image.shape)
        alone[place] = 1
        assert_allclose(gradient[place], (along(along(alone, 4, 0, True), 5, 1, True) * weights).sum(), atol=1e-12)


@pytest.mark.slow
def test_a_batch_and_bfloat16_keep_their_dtype():
    images = jnp.ones((2, 4, 4, 3), jnp.bfloat16)
    resized = jax.vmap(functools.partial(ops.resize, shape=(8, 2)))(images)
    assert resized.shape == (2, 8, 2, 3)
    assert resized.dtype == jnp.bfloat16
    assert_allclose(resized.astype(float), 1)


@pytest.mark.torch
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(("old", "new"), SHAPES[:3])
def test_resize_is_pytorchs_interpolate(old, new, align_corners):
    torch = pytest.importorskip("torch")
    image = np.random.default_rng(0).normal(size=(*old, 3))
    pixels = torch.tensor(image.transpose(2, 0, 1)[None])
    expected = torch.nn.functional.interpolate(pixels, new, mode="bilinear", align_corners=align_corners)
    resized = ops.resize(image, new, align_corners=align_corners)
    assert_allclose(resized, expected[0].numpy().transpose(1, 2, 0), atol=1e-12)
