"""Pixel and normalised coordinates.

Convention: the last axis holds (x, y) or (x, y, z), x to the right, y down, z deep, while shapes are (height, width) or
(depth, height, width). Pixel coordinate 0 is the centre of the first pixel. With `align_corners=True`, the convention
of STN section 3.2, normalised -1 and 1 are the centres of the first and the last pixel; with `align_corners=False` they
are the outer edges of those pixels, as PyTorch defines both.
"""

from collections.abc import Sequence
from typing import cast

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from vtnjax._arrays import as_coords, check_last, check_pair, check_rank, check_sizes


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

    With `align_corners=True` every coordinate of an axis of one pixel becomes 0, as in PyTorch; NaN stays NaN on any
    axis, with gradient 0 where the axis has one pixel.

    Args:
        coords: (..., 2) or (..., 3), normalised, (x, y) or (x, y, z).
        shape: (h, w) or (d, h, w) of the map that is to be read, without its channels: `image.shape[:2]`.
        align_corners: whether -1 and 1 are the centres (True) or the outer edges (False) of the border pixels.

    Returns:
        Coordinates in pixels, of the same shape, at least float32.

    Raises:
        ValueError: if the last axis of `coords` has not one entry for each axis of `shape`, or it is not floating.
    """
    coords, sizes = _check(coords, shape)
    if align_corners:
        return jnp.where(sizes > 1, (coords + 1) / 2 * (sizes - 1), _middle(coords))
    return ((coords + 1) * sizes - 1) / 2


def to_normalised(
    coords: Float[ArrayLike, "*points n"], shape: Sequence[int], *, align_corners: bool = True
) -> Float[Array, "*points n"]:
    """Pixel coordinates of a map of the given shape to normalised ones: the inverse of `to_pixels`.

    With `align_corners=True` an axis of one pixel has the normalised coordinate 0. NaN stays NaN.

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
        return jnp.where(sizes > 1, (2 * coords - (sizes - 1)) / jnp.maximum(sizes - 1, 1), _middle(coords))
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


def footprint_coords(coords: Float[ArrayLike, "h w 2"], samples: int | Sequence[int]) -> Float[Array, "h w points 2"]:
    """Points spread over what each output pixel covers of the input, to be averaged against aliasing.

    A warp that shrinks skips pixels between the points it reads (the end of STN 3.4). `ops.sample(image,
    ops.footprint_coords(coords, 4)).mean(-2)` reads 16 points instead of one, spread over the parallelogram of the ways
    to the neighbouring output pixels, each way of L pixels shortened to L - 1/L for what interpolation covers anyway:
    where the warp does not shrink, all of them are the point itself. A warp that shrinks n times wants n samples along
    an axis.

    Args:
        coords: (h, w, 2), (x, y) in pixels: a whole output, whose neighbours tell the local scale. An axis of size 1
            has none, and nothing is spread along it.
        samples: how many along each axis of the output, one number or (rows, columns).

    Returns:
        (h, w, rows * columns, 2) in pixels, at least float32. A coordinate that is no place, or a neighbour of one, is
        repeated as it is.

    Raises:
        ValueError: if `coords` is not floating or not (h, w, 2), or `samples` is not one or two positive whole numbers.
    """
    coords = as_coords("coords", coords)
    check_rank("coords", coords, "h w 2")
    check_last("coords", coords, 2, "(x, y)")
    rows, columns = check_pair("samples", samples)
    points = coords[:, :, None, None]  # (h, w, rows, columns, 2)
    points = points + _uncovered(coords, 0) * _fractions(rows, coords.dtype).reshape(1, 1, rows, 1, 1)
    points = points + _uncovered(coords, 1) * _fractions(columns, coords.dtype).reshape(1, 1, 1, columns, 1)
    return points.reshape(*coords.shape[:2], rows * columns, 2)


def _fractions(count, dtype):
    """The middles of `count` equal parts of [-1/2, 1/2]."""
    return (jnp.arange(count, dtype=dtype) + 0.5) / count - 0.5


def _uncovered(coords, axis):
    """The way to the next output pixel along an axis, (h, w, 1, 1, 2), less what one point covers: L pixels to L - 1/L.

    About sqrt(L^2 - 1), whose square adds up with that of a pixel to L^2, but with a slope at 1. Nothing is left of a
    way shorter than a pixel, or longer than coordinates are exact.
    """
    way = cast(Array, jnp.gradient(coords, axis=axis)) if coords.shape[axis] > 1 else jnp.zeros_like(coords)
    squared = jnp.sum(way**2, axis=-1, keepdims=True)
    long = (squared > 1) & (squared < 1 / jnp.finfo(way.dtype).eps ** 2)
    # Of length 1, so that nothing is left, instead of what would make the gradient infinite or no number.
    way = jnp.where(long, way, jnp.asarray([1, 0], way.dtype).reshape(1, 1, 2))
    return (way * (1 - 1 / jnp.sum(way**2, axis=-1, keepdims=True)))[:, :, None, None]


def _middle(coords):
    """What an axis of one pixel makes of its coordinates: 0, but NaN of NaN."""
    return jnp.where(jnp.isnan(coords), jnp.nan, 0).astype(coords.dtype)


def pixel_centres(size: int, dtype: DTypeLike, *, align_corners: bool = True) -> Float[Array, "size"]:
    """The normalised coordinates of the pixels along an axis; of a single pixel, 0.

    Computed where it is used: as a constant it would make a program as large as the axis is long.
    """
    twice = 2 * jnp.arange(size, dtype=dtype) - (size - 1)  # the distance from the middle, in half pixels
    if not align_corners:
        return twice / max(size, 1)
    last = max(size - 1, 1)
    # A compiler may multiply by 1 / last instead, which takes 49 / 49 to a number below 1.
    return jnp.where(jnp.abs(twice) == last, jnp.sign(twice), twice / last)


def _check(coords, shape):
    coords = as_coords("coords", coords)
    sizes = check_sizes("shape", shape, (2, 3))
    if len(sizes) == 3 and coords.shape[-1:] == (2,):
        raise ValueError(
            f"the last axis of coords must hold (x, y, z) for the shape {shape!r}, but its shape is {coords.shape}; "
            "of an image leave out the channels, as in image.shape[:2]"
        )
    holds = "(x, y), one for each axis of the shape" if len(sizes) == 2 else "(x, y, z), one for each axis of the shape"
    check_last("coords", coords, len(sizes), holds)
    return coords, jnp.asarray(sizes[::-1], coords.dtype).reshape(*[1] * (coords.ndim - 1), len(sizes))
