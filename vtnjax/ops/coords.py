"""Pixel and normalised coordinates.

Convention: the last axis holds (x, y) or (x, y, z), x to the right, y down, z deep, while shapes are (height, width) or
(depth, height, width). Pixel coordinate 0 is the centre of the first pixel. With `align_corners=True`, the convention
of STN section 3.2, normalised -1 and 1 are the centres of the first and the last pixel; with `align_corners=False` they
are the outer edges of those pixels, as PyTorch defines both.
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from vtnjax.ops._checks import check_floating, check_last, check_sizes


def identity_coords(shape: Sequence[int]) -> Float[Array, "*shape n"]:
    """Pixel coordinates at which every pixel reads itself.

    Args:
        shape: (h, w), or (d, h, w) for a volume.

    Returns:
        (h, w, 2) with entries (x, y), or (d, h, w, 3) with entries (x, y, z), in pixels, in JAX's default float dtype.

    Raises:
        ValueError: if `shape` is not two or three whole numbers.
    """
    sizes = check_sizes("shape", shape, (2, 3))
    axes = [jnp.arange(size, dtype=jnp.result_type(float)) for size in sizes]
    return jnp.stack(jnp.meshgrid(*axes, indexing="ij")[::-1], axis=-1)


def to_pixels(
    coords: Float[ArrayLike, "*points n"], shape: Sequence[int], *, align_corners: bool = True
) -> Float[Array, "*points n"]:
    """Normalised coordinates in [-1, 1] to pixels of a map of the given shape.

    With `align_corners=True` every coordinate of an axis of one pixel becomes 0, as in PyTorch.

    Args:
        coords: (..., 2) or (..., 3), normalised, (x, y) or (x, y, z).
        shape: (h, w) or (d, h, w) of the map that is to be read.
        align_corners: whether -1 and 1 are the centres (True) or the outer edges (False) of the border pixels.

    Returns:
        Coordinates in pixels, of the same shape, at least float32.

    Raises:
        ValueError: if the last axis of `coords` has not one entry for each axis of `shape`, or it is not floating.
    """
    coords, sizes = _check(coords, shape)
    if align_corners:
        return jnp.where(sizes > 1, (coords + 1) / 2 * (sizes - 1), 0)
    return ((coords + 1) * sizes - 1) / 2


def to_normalised(
    coords: Float[ArrayLike, "*points n"], shape: Sequence[int], *, align_corners: bool = True
) -> Float[Array, "*points n"]:
    """Pixel coordinates of a map of the given shape to normalised ones: the inverse of `to_pixels`.

    With `align_corners=True` an axis of one pixel has the normalised coordinate 0.

    Args:
        coords: (..., 2) or (..., 3), in pixels, (x, y) or (x, y, z).
        shape: (h, w) or (d, h, w) of the map that is to be read.
        align_corners: as in `to_pixels`.

    Returns:
        Normalised coordinates of the same shape, at least float32.

    Raises:
        ValueError: if the last axis of `coords` has not one entry for each axis of `shape`, or it is not floating.
    """
    coords, sizes = _check(coords, shape)
    if align_corners:
        return jnp.where(sizes > 1, (2 * coords - (sizes - 1)) / jnp.maximum(sizes - 1, 1), 0)
    return (2 * coords + 1) / sizes - 1


def displace(displacement: Float[ArrayLike, "h w *fields 2"]) -> Float[Array, "h w *fields 2"]:
    """Pixel displacements G to the pixel coordinates i + G(i) that position i reads (VTN section 3.1).

    Args:
        displacement: (h, w, ..., 2) in pixels, (x, y). Axes between are fields that share the positions, such as the
            channel groups of VTN.

    Returns:
        Pixel coordinates of the same shape, at least float32.

    Raises:
        ValueError: if `displacement` is not floating or not (h, w, ..., 2).
    """
    displacement = as_coords("displacement", displacement)
    if displacement.ndim < 3:
        raise ValueError(f"displacement must have the shape (h, w, ..., 2), but its shape is {displacement.shape}")
    check_last("displacement", displacement, 2, "(x, y)")
    h, w = displacement.shape[:2]
    here = identity_coords((h, w)).astype(displacement.dtype)
    return displacement + here.reshape(h, w, *[1] * (displacement.ndim - 3), 2)


def as_coords(name: str, coords: ArrayLike) -> Float[Array, "..."]:
    """Coordinates as a JAX array of at least float32: bfloat16 cannot tell pixel 300 from pixel 301."""
    coords = jnp.asarray(coords)
    check_floating(name, coords)
    return coords.astype(widest(coords.dtype, jnp.float32))


def widest(*dtypes: DTypeLike) -> jnp.dtype:
    """The floating dtype of most bits: what `jnp.promote_types` says, but also under strict promotion."""
    return max((jnp.dtype(dtype) for dtype in dtypes), key=lambda dtype: jnp.finfo(dtype).bits)


def _check(coords, shape):
    coords = as_coords("coords", coords)
    sizes = check_sizes("shape", shape, (2, 3))
    holds = "(x, y), one for each axis of the shape" if len(sizes) == 2 else "(x, y, z), one for each axis of the shape"
    check_last("coords", coords, len(sizes), holds)
    return coords, jnp.asarray(sizes[::-1], coords.dtype).reshape(*[1] * (coords.ndim - 1), len(sizes))
