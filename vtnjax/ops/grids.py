"""Sampling grids: where each output pixel reads, in normalised coordinates, differentiable in their parameters.

`to_pixels(grid, input_shape)`, with the grid's `align_corners`, makes the pixel coordinates that the samplers take.
What does not depend on the parameters is computed where it is used: as constants, grids would make programs of many
megabytes.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, Real

from vtnjax._arrays import as_array, as_coords, check_sizes, widest
from vtnjax.ops.coords import pixel_centres

# Of a thin-plate spline, row by row: the 16 points of STN.
CONTROL_POINTS = np.stack(np.meshgrid(np.linspace(-1, 1, 4), np.linspace(-1, 1, 4)), axis=-1).reshape(16, 2)
# Rounding that could move the grid further than this, in normalised coordinates, is avoided by float64.
_SPLINE_ERROR = 1e-4


def affine_grid(
    theta: Float[ArrayLike, "n n+1"], shape: Sequence[int], *, align_corners: bool = True
) -> Float[Array, "*shape n"]:
    """Affine grid: STN Eq. 1 for a (2, 3) matrix, Eq. 10 for a (3, 4) matrix.

    The matrix acts on normalised coordinates, in which every image is a square from -1 to 1. Where an image is not
    square a rotation matrix therefore shears it: for a rotation by the angle a of an image (h, w), theta is
    [[cos a, -sin a (h - 1) / (w - 1), 0], [sin a (w - 1) / (h - 1), cos a, 0]], with h / w and w / h if
    `align_corners=False`.

    Convention:
        Direction: output to input; theta maps an output pixel's place to the place where it reads.
        Origin and order: -1 and 1 are border pixels, as `align_corners` says; (x, y(, z)), x right, y down, z deep.
        Outside: coordinates beyond -1 and 1 are kept; the sampler's `padding` says what is read at them.

    Args:
        theta: (2, 3), rows for x and y of the input, columns for x, y and 1 of the output; or (3, 4), rows for x, y and
            z, columns for x, y, z and 1.
        shape: (h, w) of the output with a (2, 3) matrix, (d, h, w) with a (3, 4) matrix.
        align_corners: whether -1 and 1 are the centres (True, STN section 3.2) or the outer edges (False, PyTorch's
            default) of the first and the last pixel, of the output and of the input. With False, output pixel i of n
            lies at (2 i + 1) / n - 1.

    Returns:
        Normalised coordinates (h, w, 2) or (d, h, w, 3), at least float32.

    Raises:
        ValueError: if theta is not (2, 3) or (3, 4), or shape has another number of axes.

    Examples:
        >>> grid = ops.affine_grid(jnp.eye(2, 3), (2, 3))
        >>> grid.tolist()
        [[[-1.0, -1.0], [0.0, -1.0], [1.0, -1.0]], [[-1.0, 1.0], [0.0, 1.0], [1.0, 1.0]]]
        >>> ops.to_pixels(grid, (2, 3))[1, 2].tolist()  # the pixel's own coordinates
        [2.0, 1.0]
        >>> thetas = jnp.stack([jnp.eye(2, 3), 0.5 * jnp.eye(2, 3)])
        >>> jax.vmap(lambda theta: ops.affine_grid(theta, (2, 3)))(thetas)[:, 0, 0].tolist()
        [[-1.0, -1.0], [-0.5, -0.5]]
    """
    theta = as_coords("theta", theta)
    if theta.shape not in ((2, 3), (3, 4)):
        raise ValueError(f"theta must be a (2, 3) or a (3, 4) matrix, but its shape is {theta.shape}")
    sizes = check_sizes("shape", shape, (theta.shape[0],))
    return _transform(theta, sizes, align_corners)


def attention_grid(
    scale: Float[ArrayLike, "..."],
    translation: Float[ArrayLike, "2"],
    shape: Sequence[int],
    *,
    align_corners: bool = True,
) -> Float[Array, "h w 2"]:
    """Attention grid: a window of the input, STN Eq. 2.

    Convention:
        Direction: output to input; the output's pixels read a window of the input.
        Origin and order: -1 and 1 are border pixels, as `align_corners` says; the last axis is (x, y), x right, y down.
        Outside: coordinates beyond -1 and 1 are kept; the sampler's `padding` says what is read at them.

    Args:
        scale: () or (2,) for (x, y): the window's size over the input's; 1 is all of it, 0.5 zooms in by two.
        translation: (2,), the window's centre (x, y), normalised.
        shape: (h, w) of the output.
        align_corners: as in `affine_grid`.

    Returns:
        Normalised coordinates (h, w, 2), at least float32.

    Raises:
        ValueError: if scale is not () or (2,), or translation is not (2,).

    Examples:
        >>> window = ops.attention_grid(0.5, jnp.array([0.5, 0.0]), (2, 2))
        >>> window.tolist()  # half the width, at the right, and half the height, in the middle
        [[[0.0, -0.5], [1.0, -0.5]], [[0.0, 0.5], [1.0, 0.5]]]
    """
    scale, translation = as_coords("scale", scale), as_coords("translation", translation)
    if scale.shape not in ((), (2,)):
        raise ValueError(f"scale must be a number or (2,) for (x, y), but its shape is {scale.shape}")
    if translation.shape != (2,):
        raise ValueError(f"translation must have the shape (2,) for (x, y), but its shape is {translation.shape}")
    dtype = widest(scale.dtype, translation.dtype)
    diagonal = jnp.diag(jnp.broadcast_to(scale.astype(dtype), (2,)))
    theta = jnp.concatenate([diagonal, translation.astype(dtype)[:, None]], axis=1)
    return _transform(theta, check_sizes("shape", shape, (2,)), align_corners)


def projective_grid(
    theta: Float[ArrayLike, "..."], shape: Sequence[int], *, align_corners: bool = True
) -> Float[Array, "h w 2"]:
    """Projective grid: the plane transform with 8 parameters that STN section 3.2 names.

    The scale of the (3, 3) matrix does not matter. A pixel whose homogeneous coordinate is 0 within rounding reads at
    infinity, and it sends no gradient to theta.

    Convention:
        Direction: output to input; theta maps an output pixel's place to the place where it reads.
        Origin and order: -1 and 1 are border pixels, as `align_corners` says; the last axis is (x, y), x right, y down.
        Outside: coordinates beyond -1 and 1 are kept, also infinity; `padding` says what is read at them.

    Args:
        theta: (3, 3), or its first 8 entries row by row with the ninth 1; maps (x, y, 1) of the output to homogeneous
            coordinates of the input.
        shape: (h, w) of the output.
        align_corners: as in `affine_grid`.

    Returns:
        Normalised coordinates (h, w, 2), at least float32.

    Raises:
        ValueError: if theta is neither (3, 3) nor (8,).

    Examples:
        >>> theta = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.5, 1.5]])
        >>> ops.projective_grid(theta, (2, 2)).tolist()  # (x, y) / (y / 2 + 1.5): the lower row reads half the width
        [[[-1.0, -1.0], [1.0, -1.0]], [[-0.5, 0.5], [0.5, 0.5]]]
    """
    theta = as_coords("theta", theta)
    if theta.shape not in ((3, 3), (8,)):
        raise ValueError(f"theta must be a (3, 3) matrix or its first 8 entries, but its shape is {theta.shape}")
    if theta.shape == (8,):
        theta = jnp.concatenate([theta, jnp.ones(1, theta.dtype)]).reshape(3, 3)
    theta = theta / _size(lax.stop_gradient(theta[2]))
    x, y, w = jnp.moveaxis(_transform(theta, check_sizes("shape", shape, (2,)), align_corners), -1, 0)
    seen = jnp.abs(w) > jnp.finfo(w.dtype).eps
    depth = jnp.where(seen, w, 1)
    return jnp.stack([jnp.where(seen, x / depth, jnp.inf), jnp.where(seen, y / depth, jnp.inf)], axis=-1)


def thin_plate_spline_grid(
    targets: Float[ArrayLike, "k 2"],
    shape: Sequence[int],
    *,
    control: Real[ArrayLike, "k 2"] | None = None,
    align_corners: bool = True,
) -> Float[Array, "h w 2"]:
    """Thin-plate spline grid: the smoothest warp that takes each control point to its target (STN section 4.1).

    Between the control points the grid is the interpolating spline of r^2 log r with an affine part. The linear system
    depends on the control points alone: it is solved once for each control set, in float64. Where known control points
    are so near to each other that rounding could move the grid by 1e-4, the (h w, k) matrix that takes targets to the
    grid is computed in float64 and becomes a constant of the program.

    Convention:
        Direction: output to input; the output's control point k reads the input exactly at `targets[k]`.
        Origin and order: -1 and 1 are border pixels, as `align_corners` says; the last axis is (x, y), x right, y down.
        Outside: coordinates beyond -1 and 1 are kept; the sampler's `padding` says what is read at them.

    Args:
        targets: (k, 2), normalised coordinates (x, y) at which the control points read.
        shape: (h, w) of the output.
        control: (k, 2), normalised coordinates (x, y) of the control points in the output, also beyond its border; by
            default the 4 x 4 grid on [-1, 1]^2 row by row (STN's 16 points). Whole numbers are converted. A control set
            that is traced, such as a learned one, is solved at every call, in the widest of float32, its dtype and that
            of the targets.
        align_corners: as in `affine_grid`.

    Returns:
        Normalised coordinates (h, w, 2), at least float32.

    Raises:
        ValueError: if targets and control are not both (k, 2), or if known control points coincide, lie on one line or
            are in pixels: none negative, and some beyond 2.

    Examples:
        >>> control = jnp.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
        >>> targets = control.at[4].set(jnp.array([0.5, 0.25]))  # the corners stay, the middle moves
        >>> grid = ops.thin_plate_spline_grid(targets, (3, 3), control=control)
        >>> grid[1, 1].round(2).tolist()
        [0.5, 0.25]
        >>> grid[0, 2].round(2).tolist()
        [1.0, -1.0]
    """
    targets = as_coords("targets", targets)
    sizes = check_sizes("shape", shape, (2,))
    points = _control_points(as_array(control))
    if targets.shape != points.shape:
        raise ValueError(f"targets must have the shape {points.shape} of the control points, but it is {targets.shape}")
    traced = isinstance(points, Tracer)
    dtype = widest(targets.dtype, points.dtype) if traced else targets.dtype
    pixels, rest = _pixels(sizes, dtype, align_corners), jnp.asarray(points, dtype)
    # The spline of the displacements: rounding is then in proportion to them, and at rest there is none.
    moved = targets.astype(dtype) - rest
    if not traced and _spline_error(points, dtype) > _SPLINE_ERROR:
        pull = _product(jnp.asarray(_spline_matrix(points.tobytes(), sizes, dtype, align_corners)), moved)
    else:
        pull = _product(_spline_basis(pixels, rest, jnp), _coefficients(points, moved))
    return (pixels + pull).astype(targets.dtype).reshape(*sizes, 2)


def linear_grid(theta: Float[ArrayLike, "2 m"], basis: Float[ArrayLike, "m h w"]) -> Float[Array, "h w 2"]:
    """The grid M_theta B of STN section 3.2, linear in theta on any basis, which may be learned too.

    Convention:
        Direction: output to input; basis[:, i, j] belongs to output pixel [i, j].
        Origin and order: the basis sets origin and unit; the last axis is (x, y), the rows of theta.
        Outside: coordinates off the map are kept; the sampler's `padding` says what is read at them.

    Args:
        theta: (2, m), rows for x and y of the input.
        basis: (m, h, w); for the affine grid it holds x, y and 1, normalised.

    Returns:
        Coordinates (h, w, 2), at least float32, normalised if the basis is.

    Raises:
        ValueError: if theta is not (2, m) or basis is not (m, h, w) with the same m.

    Examples:
        >>> x, y = jnp.moveaxis(ops.identity_coords((3, 3)), -1, 0)
        >>> basis = jnp.stack([x, y, x * y])
        >>> theta = jnp.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]])  # reads at (x + x y / 2, y)
        >>> ops.linear_grid(theta, basis)[2].tolist()
        [[0.0, 2.0], [2.0, 2.0], [4.0, 2.0]]
    """
    theta, basis = as_coords("theta", theta), as_coords("basis", basis)
    if theta.ndim != 2 or theta.shape[0] != 2 or basis.ndim != 3 or theta.shape[1] != basis.shape[0]:
        raise ValueError(
            f"theta must be (2, m) and basis (m, h, w), but their shapes are {theta.shape} and {basis.shape}"
        )
    dtype = widest(theta.dtype, basis.dtype)
    return jnp.einsum("nm,mhw->hwn", theta.astype(dtype), basis.astype(dtype), precision=lax.Precision.HIGHEST)


def _size(row):
    """The power of two nearest to the largest entry: to divide by it rounds nothing."""
    largest = jnp.max(jnp.abs(row))
    limits = jnp.finfo(row.dtype)
    power = lax.reduce_precision(largest, exponent_bits=limits.nexp, mantissa_bits=0)
    return jnp.where((largest > 0) & jnp.isfinite(power), power, 1)


def _transform(theta, sizes, align_corners):
    """Product of theta (rows, n + 1) and the homogeneous coordinates of every output pixel: (*sizes, rows)."""
    pixels = _pixels(sizes, theta.dtype, align_corners)
    points = jnp.concatenate([pixels, jnp.ones((len(pixels), 1), theta.dtype)], axis=1)
    # A matrix product, since its transpose reduces finished slopes to theta: a sum fused with the sampler's gathers is
    # many times slower.
    return _product(points, theta.T).reshape(*sizes, len(theta))


def _product(a, b):
    """At full precision, since a TPU would round the coordinates to bfloat16."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))  # one program where it is called outside jit, not fifteen
def _pixels(sizes, dtype, align_corners):
    """Every output pixel's normalised coordinates, row by row: (pixels, n)."""
    lines = [pixel_centres(size, dtype, align_corners=align_corners) for size in sizes]
    return jnp.stack(jnp.meshgrid(*lines, indexing="ij")[::-1], axis=-1).reshape(-1, len(sizes))


def _control_points(control):
    """The control points, in float64 where they are known, at least in float32 where they are traced."""
    if control is None:
        return CONTROL_POINTS
    points = control if isinstance(control, Tracer) else np.asarray(control)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise ValueError(f"control must be 3 or more points (k, 2), but its shape is {points.shape}")
    if not (jnp.issubdtype(points.dtype, jnp.floating) or jnp.issubdtype(points.dtype, jnp.integer)):
        raise ValueError(f"control must be real numbers, but its dtype is {points.dtype}")
    if not isinstance(points, Tracer):
        return points.astype(np.float64)
    floating = jnp.issubdtype(points.dtype, jnp.floating)
    return points.astype(widest(points.dtype, jnp.float32) if floating else jnp.result_type(float))


def _coefficients(points, moved):
    """The spline's coefficients (k + 3, 2) for displacements of the control points."""
    if isinstance(points, Tracer):
        system = _spline_system(points.astype(moved.dtype), jnp)
        return jnp.linalg.solve(system, jnp.concatenate([moved, 0 * moved[:3]]))
    return _product(jnp.asarray(_solved_once(points.tobytes()), moved.dtype), moved)


@functools.lru_cache(maxsize=64)
def _solved_once(control: bytes) -> np.ndarray:
    """The matrix (k + 3, k) that takes displacements of the control points to the spline's coefficients."""
    points = np.frombuffer(control, np.float64).reshape(-1, 2)
    system = _spline_system(points, np)
    if not np.isfinite(points).all() or np.linalg.matrix_rank(system) < len(system):
        raise ValueError(f"control must be 3 or more distinct points, not all on one line, not {points.tolist()}")
    if points.min() >= 0 and points.max() > 2:
        raise ValueError(
            "control must be normalised, -1 and 1 at the image's borders, not in pixels "
            f"from {points.min():g} to {points.max():g}; ops.to_normalised converts them"
        )
    return np.linalg.solve(system, np.eye(len(system), len(points)))


def _spline_error(points, dtype):
    """A bound of what rounding the basis to `dtype` does to a spline of displacements of order 1."""
    return np.abs(_solved_once(points.tobytes())).sum(axis=0).max() * jnp.finfo(dtype).eps


@functools.lru_cache(maxsize=64)
def _spline_matrix(control: bytes, sizes: tuple[int, int], dtype: DTypeLike, align_corners: bool) -> np.ndarray:
    """The matrix (h w, k) that takes displacements of the control points to the grid's."""
    with jax.ensure_compile_time_eval():
        pixels = np.asarray(_pixels(sizes, dtype, align_corners), np.float64)
    points = np.frombuffer(control, np.float64).reshape(-1, 2)
    return (_spline_basis(pixels, points, np) @ _solved_once(control)).astype(dtype)


def _spline_system(points, xp):
    """The bordered system of Bookstein (1989), (k + 3, k + 3), which is symmetric."""
    rows = _spline_basis(points, points, xp)
    affine = rows[:, len(points) :].T  # (3, k)
    border = xp.concatenate([affine, 0 * affine[:, :3]], axis=1)
    return xp.concatenate([rows, border])


def _spline_basis(at, points, xp):
    squared = xp.sum((at[:, None] - points[None]) ** 2, axis=-1)
    radial = squared * xp.log(xp.where(squared > 0, squared, 1))
    affine = xp.concatenate([xp.ones((len(at), 1), points.dtype), at], axis=1)
    # The sum with 0 tells explicit sharding that a batch of control sets is as sharded here as in the radial part.
    return xp.concatenate([radial, affine + 0 * radial[:, :1]], axis=1)
