"""Boxes (left, top, right, bottom) in pixels, and how much two of them overlap."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from vtnjax._arrays import check_last


def window_boxes(theta: Float[Array, "*n 3"], shape: Sequence[int], window: Sequence[int]) -> Float[Array, "*n 4"]:
    """The boxes that windows of an attention warp cover (STN A.2).

    A box ends at the outer edges of the window's first and last pixels, half of one pixel of the window beyond the
    places that are read. So the window that copies w pixels from pixel x on has the box from x - 0.5 to x + w - 0.5,
    since whole numbers are the centres of pixels.

    Args:
        theta: (..., 3), the scale and the translation (x, y) of an `nn.SpatialTransformer` with warp "attention". Where
            the transformer's scale is fixed, put it in front of its theta. A window of negative scale is mirrored and
            covers the same box.
        shape: (h, w) of the image.
        window: (h', w') of the window, at least 2 x 2.

    Returns:
        (..., 4): left, top, right, bottom, in theta's dtype.

    Raises:
        ValueError: if theta has no three entries, or the window is smaller than 2 x 2.
    """
    check_last("theta", theta, 3, "(scale, x, y)")
    if min(window) < 2:
        raise ValueError(f"window must be at least 2 x 2, not {window[0]} x {window[1]}")
    extents, counts = (jnp.array(size[1::-1], theta.dtype) for size in (tuple(shape), tuple(window)))
    axes = (1,) * (theta.ndim - 1) + (2,)
    extents, counts = (extents - 1).reshape(axes), counts.reshape(axes)
    middle = (theta[..., 1:] + 1) / 2 * extents
    half = jnp.abs(theta[..., :1]) * extents / 2 * counts / (counts - 1)
    return jnp.concatenate([middle - half, middle + half], axis=-1)


def intersection_over_union(a: Float[ArrayLike, "*n 4"], b: Float[ArrayLike, "*n 4"]) -> Float[Array, "*n"]:
    """The overlap of boxes (..., 4), left, top, right, bottom: the area they share over the area they cover, 0 to 1."""
    a, b = jnp.asarray(a), jnp.asarray(b)
    shared = jnp.prod(jnp.maximum(jnp.minimum(a[..., 2:], b[..., 2:]) - jnp.maximum(a[..., :2], b[..., :2]), 0), -1)
    areas = jnp.prod(a[..., 2:] - a[..., :2], -1) + jnp.prod(b[..., 2:] - b[..., :2], -1)
    return shared / jnp.maximum(areas - shared, jnp.finfo(shared.dtype).tiny)
