"""Bicubic interpolation: torch's convolution, with the derivatives written so that XLA runs them fast.

The sixteen pixels of a sample are read one by one, each read compiled into the sum: stacked, they would all be written
to memory and read again, six times as long on a CPU.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from vtnjax.ops._apart import apart, read_apart
from vtnjax.ops._gather import flat_index, take_pixels
from vtnjax.ops._padding import fold_index, period
from vtnjax.ops._taps import FEW_CHANNELS, contract, interpolate, read, slopes

_A = -0.75  # torch's and OpenCV's; SciPy's and Pillow's cubic kernels are others


def _value(image, coords, padding):
    return read_apart(_sum, (padding,), image, coords)  # as in `_linear.py`


def _sum(image, coords, padding):
    pixels, weights, reads = _axes(axis_taps, image, coords, padding)
    return interpolate(_values(image, pixels, coords.dtype), weights, reads).astype(image.dtype)


cubic = jax.custom_jvp(_value, nondiff_argnums=(2,))


@partial(cubic.defjvp, symbolic_zeros=True)
def _cubic_jvp(padding, primals, tangents):
    (image, coords), (dimage, dcoords) = primals, tangents
    tangent = jnp.zeros((*coords.shape[:-1], image.shape[-1]), coords.dtype)
    if not isinstance(dimage, SymbolicZero):
        # In the coordinates' dtype, so that the transpose adds up in it and not in bfloat16.
        tangent = _spread(dimage.astype(coords.dtype), coords, padding)
    if not isinstance(dcoords, SymbolicZero):
        # One by one, lest the pixels that they share are kept.
        slopes = [apart(_slope, (padding, axis), image, coords) for axis in (0, 1)]
        tangent = tangent + contract(slopes, dcoords)
    return cubic(image, coords, padding), tangent.astype(image.dtype)


def _spread(image, coords, padding):
    """The samples of `_value`, written so that the transpose is one scatter-add."""
    packed = image.shape[-1] < FEW_CHANNELS and padding in ("zeros", "border")
    # (*points, g, 4, 4, c), row-major in (y, x)
    values = (_read_rows if packed else _read_each)(image, coords, padding)
    _, weights, _ = _axes(axis_taps, image, coords, padding)
    x, y = (jnp.stack(axis, axis=-1) for axis in weights)
    return jnp.sum(values * (y[..., :, None] * x[..., None, :])[..., None], axis=(-3, -2))


def _read_each(image, coords, padding):
    pixels, _, reads = _axes(axis_taps, image, coords, padding)
    x, y = (jnp.stack(axis) for axis in pixels)
    index = jnp.moveaxis(flat_index([y[:, None], x[None]], image), (0, 1), (-2, -1))
    values = take_pixels(image, index)
    x, y = (jnp.stack(axis, axis=-1) for axis in reads)
    return read(values, y[..., :, None], x[..., None, :])


def _read_rows(image, coords, padding):
    """Four pixels at a time: each pixel's row in a padded image holds the next three too."""
    before, after = 4, 5  # as far out as taps can lie
    (x, y), _ = _axes(_cell, image, coords, padding)
    edges = [(before, after)] * 2 + [(0, 0)] * 2
    padded = jnp.pad(image, edges, mode="constant" if padding == "zeros" else "edge")
    width = padded.shape[1] - 3
    table = jnp.concatenate([lax.slice_in_dim(padded, k, k + width, axis=1) for k in range(4)], axis=-1)
    rows = [flat_index([y + (before + offset), x + (before - 1)], table) for offset in (-1, 0, 1, 2)]
    values = take_pixels(table, jnp.stack(rows, axis=-1)).reshape(*coords.shape[:-1], 4, 4, image.shape[-1])
    # With zeros, what is no number reads the padding already.
    return values if padding == "zeros" else read(values, ~jnp.isnan(coords).any(-1)[..., None, None])


def _slope(image, coords, padding, axis):
    """The derivative by x or y."""
    pixels, weights, reads = _axes(axis_taps, image, coords, padding)
    (steps,) = _axes(_axis_steps, image, coords, padding)
    return slopes(_values(image, pixels, coords.dtype), weights, steps, reads)[axis]


def _axes(function, image, coords, padding):
    """The function's results for x and y, each result a list of the two."""
    return zip(*(function(coords[..., k], image.shape[1 - k], padding) for k in (0, 1)), strict=True)


def _values(image, pixels, dtype):
    """The sixteen pixels of each sample, row-major in (x, y)."""
    x, y = pixels
    return [take_pixels(image, flat_index([j, i], image)).astype(dtype) for i, j in itertools.product(x, y)]


def axis_taps(x, size, padding):
    """Of the four taps along an axis the pixels, the weights, and whether they are read."""
    first, t = _cell(x, size, padding)
    pixels = [first + offset for offset in (-1, 0, 1, 2)]
    inside = [(pixel >= 0) & (pixel < size) if padding == "zeros" else ~jnp.isnan(x) for pixel in pixels]
    return [fold_index(pixel, size, padding) for pixel in pixels], _weights(t), inside


def _axis_steps(x, size, padding):
    """The derivatives of the weights."""

    def weights(x):
        return _weights(_cell(x, size, padding)[1])

    return (jax.jvp(weights, (x,), (jnp.ones_like(x),))[1],)


def _cell(x, size, padding):
    """The pixel to the left of x, or of its like near the map, and the way from it."""
    if padding in ("zeros", "border"):
        # All taps of a coordinate further out are padding: nothing varies there, and no integer overflows.
        far = ~((x >= -3) & (x < size + 2))
        anchor = jnp.where(x > 0, size + 2, -3).astype(x.dtype)
    else:
        far = ~(jnp.abs(x) < 1 / jnp.finfo(x.dtype).eps)
        anchor = jnp.where(x > 0, size - 1, 0).astype(x.dtype)
        # Where 32 bits would not hold it.
        x = jnp.where(jnp.abs(x) < 2**30, x, jnp.mod(x, period(size, padding)))
    nearby = jnp.where(far, anchor, x)
    first = jnp.floor(nearby)
    return first.astype(jnp.int32), nearby - first


def _weights(t):
    def near(d):  # |d| <= 1
        return ((_A + 2) * d - (_A + 3)) * d * d + 1

    def far(d):  # 1 <= |d| <= 2
        return ((_A * d - 5 * _A) * d + 8 * _A) * d - 4 * _A

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]
