"""A warp whose x depends on the column alone and y on the row alone: one-dimensional lerps or matrix products."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from vtnjax.ops._apart import apart
from vtnjax.ops._gather import take
from vtnjax.ops._linear import axis_cells, axis_moves, axis_truths, axis_weights, cell_slopes, tap
from vtnjax.ops._matmul import hat_matrix
from vtnjax.ops._padding import extend
from vtnjax.ops._taps import contract


# Compiled, so that outside jit a second call finds the program of the first.
@partial(jax.jit, static_argnums=3)
def separable_auto(image, x, y, padding):
    """The products on a TPU and the lerps elsewhere."""
    lerp, matmul = (partial(backend, padding=padding) for backend in (separable_lerp, separable_matmul))
    return lax.platform_dependent(image, x, y, tpu=matmul, default=lerp)


def separable_lerp(image, x, y, padding):
    """Two passes of gathers and lerps, (h, w, c) at y (h',) and x (w',): (h', w', c)."""
    return _lerp(extend(image, 2, padding), x, y, padding, image.shape[:2])


def separable_matmul(image, x, y, padding):
    """Two products with matrices of hat functions; x and y are of one dtype."""
    h, w, _ = image.shape
    rows, columns = hat_matrix(y, h, padding), hat_matrix(x, w, padding)
    exact = lax.Precision.HIGHEST
    half = jnp.einsum("ah,hwc->awc", rows, image.astype(x.dtype), precision=exact)
    return jnp.einsum("bw,awc->abc", columns, half, precision=exact).astype(image.dtype)


def _value(image, x, y, padding, sizes):
    h, w = sizes
    rows = _pass(image.astype(y.dtype), y, 0, h, padding)
    return _pass(rows, x, 1, w, padding).astype(image.dtype)


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
        channels = image.shape[-1]
        lines = _cells(x, (sizes[1], padding, channels), 1), _cells(y, (sizes[0], padding, channels), 0)
        cells = zip(*lines, strict=True)
        tangent = tangent + contract(cell_slopes(image[:, :, None], *cells), _grid(dx, dy))[:, :, 0]
    return _lerp(image, x, y, padding, sizes), tangent.astype(image.dtype)


def _grid(x, y):
    """All pairs, (h', w', 1, 2)."""
    pairs = jnp.broadcast_arrays(x[None, :, None], y[:, None, None])
    return jnp.stack(pairs, axis=-1)


def _cells(x, options, axis):
    """The results of `axis_cells` for a line, to be broadcast along an axis of (h', w', 1)."""
    return jax.tree.map(lambda line: _along(line, axis), apart(axis_cells, options, x))


def _along(line, axis):
    """A line as an array of three axes, to be broadcast along the other two."""
    return line.reshape([len(line) if k == axis else 1 for k in range(3)])


def _pass(image, x, axis, size, padding):
    """Sum the two taps along an axis."""
    low, high = (
        jnp.where(_along(reads, axis), take(image, index, axis=axis), 0) * _along(weights, axis)
        for index, weights, reads in _taps(x, size, padding, axis_truths)
    )
    return low + high


def _taps(x, size, padding, truths):
    """Of each of the two taps the pixels, the weights and whether they count."""
    # Apart, so that a line's are not computed anew for each pixel.
    return apart(_line_taps, (size, padding, truths), x)


def _line_taps(x, size, padding, truths):
    first = tap(x, size, padding)[0].astype(jnp.int32)
    return list(zip((first, first + 1), axis_weights(x, size, padding), truths(x, size, padding), strict=True))


def _spread(image, x, y, padding, sizes):
    """The samples of `_value`, both taps in one gather, so that the transpose is one scatter-add of whole rows."""
    h, w = sizes
    rows, columns, c = image.shape
    half = _spread_rows(image.reshape(rows, columns * c), y, h, padding)
    half = jnp.swapaxes(half.reshape(len(y), columns, c), 0, 1)
    out = _spread_rows(half.reshape(columns, len(y) * c), x, w, padding)
    return jnp.swapaxes(out.reshape(len(x), len(y), c), 0, 1)


def _spread_rows(rows, y, size, padding):
    both = zip(*_taps(y, size, padding, axis_moves), strict=True)
    index, weights, reads = (jnp.stack(pair, axis=-1) for pair in both)
    taps = jnp.where(reads[..., None], take(rows, index), 0)  # (h', 2, m)
    return jnp.sum(taps * weights[..., None], axis=1)
