"""Sampling grids: where each output pixel reads, in normalised coordinates.

Convention: pull. Output pixel i of `shape` reads the input at grid[i] = (x, y) or (x, y, z), normalised so that -1 and
1 are the centres of the first and last pixel, of the output and of the input (STN section 3.2, `align_corners=True`).
`to_pixels(grid, input_shape)` makes pixel coordinates of it for the samplers. All are differentiable in their
parameters, are at least float32 whatever the parameters are, and take one example: use `jax.vmap` for a batch.
"""

import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from vtnjax.ops._checks import as_array, check_sizes
from vtnjax.ops.coords import as_coords, widest


def affine_grid(theta: Float[ArrayLike, "n n+1"], shape: Sequence[int]) -> Float[Array, "*shape n"]:
    """Affine grid: STN Eq. 1 for a (2, 3) matrix, Eq. 10 for a (3, 4) matrix.

    Args:
        theta: (2, 3), rows for x and y of the input, columns for x, y and 1 of the output; (3, 4) likewise with z.
        shape: (h, w) of the output with a (2, 3) matrix, (d, h, w) with a (3, 4) matrix.

    Returns:
        Normalised coordinates (h, w, 2) or (d, h, w, 3).

    Raises:
        ValueError: if theta is not (2, 3) or (3, 4), or shape has another number of axes.
    """
    theta = as_coords("theta", theta)
    if theta.shape not in ((2, 3), (3, 4)):
        raise ValueError(f"theta must be a (2, 3) or a (3, 4) matrix, but its shape is {theta.shape}")
    sizes = check_sizes("shape", shape, (theta.shape[0],))
    return _transform(theta, sizes)


def attention_grid(
    scale: Float[ArrayLike, "..."], translation: Float[ArrayLike, "2"], shape: Sequence[int]
) -> Float[Array, "h w 2"]:
    """Attention grid: a window of the input, STN Eq. 2.

    Args:
        scale: () or (2,) for (x, y): the window's size over the input's; 1 is all of it, 0.5 zooms in by two.
        translation: (2,), the window's centre (x, y), normalised.
        shape: (h, w) of the output.

    Returns:
        Normalised coordinates (h, w, 2).

    Raises:
        ValueError: if scale is not () or (2,), or translation is not (2,).
    """
    scale, translation = as_coords("scale", scale), as_coords("translation", translation)
    if scale.shape not in ((), (2,)):
        raise ValueError(f"scale must be a number or (2,) for (x, y), but its shape is {scale.shape}")
    if translation.shape != (2,):
        raise ValueError(f"translation must have the shape (2,) for (x, y), but its shape is {translation.shape}")
    dtype = widest(scale.dtype, translation.dtype)
    diagonal = jnp.diag(jnp.broadcast_to(scale.astype(dtype), (2,)))
    theta = jnp.concatenate([diagonal, translation.astype(dtype)[:, None]], axis=1)
    return _transform(theta, check_sizes("shape", shape, (2,)))


def projective_grid(theta: Float[ArrayLike, "..."], shape: Sequence[int]) -> Float[Array, "h w 2"]:
    """Projective grid: the plane transform with 8 parameters that STN section 3.2 names.

    A point whose homogeneous coordinate vanishes lies at infinity: its coordinates are infinite, which the samplers
    read as outside, and it sends no gradient to theta.

    Args:
        theta: (3, 3), or its first 8 entries row by row with the ninth 1; maps (x, y, 1) of the output to homogeneous
            coordinates of the input.
        shape: (h, w) of the output.

    Returns:
        Normalised coordinates (h, w, 2).

    Raises:
        ValueError: if theta is neither (3, 3) nor (8,).
    """
    theta = as_coords("theta", theta)
    if theta.shape not in ((3, 3), (8,)):
        raise ValueError(f"theta must be a (3, 3) matrix or its first 8 entries, but its shape is {theta.shape}")
    if theta.shape == (8,):
        theta = jnp.concatenate([theta, jnp.ones(1, theta.dtype)]).reshape(3, 3)
    x, y, w = jnp.moveaxis(_transform(theta, check_sizes("shape", shape, (2,))), -1, 0)
    seen = jnp.abs(w) > jnp.finfo(w.dtype).eps
    depth = jnp.where(seen, w, 1)
    return jnp.stack([jnp.where(seen, x / depth, jnp.inf), jnp.where(seen, y / depth, jnp.inf)], axis=-1)


def thin_plate_spline_grid(
    targets: Float[ArrayLike, "k 2"], shape: Sequence[int], *, control: Float[ArrayLike, "k 2"] | None = None
) -> Float[Array, "h w 2"]:
    """Thin-plate spline grid: the smoothest warp that takes each control point to its target (STN section 4.1).

    The output's control point k reads the input exactly at `targets[k]`; between them the grid is the interpolating
    spline of r^2 log r with an affine part. The linear system depends on the control points alone: it is solved once
    for each control set and shape, in float64, and a call is one product of an (h w, k) matrix with the targets.

    Args:
        targets: (k, 2), where the control points go, normalised (x, y).
        shape: (h, w) of the output.
        control: (k, 2), normalised (x, y); by default the 4 x 4 grid on [-1, 1]^2 row by row (STN's 16 points). A
            control set that is traced, such as a learned one, is solved at every call, in its own dtype.

    Returns:
        Normalised coordinates (h, w, 2).

    Raises:
        ValueError: if targets and control are not both (k, 2), or if known control points coincide or lie on one line.
    """
    targets = as_coords("targets", targets)
    sizes = check_sizes("shape", shape, (2,))
    points = _control_points(as_array(control))
    if targets.shape != points.shape:
        raise ValueError(f"targets must have the shape {points.shape} of the control points, but it is {targets.shape}")
    solved = _spline_matrix(points, sizes, jnp) if isinstance(points, Tracer) else _solved_once(points.tobytes(), sizes)
    grid = jnp.matmul(jnp.asarray(solved, targets.dtype), targets, precision=lax.Precision.HIGHEST)
    return grid.reshape(*sizes, 2)


def linear_grid(theta: Float[ArrayLike, "2 m"], basis: Float[ArrayLike, "m h w"]) -> Float[Array, "h w 2"]:
    """The grid M_theta B of STN section 3.2, linear in theta on any basis, which may be learned too.

    Args:
        theta: (2, m), rows for x and y of the input.
        basis: (m, h, w); for the affine grid it holds x, y and 1.

    Returns:
        Normalised coordinates (h, w, 2).

    Raises:
        ValueError: if theta is not (2, m) or basis is not (m, h, w) with the same m.
    """
    theta, basis = as_coords("theta", theta), as_coords("basis", basis)
    if theta.ndim != 2 or theta.shape[0] != 2 or basis.ndim != 3 or theta.shape[1] != basis.shape[0]:
        raise ValueError(
            f"theta must be (2, m) and basis (m, h, w), but their shapes are {theta.shape} and {basis.shape}"
        )
    dtype = widest(theta.dtype, basis.dtype)
    return jnp.einsum("nm,mhw->hwn", theta.astype(dtype), basis.astype(dtype), precision=lax.Precision.HIGHEST)


def _transform(theta, sizes):
    """Product of theta (rows, n + 1) and the homogeneous coordinates of every output pixel: (*sizes, rows)."""
    lines = np.meshgrid(*map(_line, sizes), indexing="ij")
    points = np.stack([*lines[::-1], np.ones(sizes)], axis=-1).reshape(-1, len(sizes) + 1)
    # A matrix product, since its transpose reduces finished slopes to theta: a sum fused with the sampler's gathers is
    # many times slower. At full precision, since a TPU would round the coordinates to bfloat16.
    grid = jnp.matmul(jnp.asarray(points, theta.dtype), theta.T, precision=lax.Precision.HIGHEST)
    return grid.reshape(*sizes, len(theta))


def _line(size: int) -> np.ndarray:
    return np.linspace(-1, 1, size) if size > 1 else np.zeros(size)


def _control_points(control):
    if control is None:
        line = np.linspace(-1, 1, 4)
        return np.stack(np.meshgrid(line, line), axis=-1).reshape(16, 2)
    points = control if isinstance(control, Tracer) else np.asarray(control, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise ValueError(f"control must be 3 or more points (k, 2), but its shape is {points.shape}")
    return points


@functools.lru_cache(maxsize=64)
def _solved_once(control: bytes, sizes: tuple[int, int]) -> np.ndarray:
    points = np.frombuffer(control, np.float64).reshape(-1, 2)
    system, _ = _spline_system(points, sizes, np)
    if not np.isfinite(points).all() or np.linalg.matrix_rank(system) < len(system):
        raise ValueError(f"control must be 3 or more distinct points, not all on one line, not {points.tolist()}")
    return _spline_matrix(points, sizes, np)


def _spline_matrix(points, sizes, xp):
    """The matrix (h w, k) that takes targets to the grid."""
    system, basis = _spline_system(points, sizes, xp)
    return xp.linalg.solve(system, basis.T)[: len(points)].T


def _spline_system(points, sizes, xp):
    """The bordered system of Bookstein (1989), which is symmetric, and the basis (h w, k + 3) at the pixels."""
    y, x = np.meshgrid(*map(_line, sizes), indexing="ij")
    pixels = xp.asarray(np.stack([x.ravel(), y.ravel()], axis=-1), points.dtype)
    rows = _spline_basis(points, points, xp)
    affine = rows[:, len(points) :].T  # (3, k)
    border = xp.concatenate([affine, 0 * affine[:, :3]], axis=1)
    return xp.concatenate([rows, border]), _spline_basis(pixels, points, xp)


def _spline_basis(at, points, xp):
    squared = xp.sum((at[:, None] - points[None]) ** 2, axis=-1)
    radial = squared * xp.log(xp.where(squared > 0, squared, 1))
    affine = xp.concatenate([xp.ones((len(at), 1), points.dtype), at], axis=1)
    # The sum with 0 tells explicit sharding that a batch of control sets is as sharded here as in the radial part.
    return xp.concatenate([radial, affine + 0 * radial[:, :1]], axis=1)
