"""Bilinear resizing, with either meaning of `align_corners`."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from vtnjax.ops.coords import widest
from vtnjax.ops.sampling import sample_separable


def resize(
    image: Float[Array, "h w c"], shape: Sequence[int], *, align_corners: bool = True
) -> Float[Array, "h2 w2 c"]:
    """An image at another size, read along lines; an axis of one output pixel reads the middle.

    The centres of the border pixels stay the border, or with `align_corners=False` their outer edges.
    """
    dtype = widest(image.dtype, jnp.float32)
    y, x = (_line(old, new, dtype, align_corners) for old, new in zip(image.shape[:2], shape, strict=True))
    return sample_separable(image, x, y, padding="border")


def _line(old, new, dtype, align_corners):
    step = (old - 1) / max(new - 1, 1) if align_corners else old / max(new, 1)
    from_middle = jnp.arange(new, dtype=dtype) - (new - 1) / 2
    return (old - 1) / 2 + from_middle * step
