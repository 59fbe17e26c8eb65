"""Pixel and normalised coordinates."""

from collections.abc import Sequence
from typing import cast

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from vtnjax._arrays import as_coords, check_last, check_pair, check_rank, check_sizes


def identity_coords(shape: Sequence[int]) -> Float[Array, "*shape n"]:
    """Pixel coordinates at which every pixel reads itself.

    Convention:
        Direction: output to input; entry [i, j] says where output pixel [i, j] reads, which is at itself.
        Origin and order: pixel 0 is the centre of the first pixel; (x, y) or (x, y, z), x right, y down, z deep.
        Outside: no entry lies outside.

    Args:
        shape: (h, w), or (d, h, w) for a volume.

    Returns:
        (h, w, 2) or (d, h, w, 3), in pixels, in JAX's default float dtype.

    Raises:
        ValueError: if `shape` is not two or three whole numbers.

    Examples:
        >>> ops.identity_coords((2, 3)).tolist()  # 2 rows, 3 columns; each entry is (x, y)
        [[[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]], [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]]
        >>> ops.identity_coords((4, 2, 3)).shape
        (4, 2, 3, 3)
    """
    sizes = check_sizes("shape", shape, (2, 3))
    axes = [jnp.arange(size, dtype=jnp.result_type(float)) for size in sizes]
    return jnp.stack(jnp.meshgrid(*axes, indexing="ij")[::-1], axis=-1)


def to_pixels(
    coords: Float[ArrayLike, "*points n"], shape: Sequence[int], *, align_corners: bool = True
) -> Float[Array, "*points n"]:
    """Convert normalised coordinates to pixels of a map of the given shape.

    With `align_corners=True` every coordinate on an axis of one pixel becomes 0, as in PyTorch. NaN stays NaN on any
    axis, with gradient 0 where the axis has one pixel.

    Convention:
        Direction: normalised to pixels; a place of the map stays the same and changes its unit.
        Origin and order: pixel 0 is the centre of the first pixel; (x, y) or (x, y, z), x right, y down, z deep.
        Outside: coordinates beyond -1 and 1 go on at the same scale; nothing is clipped.

    Args:
        coords: (..., 2) or (..., 3), normalised coordinates (x, y) or (x, y, z).
        shape: (h, w) or (d, h, w) of the map that is to be read, without its channels: `image.shape[:2]`.
        align_corners: whether -1 and 1 are the centres (True, STN section 3.2) or the outer edges (False, PyTorch's
            default) of the first and the last pixel.

    Returns:
        Pixel coordinates of the same shape, at least float32.

    Raises:
        ValueError: if `coords` is not floating, or its last axis has not one entry for each axis of `shape`.

    Examples:
        >>> places = jnp.array([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]])
        >>> ops.to_pixels(places, (3, 5)).tolist()  # 3 rows, 5 columns
        [[0.0, 0.0], [2.0, 1.0], [4.0, 2.0]]
        >>> ops.to_pixels(places, (3, 5), align_corners=False).tolist()
        [[-0.5, -0.5], [2.0, 1.0], [4.5, 2.5]]
    """
    coords, sizes = _check(coords, shape)
    if align_corners:
        return jnp.where(sizes > 1, (coords + 1) / 2 * (sizes - 1), _middle(coords))
    return ((coords + 1) * sizes - 1) / 2


def to_normalised(
    coords: Float[ArrayLike, "*points n"], shape: Sequence[int], *, align_corners: bool = True
) -> Float[Array, "*points n"]:
    """Convert pixel coordinates of a map of the given shape to normalised ones: the inverse of `to_pixels`.

    With `align_corners=True` every coordinate on an axis of one pixel becomes 0. NaN stays NaN.

    Convention:
        Direction: pixels to normalised; a place of the map stays the same and changes its unit.
        Origin and order: pixel 0 is the centre of the first pixel; (x, y) or (x, y, z), x right, y down, z deep.
        Outside: coordinates off the map go on at the same scale, beyond -1 and 1; nothing is clipped.

    Args:
        coords: (..., 2) or (..., 3), pixel coordinates (x, y) or (x, y, z).
        shape: (h, w) or (d, h, w) of the map that is to be read, without its channels.
        align_corners: as in `to_pixels`.

    Returns:
        Normalised coordinates of the same shape, at least float32.

    Raises:
        ValueError: if `coords` is not floating, or its last axis has not one entry for each axis of `shape`.

    Examples:
        >>> last = jnp.array([3.0, 1.0])  # of 3 rows and 4 columns: the last column, the row in the middle
        >>> ops.to_normalised(last, (3, 4)).tolist()
        [1.0, 0.0]
        >>> ops.to_normalised(last, (3, 4), align_corners=False).tolist()  # an eighth of the width before the edge
        [0.75, 0.0]
    """
    coords, sizes = _check(coords, shape)
    if align_corners:
        return jnp.where(sizes > 1, (2 * coords - (sizes - 1)) / jnp.maximum(sizes - 1, 1), _middle(coords))
    return (2 * coords + 1) / sizes - 1


def displace(displacement: Float[ArrayLike, "h w *fields 2"]) -> Float[Array, "h w *fields 2"]:
    """Add each position i to its displacement G(i): the pixel coordinates i + G(i) (VTN section 3.1).

    Convention:
        Direction: output to input; output pixel i reads the input at i + displacement[i].
        Origin and order: pixel 0 is the centre of the first pixel; the last axis is (x, y), x right, y down.
        Outside: coordinates off the map are kept; the sampler's `padding` says what is read at them.

    Args:
        displacement: (h, w, ..., 2), displacements (x, y) in pixels. Axes before the last are fields that share the
            positions, such as the channel groups of VTN.

    Returns:
        Pixel coordinates of the same shape, at least float32.

    Raises:
        ValueError: if `displacement` is not floating or not (h, w, ..., 2).

    Examples:
        >>> displacement = jnp.zeros((2, 3, 2)).at[1, 2].set(jnp.array([-0.5, 0.25]))
        >>> coords = ops.displace(displacement)
        >>> coords[0].tolist()
        [[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]
        >>> coords[1, 2].tolist()  # half a pixel left of (2, 1), a quarter below it
        [1.5, 1.25]
    """
    displacement = as_coords("displacement", displacement)
    if displacement.ndim < 3:
        raise ValueError(f"displacement must have the shape (h, w, ..., 2), but its shape is {displacement.shape}")
    check_last("displacement", displacement, 2, "(x, y)")
    h, w = displacement.shape[:2]
    here = identity_coords((h, w)).astype(displacement.dtype)
    return displacement + here.reshape(h, w, *[1] * (displacement.ndim - 3), 2)


def footprint_coords(coords: Float[ArrayLike, "h w 2"], samples: int | Sequence[int]) -> Float[Array, "h w points 2"]:
    """Spread points over what each output pixel covers of the input, to be averaged against aliasing.

    A warp that shrinks skips pixels between the points it reads (the end of STN 3.4). `ops.sample(image,
    ops.footprint_coords(coords, 4)).mean(-2)` reads 16 points instead of one. They are spread over the parallelogram of
    the ways to the neighbouring output pixels; a way of L pixels is shortened to L - 1/L, because interpolation covers
    the rest. Where the warp does not shrink, all points are the coordinate itself. A warp that shrinks n times wants n
    samples along an axis.

    Convention:
        Direction: output to input; output pixel [i, j] reads the input at every point of [i, j].
        Origin and order: pixel 0 is the centre of the first pixel; the last axis is (x, y), x right, y down.
        Outside: points off the map are kept; nothing is spread from or towards an infinity or NaN.

    Args:
        coords: (h, w, 2), pixel coordinates (x, y) of a whole output, whose neighbours tell the local scale. Along an
            axis of size 1 there are no neighbours, and nothing is spread.
        samples: how many points along each axis of the output, one number or (rows, columns).

    Returns:
        (h, w, rows * columns, 2), pixel coordinates, at least float32.

    Raises:
        ValueError: if `coords` is not floating or not (h, w, 2), or `samples` is not one or two positive whole numbers.

    Examples:
        >>> coords = 2 * ops.identity_coords((3, 3))  # shrinks by two
        >>> points = ops.footprint_coords(coords, 2)
        >>> points[1, 1].tolist()  # around (2, 2)
        [[1.625, 1.625], [2.375, 1.625], [1.625, 2.375], [2.375, 2.375]]
        >>> stripes = jnp.tile(jnp.array([0.0, 1.0]), (6, 3))[..., None]  # every other column is 0
        >>> ops.sample(stripes, coords)[1, 1].tolist(), ops.sample(stripes, points).mean(-2)[1, 1].tolist()
        ([0.0], [0.375])
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
