"""The grid of the saliency sampler: what is salient grows (Recasens et al. 2018)."""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from vtnjax._arrays import as_coords, check_rank, check_sizes, clamp
from vtnjax.ops.grids import affine_grid
from vtnjax.ops.resizing import resize


def saliency_grid(
    saliency: Float[ArrayLike, "h w"], shape: Sequence[int], *, fwhm: float, pad: int, align_corners: bool = True
) -> Float[Array, "h2 w2 2"]:
    """The grid of the saliency sampler: salient places pull the grid to them (Recasens et al. 2018, Eq. 4-5).

    Each cell of the map reads the mean of the coordinates around it, weighted by their saliency and by a Gaussian of
    their distance. As in the reference implementation, the Gaussian is cut off after `pad` cells each way, the border
    cells' saliency is repeated as far beyond the border while coordinates run on evenly, the means are clamped to
    [-1, 1], and the grid is resized bilinearly to the output's shape.

    Only the map's ratios matter. A uniform map gives the identity exactly, of any shape. A cell with no saliency in
    reach reads itself, hence so does every cell of a map of zeros, from which no gradient comes back. The reference has
    a map of 31 x 31 cells with `fwhm=13` and `pad=30`; the paper says a standard deviation of a third of the map's
    width, which is `fwhm` 24.

    Convention:
        Direction: output to input; an output pixel near a salient place reads nearer to that place.
        Origin and order: -1 and 1 are border pixels, as `align_corners` says; the last axis is (x, y), x right, y down.
        Outside: coordinates stay in [-1, 1], except with `align_corners=False` outputs beyond a border cell's centre.

    Args:
        saliency: (h, w), floating, not negative, the whole field of view at any size.
        shape: (h', w') of the output.
        fwhm: full width of the Gaussian at half its maximum, in cells of the map; 2.355 standard deviations.
        pad: how many cells the Gaussian reaches each way.
        align_corners: as in `affine_grid`, for the map's cells, the output's pixels and the input's pixels.

    Returns:
        Normalised coordinates (h', w', 2), at least float32.

    Raises:
        ValueError: if the saliency is not (h, w) of at least one cell, fwhm is not positive, or pad or shape are not
            whole numbers.

    Examples:
        >>> even, lone = jnp.ones((5, 5)), jnp.zeros((5, 5)).at[3, 3].set(1.0)
        >>> ops.saliency_grid(even, (2, 2), fwhm=2.0, pad=4).round(2).tolist()
        [[[-1.0, -1.0], [1.0, -1.0]], [[-1.0, 1.0], [1.0, 1.0]]]
        >>> ops.saliency_grid(lone, (2, 2), fwhm=2.0, pad=4).round(2).tolist()  # all read the one salient cell
        [[[0.5, 0.5], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]]]
    """
    saliency = as_coords("saliency", saliency)
    check_rank("saliency", saliency, "h w")
    if saliency.size == 0:
        raise ValueError(f"saliency must have at least one cell along each axis, but its shape is {saliency.shape}")
    check_gaussian(fwhm, pad)
    sizes = check_sizes("shape", shape, (2,))
    pull = resize(_pull(saliency, fwhm, pad, align_corners), sizes, align_corners=align_corners)
    return _identity(pull, align_corners) + pull


def check_gaussian(fwhm: float, pad: int) -> None:
    """Raise a ValueError unless `fwhm` and `pad` say how wide `saliency_grid`'s Gaussian is and how far it reaches."""
    if not fwhm > 0:
        raise ValueError(f"fwhm must be a positive number of map cells, not {fwhm!r}")
    if not hasattr(pad, "__index__") or pad < 0:
        raise ValueError(f"pad must be a whole number of map cells, at least 0, not {pad!r}")


def _pull(saliency, fwhm, pad, align_corners):
    """How far from itself each cell of the map reads, normalised, (h, w, 2).

    The Gaussian is a product of one along each axis, so the sums are products with (h, h) and (w, w) matrices, which
    hold the repeated border too.
    """
    low, high = (lax.stop_gradient(limit) for limit in (saliency.min(), saliency.max()))
    scale = jnp.where(high > 0, high, 1)
    # A constant pulls nowhere. Without it nothing is left of a uniform map, and of an even one little to round; it is
    # subtracted first, since a product that is fused with the difference is not rounded as the constant was.
    uneven, saliency = (saliency - low) / scale, saliency / scale
    options = float(fwhm), int(pad), saliency.dtype, align_corners
    (ky, dy), (kx, dx) = (_gaussian(size, *options) for size in saliency.shape)
    weight = _along_both(ky, saliency, kx)
    seen = weight > math.sqrt(jnp.finfo(weight.dtype).tiny)  # the gradient divides by its square
    pull = jnp.stack([_along_both(ky, uneven, dx), _along_both(dy, uneven, kx)], axis=-1)
    pull = jnp.where(seen[..., None], pull / jnp.where(seen, weight, 1)[..., None], 0)
    here = _identity(pull, align_corners)
    return clamp(pull, -1 - here, 1 - here)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))  # one program where it is called outside jit, not thirty
def _gaussian(size, fwhm, pad, dtype, align_corners):
    """Matrices (size, size): the weights with which each cell sees each other, and those times the distance."""
    spacing = 2 / (max(size - 1, 1) if align_corners else size)

    def weight(steps):
        return jnp.where(jnp.abs(steps) <= pad, jnp.exp(-4 * math.log(2) * (steps / fwhm) ** 2), 0)

    def lever(steps):
        return weight(steps) * steps * spacing

    return tuple(_seen(function, size, pad, dtype) for function in (weight, lever))


def _seen(function, size, pad, dtype):
    """The matrix of function(j - i): what cell i sees of cell j. Beyond the border it sees the border's cell again."""
    cells, steps = (jnp.arange(count, dtype=dtype) for count in (size, max(size, pad) + 1))
    # Of all that is one cell and more beyond, two and more, ...
    left, right = (lax.cumsum(function(sign * steps), reverse=True)[1 : size + 1, None] for sign in (-1, 1))
    first, last = ((cells == border).astype(dtype)[None] for border in (0, size - 1))
    return function(cells[None] - cells[:, None]) + left * first + right[::-1] * last


def _along_both(rows, array, columns):
    return jnp.einsum("ij,jk,lk->il", rows, array, columns, precision=lax.Precision.HIGHEST)


def _identity(grid, align_corners):
    return affine_grid(jnp.eye(2, 3, dtype=grid.dtype), grid.shape[:2], align_corners=align_corners)
