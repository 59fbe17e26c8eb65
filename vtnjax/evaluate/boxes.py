"""Boxes (left, top, right, bottom) in pixels, and how much two of them overlap."""

import numbers
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpy import ndarray

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


def largest_box(heat: Float[ArrayLike, "h w"], *, threshold: float = 0.15) -> Float[ndarray, "4"]:
    """The box around the largest connected part of a map that is above a share of its maximum.

    Pixels that touch at a side or a corner are connected, and the largest part has the most pixels, of several the one
    whose first pixel comes first, row by row. The box ends at the outer edges of its pixels, so that one of pixel
    (x, y) alone is (x, y, x + 1, y + 1).

    Args:
        heat: (h, w).
        threshold: the share of the maximum, at least 0 and below 1, that a pixel must exceed; 0.15 is Grad-CAM's.

    Returns:
        float32 (4,): left, top, right, bottom; (0, 0, 0, 0) if nothing is above 0 or a number is not finite.

    Raises:
        ValueError: if `threshold` is out of its range, or `heat` is not (h, w).
    """
    import scipy.ndimage  # here, because `vtnjax.evaluate` does without the extra "train" elsewhere

    check_threshold(threshold)
    heat = np.asarray(heat)
    if heat.ndim != 2:
        raise ValueError(f"heat must be (h, w), not of shape {heat.shape}")
    if not heat.size or not np.isfinite(heat).all():
        return np.zeros(4, np.float32)
    labels = np.zeros(heat.shape, np.int32)
    scipy.ndimage.label(heat > threshold * heat.max(), np.ones((3, 3)), output=labels)
    sizes = np.bincount(labels.ravel())[1:]
    if not sizes.size:
        return np.zeros(4, np.float32)
    rows, columns = scipy.ndimage.find_objects(labels)[sizes.argmax()]
    return np.array([columns.start, rows.start, columns.stop, rows.stop], np.float32)


def check_threshold(threshold: float) -> None:
    """Raise a ValueError unless a threshold is a share of the maximum that something can exceed."""
    if not (isinstance(threshold, numbers.Real) and 0 <= threshold < 1):
        raise ValueError(f"threshold must be at least 0 and below 1, not {threshold!r}")
