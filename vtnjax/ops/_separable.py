"""A warp whose x depends on the column alone and y on the row alone: one-dimensional lerps or matrix products."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from vtnjax.ops._gather import take
from vtnjax.ops._linear import axis_weights, contract, slopes_of, tap


def separable_lerp(image, x, y, padding):
    """Two passes of gathers and lerps, (h, w, c) at y (h',) and x (w',): (h', w', c)."""
    h, w, _ = image.shape
    mode = "constant" if padding == "zeros" else "edge"
    image = jnp.pad(image, ((0, int(h == 1)), (0, int(w == 1)), (0, 0)), mode=mode)
    return _lerp(image, x, y, padding, (h, w))


def separable_matmul(image, x, y, padding):
    """Two products with matrices of hat functions; x and y are of one dtype."""
    h, w, _ = image.shape
    rows, columns = _hat_matrix(y, h, padding), _hat_matrix(x, w, padding)
    exact = lax.Precision.HIGHEST
    half = jnp.einsum("ah,hwc->awc", rows, image.astype(x.dtype), precision=exact)
    return jnp.einsum("bw,awc->abc", columns, half, precision=exact).astype(image.dtype)


def _hat_matrix(x, size, padding):
    """The matrix (len(x), size) of the weights with which x reads a line of pixels."""
    first = tap(x, size, padding)[0][:, None]
    w0, w1 = axis_weights(x, size, padding)
    column = jnp.arange(size, dtype=x.dtype)[None]
    return jnp.where(column == first, w0[:, None], 0) + jnp.where(column == first + 1, w1[:, None], 0)


def _value(image, x, y, padding, sizes):
    h, w = sizes
    rows = _pass(image.astype(y.dtype), y, axis_weights(y, h, padding), 0, h, padding)
    return _pass(rows, x, axis_weights(x, w, padding), 1, w, padding).astype(image.dtype)


_lerp = jax.custom_jvp(_value, nondiff_argnums=(3, 4))


@partial(_lerp.defjvp, symbolic_zeros=True)
def _lerp_jvp(padding, sizes, primals, tangents):
    image, x, y = primals
    dimage, dx, dy = tangents
    tangent = jnp.zeros((len(y), len(x), image.shape[-1]), y.dtype)
    if not isinstance(dimage, SymbolicZero):
        tangent = _spread(dimage.astype(y.dtype), x, y, padding, sizes)
    if not (isinstance(dx, SymbolicZero) and isinstance(dy, SymbolicZero)):
        dx, dy = (jnp.zeros(d.shape, y.dtype) if isinstance(d, SymbolicZero) else d for d in (dx, dy))
        # On the dense grid: its slopes contract with a cotangent before they are summed along the lines.
        slopes = slopes_of(image[:, :, None], _grid(x, y), padding, sizes)
        tangent = tangent + contract(slopes, _grid(dx, dy))[:, :, 0]
    return _lerp(image, x, y, padding, sizes), tangent.astype(image.dtype)


def _grid(x, y):
    """All pairs, (h', w', 1, 2)."""
    pairs = jnp.broadcast_arrays(x[None, :, None], y[:, None, None])
    return jnp.stack(pairs, axis=-1)


def _pass(image, x, weights, axis, size, padding):
    """Sum the two taps along an axis with the given weights."""
    first = tap(x, size, padding)[0].astype(jnp.int32)
    shape = [1, 1, 1]
    shape[axis] = len(x)
    low, high = (take(image, first + i, axis=axis) * weights[i].reshape(shape) for i in (0, 1))
    return low + high


def _spread(image, x, y, padding, sizes):
    """The same samples, both taps in one gather, so that the transpose is one scatter-add of whole rows."""
    (h, w), (_, _, c) = sizes, image.shape
    half = _spread_rows(image.reshape(image.shape[0], -1), y, h, padding)  # (h', w c)
    columns = jnp.swapaxes(half.reshape(len(y), -1, c), 0, 1)  # (w, h', c)
    out = _spread_rows(columns.reshape(columns.shape[0], -1), x, w, padding)
    return jnp.swapaxes(out.reshape(len(x), len(y), c), 0, 1)


def _spread_rows(rows, y, size, padding):
    first = tap(y, size, padding)[0].astype(jnp.int32)
    taps = take(rows, jnp.stack([first, first + 1], axis=-1))  # (h', 2, m)
    weights = jnp.stack(axis_weights(y, size, padding), axis=-1)
    return jnp.sum(taps * weights[..., None], axis=1)
