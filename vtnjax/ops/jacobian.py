"""How far a warp stretches, and where it folds."""

from typing import cast

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from vtnjax._arrays import as_coords


def jacobian(coords: Float[ArrayLike, "*points n"]) -> Float[Array, "*points n n"]:
    """The Jacobian matrix of a warp at each output pixel, by central differences, which are one-sided at the border.

    Its determinant is the area, or volume, that an output pixel reads: above 1 the warp shrinks what is there, between
    0 and 1 it magnifies it, and below 0 it reflects it or folds over.

    Convention:
        Direction: output to input; entry [i, j] is the slope of coordinate i that is read along axis j of the output.
        Origin and order: pixel 0 is the centre of the first pixel; i and j both run (x, y) or (x, y, z).
        Outside: coordinates off the map count as all others do.

    Args:
        coords: (h, w, ..., 2) or (d, h, w, ..., 3), pixel coordinates (x, y) or (x, y, z) of a whole output. Axes
            before the last are fields that share the positions, such as the channel groups of VTN.

    Returns:
        (h, w, ..., 2, 2) or (d, h, w, ..., 3, 3), at least float32. Along an axis of one pixel nothing changes: 0.

    Raises:
        ValueError: if `coords` is not floating, or of another shape.

    Examples:
        >>> matrices = ops.jacobian(2 * ops.identity_coords((3, 4)))
        >>> matrices[1, 1].tolist()
        [[2.0, 0.0], [0.0, 2.0]]
        >>> float(jnp.linalg.det(matrices[1, 1]))  # an output pixel reads four pixels' area
        4.0
    """
    coords = _check(coords)
    # x runs along the last of the positions' axes.
    return jnp.stack([_slope(coords, axis) for axis in reversed(range(coords.shape[-1]))], axis=-1)


def folds(coords: Float[ArrayLike, "h w *fields 2"]) -> Bool[Array, "h2 w2 *fields"]:
    """Where a warp folds: the cells between 2 x 2 output pixels that do not keep their orientation.

    A cell folds if the determinant of the ways to both neighbours is at most 0 at any of its corners. Between its
    corners the warp goes on linearly along both axes, whose determinant is then above 0 everywhere in the cell, or at
    most 0 at a corner. A cell of which nothing is left folds, and so does every cell of a mirror image.

    Convention:
        Direction: output to input; entry [i, j] tells of output pixels [i, j] to [i + 1, j + 1].
        Origin and order: pixel 0 is the centre of the first pixel; the last axis is (x, y), x right, y down.
        Outside: coordinates off the map count as all others do; a cell with NaN or infinity folds.

    Args:
        coords: (h, w, ..., 2), pixel coordinates (x, y) of a whole output, with fields as in `jacobian`.

    Returns:
        (h - 1, w - 1, ...), bool.

    Raises:
        ValueError: if `coords` is not floating, or of another shape.

    Examples:
        >>> coords = ops.identity_coords((2, 4))
        >>> ops.folds(coords[:, jnp.array([0, 2, 1, 3])]).tolist()  # two columns changed places
        [[False, True, False]]
        >>> int(ops.folds(coords[:, ::-1]).sum())  # a mirror image
        3
    """
    coords = _check(coords)
    if coords.shape[-1] != 2:
        raise ValueError(f"coords must have the shape (h, w, ..., 2), but its shape is {coords.shape}")
    right, down = jnp.diff(coords, axis=1), jnp.diff(coords, axis=0)
    corners = [_cross(along, across) for along in (right[:-1], right[1:]) for across in (down[:, :-1], down[:, 1:])]
    determinants = jnp.stack(corners)
    return ~((determinants > 0) & jnp.isfinite(determinants)).all(0)


def _slope(coords: Array, axis: int) -> Array:
    return cast(Array, jnp.gradient(coords, axis=axis)) if coords.shape[axis] > 1 else jnp.zeros_like(coords)


def _cross(a, b):
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _check(coords):
    coords = as_coords("coords", coords)
    axes = coords.shape[-1] if coords.ndim else 0
    if axes not in (2, 3) or coords.ndim <= axes:
        raise ValueError(
            f"coords must have the shape (h, w, ..., 2) or (d, h, w, ..., 3), but its shape is {coords.shape}"
        )
    return coords
