"""Linear interpolation on 2-D and 3-D maps, with the derivatives written so that XLA runs them fast.

Along an axis a coordinate x reads the taps `base` and `base + 1` with weights (w0, w1). With zero padding the weights
are hat functions of the distance to the two taps, so the taps can stay inside the map wherever x is, and what lies
outside, or is not a number, weighs nothing: no padded copy is needed. A tap that x does not have is masked all the
same, since a NaN times 0 is a NaN.

Measurements (benchmarks/sampling.py) on a CPU decided the rest:
- one gather per corner, fused with the lerp, is the fastest forward pass;
- the slopes of all axes are stacked and contracted with the cotangent by an einsum, since a reduction fused with its
  gathers runs scalar, but on a GPU, where `contract` fuses them; with few channels they are stacked by `where`, since a
  concatenation is compiled to a branch for every row;
- the image's gradient is a scatter-add of contiguous rows: of the channels where there are several, of the corners of
  a cell where there are few; with one channel the slopes read the same rows.
"""

import itertools
import math
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from vtnjax.ops._apart import apart, read_apart
from vtnjax.ops._gather import flat_index, take, take_pixels
from vtnjax.ops._padding import extend, fold
from vtnjax.ops._taps import FEW_CHANNELS, UNROLLED_CHANNELS, contract, interpolate, product, read, slopes


def linear(
    image: Float[Array, "*sizes g c"], coords: Float[Array, "*points g n"], padding: str
) -> Float[Array, "*points g c"]:
    """Sample an image of n spatial axes at pixel coordinates whose last axis runs x, y(, z).

    Group j reads with the coordinates `coords[..., j, :]`. Arithmetic is in the coordinates' dtype, the result has the
    image's.
    """
    sizes = image.shape[:-2]
    return _linear(extend(image, len(sizes), padding), coords, padding, sizes)


def _value(image, coords, padding, sizes):
    # Compiled into a loss or a pooling that reads the samples, the loops no longer vectorise and are ten times slower.
    # Compiled into what merges groups and channels, the gathers of several groups lose sight of their contiguous rows.
    keep = apart if _reads_rows(image) else read_apart
    return keep(_sum, (padding, sizes), image, coords)


def _sum(image, coords, padding, sizes):
    base = _base(image, coords, padding, sizes)
    few = 1 < image.shape[-1] <= UNROLLED_CHANNELS
    reads = _each_axis(axis_bits if few else axis_truths, coords, padding, sizes)
    weights = _each_axis(axis_weights, coords, padding, sizes)
    values = [value.astype(coords.dtype) for value in _corner_values(image, base)]
    return interpolate(values, weights, reads).astype(image.dtype)


_linear = jax.custom_jvp(_value, nondiff_argnums=(2, 3))


@partial(_linear.defjvp, symbolic_zeros=True)
def _linear_jvp(padding, sizes, primals, tangents):
    (image, coords), (dimage, dcoords) = primals, tangents
    tangent = jnp.zeros((*coords.shape[:-1], image.shape[-1]), coords.dtype)
    if not isinstance(dimage, SymbolicZero):
        # In the coordinates' dtype, so that the transpose adds up in it and not in bfloat16.
        tangent = _spread(dimage.astype(coords.dtype), coords, padding, sizes)
    if not isinstance(dcoords, SymbolicZero):
        cells = zip(*_each_axis(partial(axis_cells, channels=image.shape[-1]), coords, padding, sizes), strict=True)
        tangent = tangent + contract(cell_slopes(image, *cells), dcoords)
    return _linear(image, coords, padding, sizes), tangent.astype(image.dtype)


def _spread(image, coords, padding, sizes):
    """The samples of `_value`, written so that the transpose, a scatter-add, writes contiguous rows."""
    base = _base(image, coords, padding, sizes)
    corners, offsets = zip(*_corners(image.shape), strict=True)
    last = (*[1] * base.ndim, len(corners))
    bits = [np.reshape(bit, last) == 1 for bit in zip(*corners, strict=True)]
    weights, reads = (
        [
            jnp.where(bit, second[..., None], first[..., None])
            for bit, (first, second) in zip(bits, _each_axis(function, coords, padding, sizes), strict=True)
        ]
        for function in (axis_weights, axis_moves)
    )
    few = image.shape[-1] < FEW_CHANNELS
    values = (_read_few if few else _read_corners)(image, base, offsets)
    return jnp.sum(read(values, *reads) * product(weights)[..., None], axis=-2)


def _read_corners(image, base, offsets):
    """The corners of each cell, (*points, g, corners, c), each read by itself."""
    return take_pixels(image, base[..., None] + np.array(offsets, np.int32).reshape(*[1] * base.ndim, len(offsets)))


def _read_cells(image, base, offsets):
    """The corners of each cell, (*points, g, corners, c), read as one row of them."""
    return take_pixels(_cells(image), base).reshape(*base.shape, len(offsets), image.shape[-1])


# Compiled, so that outside jit a second call finds the program of the first.
@partial(jax.jit, static_argnums=2)
def _read_few(image, base, offsets):
    """The corners of each cell where there are few channels.

    Written as rows of whole cells on a CPU; a GPU adds single corners, by atomic additions, 1.7 times as fast.
    """
    by_corner, by_cell = partial(_read_corners, offsets=offsets), partial(_read_cells, offsets=offsets)
    return lax.platform_dependent(image, base, cuda=by_corner, default=by_cell)


def _cells(image):
    """Each pixel's row holds it and its neighbours at the cell's other corners: (*sizes, g, corners * c)."""
    sizes = image.shape[:-2]
    padded = jnp.pad(image, [(0, 1)] * len(sizes) + [(0, 0), (0, 0)])
    shifts = [corner[::-1] for corner, _ in _corners(image.shape)]
    ends = [(*(i + size for i, size in zip(shift, sizes, strict=True)), *image.shape[-2:]) for shift in shifts]
    return jnp.concatenate([lax.slice(padded, (*i, 0, 0), end) for i, end in zip(shifts, ends, strict=True)], axis=-1)


def cell_slopes(image, firsts, weights, steps, reads):
    """Derivatives (*points, g, c) of the samples by x, y(, z), of what `axis_cells` gives for each."""
    base = flat_index(firsts[::-1], image)
    corners = _cell_values(image, base) if image.shape[-1] == 1 else _corner_values(image, base)
    values = (value.astype(weights[0][0].dtype) for value in corners)
    return slopes(values, weights, steps, reads)


def _corner_values(image, base) -> Iterator[Array]:
    """The values (*points, g, c) at each corner of the cells."""
    offsets = [offset for _, offset in _corners(image.shape)]
    # Rows of several groups are read fastest at one index that the corners share, from tables that begin at a corner.
    shared = _reads_rows(image)
    size, reach = math.prod(image.shape[:-1]), offsets[-1]
    table = image.reshape(size, image.shape[-1])
    for offset in offsets:
        # No cell's first corner lies in the last row or column, so a table may end `reach` rows early.
        yield take(table[offset : offset + size - reach], base) if shared else take(table, base + offset)


def _reads_rows(image) -> bool:
    """Whether several groups are read, each a row of more than a few channels."""
    return image.shape[-2] > 1 and image.shape[-1] >= FEW_CHANNELS


def _cell_values(image, base) -> Iterator[Array]:
    """The values (*points, g, 1) at each corner of the cells of one channel, read as a row for each cell."""
    values = take_pixels(_cells(image), base)  # (*points, g, corners)
    for number in range(values.shape[-1]):
        yield values[..., number, None]


def _corners(shape: tuple[int, ...]) -> list[tuple[tuple[int, ...], int]]:
    """The corners of a cell as bits in the order x, y(, z), with the distance of each in the flattened map."""
    *sizes, groups, _ = shape
    strides = [groups * math.prod(sizes[axis + 1 :]) for axis in reversed(range(len(sizes)))]
    corners = itertools.product((0, 1), repeat=len(sizes))
    return [(bits, sum(bit * stride for bit, stride in zip(bits, strides, strict=True))) for bits in corners]


def _base(image, coords, padding, sizes):
    """The flat index of every cell's first corner: (*points, g)."""
    firsts = _each_axis(lambda *a: tap(*a)[0].astype(jnp.int32), coords, padding, sizes)
    return flat_index(firsts[::-1], image)


def _each_axis(function, coords, padding, sizes):
    """The function's results for x, y(, z)."""
    return [function(coords[..., k], size, padding) for k, size in enumerate(reversed(sizes))]


def tap(x, size, padding):
    """The first of the two taps, as a float; the distance from it; the direction in which x moves there."""
    inside, sign = fold(x, size, padding)
    first = jnp.where(sign < 0, jnp.ceil(inside) - 1, jnp.floor(inside))
    first = jnp.where(first > 0, first, 0)  # also where it is not a number
    last = size - 1 if padding == "wrap" else max(size, 2) - 2
    first = jnp.where(first < last, first, last)
    return first, inside - first, sign


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def axis_weights(x, size, padding):
    """The weights of the two taps."""
    _, t, _ = tap(x, size, padding)
    return _hat(t), _hat(t - 1)


@axis_weights.defjvp
def _axis_weights_jvp(size, padding, primals, tangents):
    (x,), (dx,) = primals, tangents
    w0, w1 = axis_steps(x, size, padding)
    return axis_weights(x, size, padding), (w0 * dx, w1 * dx)


def axis_steps(x, size, padding):
    """Derivatives of the two weights to the right."""
    _, t, sign = tap(x, size, padding)
    if padding == "zeros":
        return _hat_step(t, -1), _hat_step(t, 0)
    return -sign, sign


def axis_truths(x, size, padding):
    """Whether the two taps are read at all: whether they are the floor of x or the pixel after it.

    A tap that is read counts even with weight 0, as in PyTorch: a NaN in it makes the sample NaN. In a mirrored copy a
    whole coordinate reads its own pixel alone.
    """
    _, t, _ = tap(x, size, padding)
    return (t >= -1) & (t < 1), (t >= 0) & (t < 2)


def axis_moves(x, size, padding):
    """`axis_truths`, where a tap that weighs nothing but would a little further on counts as read."""
    _, _, sign = tap(x, size, padding)
    first, second = axis_truths(x, size, padding)
    # A pixel is the end of its cell in a mirrored copy, and just left of the image where wrapping rounds to it.
    return (first, second) if padding == "zeros" else (first | (sign != 0), second)


def axis_bits(x, size, padding):
    """`axis_truths` as whole numbers with all bits set or none, by arithmetic that LLVM does not see through."""
    _, t, _ = tap(x, size, padding)
    floor = jnp.floor(jnp.where(jnp.abs(t) < 4, t, 9)).astype(jnp.int32)
    # The sign of each is minus unless the floor is one of two numbers: -1 and 0, or 0 and 1.
    signs = (floor + 1) | -floor, floor | (1 - floor)
    first, second = (lax.shift_right_logical(sign, jnp.int32(31)) - 1 for sign in signs)
    return first, second


def axis_cells(x, size, padding, channels):
    """Where the cell to the right begins, the weights of its two taps, their derivatives, whether they are read."""
    first, _, sign = tap(x, size, padding)
    if channels == 1:
        reads = axis_moves(x, size, padding)
    else:
        reads = axis_bits(x, size, padding)
        if padding != "zeros":
            reads = reads[0] | -(sign != 0).astype(jnp.int32), reads[1]
    return first.astype(jnp.int32), axis_weights(x, size, padding), axis_steps(x, size, padding), reads


def _hat(t):
    height = 1 - jnp.abs(t)
    return jnp.where(height > 0, height, 0)


def _hat_step(t, start):
    """The slope at t of a hat that rises from `start`; the comparisons are exact where a difference would round."""
    rising, falling = (t >= start) & (t < start + 1), (t >= start + 1) & (t < start + 2)
    return rising.astype(t.dtype) - falling.astype(t.dtype)
