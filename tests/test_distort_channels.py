"""RTS of each channel on its own, for two digits."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vtnjax import data, distort


@pytest.mark.slow
def test_each_channel_of_two_digits_moves_on_its_own():
    digits = data.Generated("train", count=16).images
    images = jnp.asarray(np.repeat(digits, 2, axis=-1), jnp.float32) / 255
    found = np.asarray(jax.jit(functools.partial(distort.distort_batch, "RTS2"))(jax.random.key(5), images))
    assert found.shape == (16, *distort.distorted_shape("RTS2", (28, 28, 2)))
    assert np.abs(found[..., 0] - found[..., 1]).max((1, 2)).min() > 0.1
    keys = jax.random.split(jax.random.split(jax.random.key(5), 16)[3], 2)
    for channel in range(2):
        expected = distort.rotate_translate_scale(keys[channel], images[3, :, :, channel : channel + 1])
        np.testing.assert_allclose(found[3, :, :, channel : channel + 1], expected, atol=1e-4)
