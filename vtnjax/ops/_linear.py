"""Linear interpolation on 2-D and 3-D maps, with the derivatives written so that XLA runs them fast.

Along an axis a coordinate x reads the taps `base` and `base + 1` with weights (w0, w1). With zero padding the weights
are hat functions of the distance to the two taps, so the taps can stay inside the map wherever x is, and what lies
outside, or is not a number, weighs nothing: no padded copy, no mask.

What follows from measurements (benchmarks/sampling.py) on a CPU:
- one gather per corner at a shared base index, fused with the lerp, is the fastest forward pass;
- the slopes of all axes are interleaved by `where`, since a concatenation is compiled to a branch per element, and
  contracted with the cotangent by an einsum, since a reduction fused with its gathers runs scalar;
- the image's gradient is a scatter-add of contiguous rows: of the channels where there are several, of the corners
  of a cell where there is one.
"""

import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Float

from vtnjax.ops._padding import fold

# Below this many channels a scatter-add of whole cells beats one of single corners: benchmarks/sampling.py.
_FEW_CHANNELS = 4


def linear(
    image: Float[Array, "..."], coords: Float[Array, "*points g n"], padding: str
) -> Float[Array, "*points g c"]:
    """Sample an image of n spatial axes, (*sizes, g, c), at pixel coordinates whose last axis runs x, y(, z).

    Group j reads with the coordinates `coords[..., j, :]`. Arithmetic is in the coordinates' dtype, the result has the
    image's.
    """
    sizes = image.shape[:-2]
    if min(sizes) == 1:  # two taps need two pixels; the second weighs as much as padding would
        mode = "constant" if padding == "zeros" else "edge"
        image = jnp.pad(image, [(0, int(s == 1)) for s in sizes] + [(0, 0), (0, 0)], mode=mode)
    return _linear(image, coords, padding, sizes)


def _linear_value(image, coords, padding, sizes):
    base, weights = _base(coords, padding, sizes), _weights(coords, padding, sizes)
    total = 0
    for corner, offset in _corners(image.shape):
        weight = math.prod(w[bit] for w, bit in zip(weights, corner, strict=True))
        total = total + _gather(image, base + offset).astype(coords.dtype) * weight[..., None]
    return total.astype(image.dtype)


_linear = jax.custom_jvp(_linear_value, nondiff_argnums=(2, 3))


@partial(_linear.defjvp, symbolic_zeros=True)
def _linear_jvp(padding, sizes, primals, tangents):
    (image, coords), (dimage, dcoords) = primals, tangents
    tangent = jnp.zeros((*coords.shape[:-1], image.shape[-1]), coords.dtype)
    if not isinstance(dimage, SymbolicZero):
        tangent = _spread(dimage.astype(coords.dtype), coords, padding, sizes)
    if not isinstance(dcoords, SymbolicZero):
        tangent = tangent + _contract(_slopes(image, coords, padding, sizes), dcoords)
    return _linear(image, coords, padding, sizes), tangent.astype(image.dtype)


def _spread(image, coords, padding, sizes):
    """The same samples, written so that the transpose, a scatter-add, writes contiguous rows."""
    base, weights = _base(coords, padding, sizes), _weights(coords, padding, sizes)
    corners, offsets = zip(*_corners(image.shape), strict=True)
    last = (*[1] * base.ndim, len(corners))
    bits = [np.reshape(bit, last) == 1 for bit in zip(*corners, strict=True)]
    weight = math.prod(
        jnp.where(bit, w1[..., None], w0[..., None]) for bit, (w0, w1) in zip(bits, weights, strict=True)
    )
    if image.shape[-1] < _FEW_CHANNELS:
        rows = _gather(_cells(image), base)  # (*points, g, corners * c)
        values = rows.reshape(*rows.shape[:-1], len(corners), image.shape[-1])
    else:
        values = _gather(
            image, base[..., None] + np.reshape(np.array(offsets, np.int32), last)
        )  # (*points, g, corners, c)
    return jnp.sum(values * weight[..., None], axis=-2)


def _cells(image):
    """Each pixel's row holds the pixel and its neighbours at the other corners of the cell: (*sizes, g, corners * c)."""
    n = image.ndim - 2
    padded = jnp.pad(image, [(0, 1)] * n + [(0, 0), (0, 0)])
    window = image.shape[:-2]
    shifts = [corner[::-1] for corner, _ in _corners(image.shape)]
    return jnp.concatenate([lax.slice(padded, (*s, 0, 0), (*np.add(s, window), *image.shape[-2:])) for s in shifts], -1)


def _slopes(image, coords, padding, sizes):
    """Derivatives of the samples by each coordinate: (*points, g, n, c)."""
    n = coords.shape[-1]
    base, weights, steps = (
        _base(coords, padding, sizes),
        _weights(coords, padding, sizes),
        _steps(coords, padding, sizes),
    )
    slopes = [0] * n
    for corner, offset in _corners(image.shape):
        value = _gather(image, base + offset).astype(coords.dtype)
        for k in range(n):
            factors = [(steps if axis == k else weights)[axis][bit] for axis, bit in enumerate(corner)]
            slopes[k] = slopes[k] + value * math.prod(factors)[..., None]
    if image.shape[-1] > 1:
        return jnp.stack(slopes, axis=-2)
    axis = lax.broadcasted_iota(jnp.int32, coords.shape, coords.ndim - 1)
    interleaved = slopes[0]
    for k in range(1, n):
        interleaved = jnp.where(axis == k, slopes[k], interleaved)
    return interleaved[..., None]


def _contract(slopes, dcoords):
    if slopes.shape[-1] == 1:
        return jnp.sum(slopes[..., 0] * dcoords, axis=-1, keepdims=True)
    return jnp.einsum("...nc,...n->...c", slopes, dcoords, precision=lax.Precision.HIGHEST)


def _corners(shape: tuple[int, ...]) -> list[tuple[tuple[int, ...], int]]:
    """The corners of a cell as bits in the order x, y(, z), with the distance of each in the flattened map."""
    *sizes, groups, _ = shape
    strides = [groups * math.prod(sizes[axis + 1 :]) for axis in reversed(range(len(sizes)))]
    return [
        (bits, sum(b * s for b, s in zip(bits, strides, strict=True)))
        for bits in itertools.product((0, 1), repeat=len(sizes))
    ]


def _gather(image, index):
    # The bases were clamped to the map, which no checker can see: say so, and XLA drops its own clamping.
    return image.reshape(-1, image.shape[-1]).at[index].get(mode="promise_in_bounds")


def _base(coords, padding, sizes):
    """The flat index of every cell's first corner, its group folded in: (*points, g)."""
    flat = 0
    for axis, size in enumerate(sizes):
        x = coords[..., len(sizes) - 1 - axis]
        flat = flat * max(size, 2) + tap(x, size, padding)[0].astype(jnp.int32)
    groups = coords.shape[-2]
    return flat * groups + lax.broadcasted_iota(jnp.int32, flat.shape, flat.ndim - 1)


def _weights(coords, padding, sizes):
    return [axis_weights(coords[..., k], size, padding) for k, size in enumerate(reversed(sizes))]


def _steps(coords, padding, sizes):
    return [axis_steps(coords[..., k], size, padding) for k, size in enumerate(reversed(sizes))]


def tap(x, size, padding):
    """The first of the two taps, as a float; the distance from it; the direction in which x moves there."""
    inside, sign = fold(x, size, padding)
    first = jnp.where(sign < 0, jnp.ceil(inside) - 1, jnp.floor(inside))
    first = jnp.where(first > 0, first, 0)  # also where it is not a number
    first = jnp.where(first < max(size, 2) - 2, first, max(size, 2) - 2)
    return first, inside - first, sign


@partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def axis_weights(x, size, padding):
    _, t, _ = tap(x, size, padding)
    return _hat(t), _hat(t - 1)


@axis_weights.defjvp
def axis_weights_jvp(size, padding, primals, tangents):
    (x,), (dx,) = primals, tangents
    w0, w1 = axis_steps(x, size, padding)
    return axis_weights(x, size, padding), (w0 * dx, w1 * dx)


def axis_steps(x, size, padding):
    """Derivatives of the two weights to the right."""
    _, t, sign = tap(x, size, padding)
    if padding == "zeros":
        return _hat_step(t), _hat_step(t - 1)
    return -sign, sign


def _hat(t):
    height = 1 - jnp.abs(t)
    return jnp.where(height > 0, height, 0)


def _hat_step(t):
    return jnp.where((t >= -1) & (t < 0), 1, jnp.where((t >= 0) & (t < 1), -1, 0)).astype(t.dtype)
