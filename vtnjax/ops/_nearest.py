"""The nearest pixel."""

import functools
import operator

import jax.numpy as jnp
from jaxtyping import Array, Float

from vtnjax.ops._gather import flat_index, take_pixels
from vtnjax.ops._padding import fold


def nearest(
    image: Float[Array, "*sizes g c"], coords: Float[Array, "*points g n"], padding: str
) -> Float[Array, "*points g c"]:
    """Read an image of n spatial axes at the pixels nearest to coordinates whose last axis runs x, y(, z)."""
    sizes = image.shape[:-2]
    pixels, inside = zip(*(axis_pixel(coords[..., -1 - k], size, padding) for k, size in enumerate(sizes)), strict=True)
    values = take_pixels(image, flat_index(pixels, image))
    return jnp.where(functools.reduce(operator.and_, inside)[..., None], values, 0)


def axis_pixel(x, size, padding):
    """The pixel along an axis, a half rounded to even, and whether it lies on the map."""
    pixel = jnp.round(fold(x, size, padding)[0])
    if padding == "wrap":
        pixel = jnp.where(pixel == size, 0, pixel)
    inside = (pixel >= 0) & (pixel <= size - 1)
    return jnp.where(inside, pixel, 0).astype(jnp.int32), inside
