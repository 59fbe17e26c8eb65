"""Attention maps, and where a sampler reads that magnifies what they attend to (TASN)."""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from vtnjax._arrays import as_coords, as_positions, check_rank, check_sizes, clamp
from vtnjax._checks import check_choice
from vtnjax.ops._gather import take

NORMALISATIONS = ("spatial", "spatial_right", "relation", "output")
# The density, in units of its mean, below which no place is passed over: with it an integral grows everywhere.
_FLOOR = 1e-6


def trilinear_attention(
    features: Float[ArrayLike, "h w c"],
    *,
    normalise: Sequence[str] = ("spatial", "relation"),
    sharpness: float = 7.0,
) -> Float[Array, "h w c"]:
    """One attention map for each channel: a sum of its related channels (TASN Eq. 1-2, the rows of Table 2).

    X is the features as a matrix (c, h * w), N a softmax over the positions and R one over the rows of a c x c matrix:

    ===================================  =================
    `normalise`                          the maps
    ===================================  =================
    ()                                   X X' X, Eq. 1
    ("spatial",)                         N(X) X' X
    ("spatial", "spatial_right")         N(X) N(X)' X
    ("output",)                          N(X X' X)
    ("relation",)                        R(X X') X
    ("spatial", "relation")              R(N(X) X') X, Eq. 2
    ===================================  =================

    The paper's spatial softmaxes are of X itself, which is `sharpness=1.0`. The reference implementation multiplies X
    by 7 in the first of them, which is the default.

    Args:
        features: (h, w, c), floating.
        normalise: names of the softmaxes: "spatial" (over the positions, of the X at the left), "spatial_right" (of the
            X' too), "relation" (over the channels of the c x c product), "output" (over the positions of the result).
        sharpness: the factor of X inside the spatial softmaxes, above 0: the inverse of a temperature.

    Returns:
        (h, w, c), at least float32.

    Raises:
        ValueError: if the features are not floating (h, w, c) with at least one position, or an option is wrong.

    Examples:
        >>> features = jnp.array([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])  # the first two channels are alike
        >>> ops.trilinear_attention(features, normalise=()).tolist()  # each is the sum of both
        [[[2.0, 2.0, 0.0], [0.0, 0.0, 1.0]]]
        >>> ops.trilinear_attention(jnp.full((1, 1, 3), 5.0)).round(2).tolist()  # with softmaxes each is a mean
        [[[5.0, 5.0, 5.0]]]
    """
    x = as_positions("features", features)
    chosen = check_normalise(normalise, sharpness)
    sharp = jax.nn.softmax(sharpness * x, axis=0)
    left, right = (sharp if name in chosen else x for name in ("spatial", "spatial_right"))
    relation = jnp.einsum("pi,pj->ij", left, right, precision=lax.Precision.HIGHEST)
    if "relation" in chosen:
        relation = jax.nn.softmax(relation, axis=1)
    maps = jnp.einsum("ij,pj->pi", relation, x, precision=lax.Precision.HIGHEST)
    if "output" in chosen:
        maps = jax.nn.softmax(maps, axis=0)
    return maps.reshape(jnp.shape(features))


def self_attention(features: Float[ArrayLike, "h w c"]) -> Float[Array, "h w n"]:
    """One attention map for each position: a softmax over its likeness to every position (TASN section 4.2).

    Args:
        features: (h, w, c), floating.

    Returns:
        (h, w, h * w), at least float32. Map k, where positions are counted row by row, holds at [row, column] how much
        position k attends to that position; it sums to 1.

    Raises:
        ValueError: if the features are not floating (h, w, c) with at least one position.

    Examples:
        >>> maps = ops.self_attention(jnp.array([[[9.0, 0.0], [9.0, 0.0], [0.0, 9.0]]]))
        >>> maps[..., 0].round(2).tolist()  # the first position attends to itself and to the second, which is alike
        [[0.5, 0.5, 0.0]]
        >>> maps[..., 2].round(2).tolist()
        [[0.0, 0.0, 1.0]]
    """
    x = as_positions("features", features)
    alike = jnp.einsum("pc,kc->pk", x, x, precision=lax.Precision.HIGHEST)
    return jax.nn.softmax(alike, axis=0).reshape(*jnp.shape(features)[:2], -1)


def check_normalise(normalise: Sequence[str], sharpness: float) -> tuple[str, ...]:
    """Return `normalise` as a tuple, or raise a ValueError unless the options are `trilinear_attention`'s."""
    if isinstance(normalise, str):
        raise ValueError(f"normalise must be a sequence of names such as ('spatial', 'relation'), not {normalise!r}")
    for name in normalise:
        check_choice("normalise", name, NORMALISATIONS)
    if not sharpness > 0:
        raise ValueError(f"sharpness must be above 0, not {sharpness!r}")
    return tuple(normalise)


def attention_marginals(attention: Float[ArrayLike, "h w"]) -> tuple[Float[Array, " w"], Float[Array, " h"]]:
    """The largest attention in each column and in each row, as two distributions (TASN Eq. 4).

    Only the map's ratios matter. A value that is negative or NaN counts as 0, one above 1e19 as 1e19. A map whose
    highest value is below 1e-19, such as zeros, gives what a constant map gives. The paper's integrals are not
    normalised; the reference implementation's are.

    Args:
        attention: (h, w), floating, not negative.

    Returns:
        p_x (w,) of the columns and p_y (h,) of the rows, at least float32, each summing to 1.

    Raises:
        ValueError: if the attention is not floating (h, w) of at least one cell.

    Examples:
        >>> x, y = ops.attention_marginals(jnp.array([[1.0, 0.0, 2.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
        >>> x.tolist()  # the columns' maxima are 1, 1 and 2
        [0.25, 0.25, 0.5]
        >>> y.tolist()  # the rows' are 2, 1 and 1
        [0.5, 0.25, 0.25]
    """
    attention = as_coords("attention", attention)
    check_rank("attention", attention, "h w")
    if attention.size == 0:
        raise ValueError(f"attention must have at least one cell along each axis, but its shape is {attention.shape}")
    # Far enough from the ends of the range that the divisions below neither overflow nor lose everything.
    limits = jnp.finfo(attention.dtype)
    columns, rows = (_lower(_highest(attention, axis), math.sqrt(limits.max)) for axis in (0, 1))
    highest = lax.stop_gradient(rows.max())  # only the ratios matter
    some = highest > math.sqrt(limits.tiny)
    columns, rows = (jnp.where(some, line / jnp.where(some, highest, 1), 1) for line in (columns, rows))
    return columns / columns.sum(), rows / rows.sum()


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _highest(attention, axis):
    """The highest value along an axis of (h, w), or 0: values that are negative or NaN are passed over.

    The reduction itself passes over them: a map that is cleared first takes three times as long on a CPU.
    """
    zero = np.zeros((), attention.dtype)
    return lax.reduce(attention, zero, _higher, (axis,))


def _higher(highest, x):
    return jnp.where(x > highest, x, highest)


@_highest.defjvp
def _highest_jvp(axis, primals, tangents):
    """Give equal shares of the slope to all values that are highest within rounding; `jnp.max` wants them equal.

    A compiler may compute a value a second time and round it otherwise than the one that was reduced. Where none equals
    the highest there would be no gradient, or that of `jnp.max`, which is NaN.
    """
    (attention,), (dattention,) = primals, tangents
    highest = _highest(attention, axis)
    found = attention >= jnp.expand_dims(highest * (1 - 8 * jnp.finfo(attention.dtype).eps), axis)
    count = jnp.maximum(found.sum(axis), 1).astype(attention.dtype)
    return highest, jnp.sum(jnp.where(found, dattention, 0), axis) / count


def attention_coords(
    attention: Float[ArrayLike, "h w"],
    shape: Sequence[int],
    *,
    dense: float | None = 4.0,
    iterations: int = 5,
    first: float = 0.0,
) -> tuple[Float[Array, " w2"], Float[Array, " h2"]]:
    """Coordinates that give more output pixels to places of more attention, by inverse CDF (TASN Eq. 4-5).

    The marginals become densities of mean 1. As in the reference implementation they are clipped `iterations` times to
    the smaller of both axes' maxima, the first time to at most `dense`, and the rest is spread evenly over its axis. So
    both axes zoom alike, and one flat axis flattens the other. The paper clips nothing, which is `dense=None`. A
    density is never below 1e-6, so that its integral F grows everywhere. F begins in the first cell, and output i of O
    reads where F is i / O of its total, by linear interpolation. A constant map, or one without attention, gives the
    evenly spaced i (size - 1) / O. `attention_marginals` says how bad values count. Coordinates never decrease. A
    gradient passes where neither the floor nor the clipping holds a density; the reference lets none pass.

    The reference has two implementations. In its CUDA port for PyTorch F begins at 0: the first output reads the first
    cell, the last one not quite the last cell. In its MXNet operator F begins at 1, in units of the O outputs, and so
    loses the first row and column. Of a uniform map of 512 cells and 224 outputs, the outputs 0, 1, 56 and 112 read the
    cells 0, 2.28, 127.75 and 255.5 with `first=0.0`, and -1, 0.0057, 126.04 and 254.36 with `first=1.0`.

    Convention:
        Direction: output to input; output pixel [i, j] reads the map at (x[j], y[i]).
        Origin and order: pixel 0 is the centre of the map's first cell; x comes first, to the right, then y, down.
        Outside: coordinates stay on the map, except that the first ones begin at -1 if `first` is above 0.

    Args:
        attention: (h, w), floating, not negative.
        shape: (h', w') of the output; it need be neither square nor smaller than the map.
        dense: the highest density, in units of its mean and at least 1, before the rest is spread; None clips nothing.
        iterations: how often the densities are clipped.
        first: where F begins, at least 0, in units of the outputs: 0 for the reference's CUDA port, 1 for what its
            MXNet operator trained.

    Returns:
        x (w',) and y (h',), in pixels of the map, at least float32: what `sample_separable` takes. For an image of
        another size, multiply them by (image size - 1) / (map size - 1), as `nn.AttentionSampler` does.

    Raises:
        ValueError: if the attention is not floating (h, w) of at least one cell, or an option is out of range.

    Examples:
        >>> attention = jnp.tile(jnp.array([1.0, 1.0, 1.0, 2.0, 2.0]), (5, 1))
        >>> x, y = ops.attention_coords(attention, (4, 6), dense=None)
        >>> x.round(2).tolist()  # twice as dense where there is twice the attention
        [0.0, 1.0, 2.0, 2.5, 3.0, 3.5]
        >>> y.round(2).tolist()
        [0.0, 1.0, 2.0, 3.0]
    """
    height, width = check_sizes("shape", shape, (2,))
    check_density(dense, iterations, first)
    densities = [p * p.size for p in attention_marginals(attention)]
    if dense is not None:
        densities = _clipped(densities, dense, iterations)
    x, y = (_inverse(density, size, first) for density, size in zip(densities, (width, height), strict=True))
    return x, y


def _clipped(densities, dense, iterations):
    """Densities of mean 1, of which no part is high: what is above a limit is spread over its axis, again and again."""
    limit = dense
    for _ in range(iterations):
        highest = _lower(*(_highest(density, 0) for density in densities))
        clipped = [_lower(density, _lower(highest, limit)) for density in densities]
        densities = [density + (1 - density.mean()) for density in clipped]
        limit = jnp.inf
    return densities


def _lower(x, limit):
    """As `jnp.minimum`, but with a gradient where a compiler computes x again and rounds it otherwise than before.

    That of `jnp.minimum` passes to what equals the result, and is lost where nothing does.
    """
    return jnp.where(limit < x, limit, x)


def check_density(dense: float | None, iterations: int, first: float) -> None:
    """Raise a ValueError unless `attention_coords` takes the options."""
    if dense is not None and not dense >= 1:
        raise ValueError(f"dense must be at least 1, or None for no clipping, not {dense!r}")
    if not hasattr(iterations, "__index__") or iterations < 0:
        raise ValueError(f"iterations must be a whole number of at least 0, not {iterations!r}")
    if not 0 <= first < math.inf:
        raise ValueError(f"first must be a finite number of at least 0, not {first!r}")


def _inverse(density, count, first):
    """Where the integral of the density reaches i / count of its total, (count,)."""
    size = density.size
    density = _higher(_FLOOR, density)[1:]
    if size == 1 or count == 0:
        return jnp.zeros(count, density.dtype)
    if first > 0:  # what lies between the cell before the first, -1, and the first
        density = jnp.concatenate([jnp.full_like(density, first * size / count, shape=(1,)), density])
    integral = jnp.cumsum(density)
    wanted = jnp.arange(count, dtype=density.dtype) / count * integral[-1]
    cell = _search(lax.stop_gradient(integral), lax.stop_gradient(wanted))
    # Rounding may put the integral's steps, where the density is all but zero, out of order with the density.
    back = clamp((_entries(integral, cell) - wanted) / _entries(density, cell), 0, 1)
    return (cell + (size - density.size)).astype(back.dtype) - back


# Compiled, so that outside jit a second call finds the program of the first.
@jax.jit
def _search(rising, wanted):
    """The index of the first entry that is not below the wanted one, or of the last entry.

    `jnp.searchsorted` does not run where maps are sharded over an explicit mesh.
    """
    return lax.platform_dependent(rising, wanted, tpu=_count_below, default=_halve)


def _count_below(rising, wanted):
    below = jnp.sum(rising[None] < wanted[:, None], axis=-1, dtype=jnp.int32)
    return jnp.minimum(below, rising.size - 1)


def _halve(rising, wanted):
    def halve(_, bounds):
        low, high = bounds
        middle = (low + high) // 2
        below = take(rising, middle) < wanted
        return jnp.where(below, jnp.minimum(middle + 1, high), low), jnp.where(below, high, middle)

    low = jnp.zeros_like(wanted, jnp.int32)
    return lax.fori_loop(0, rising.size.bit_length(), halve, (low, low + (rising.size - 1)))[0]


@jax.jit
def _entries(line, index):
    """Entries of a line; on a TPU by comparisons, since it gathers slowly."""
    return lax.platform_dependent(line, index, tpu=_entries_by_comparison, default=take)


def _entries_by_comparison(line, index):
    position = lax.broadcasted_iota(index.dtype, (index.size, line.size), 1)
    return jnp.sum(jnp.where(position == index[:, None], line[None], 0), axis=-1)
