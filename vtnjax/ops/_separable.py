"""Linear interpolation along one axis, the two passes of a separable warp."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from vtnjax.ops._linear import axis_steps, axis_weights, tap


def lerp_rows(image, y, padding):
    """Read an image (h, w, c) at rows y (h',), in pixels: (h', w, c)."""
    size = image.shape[0]
    if size == 1:
        image = jnp.pad(image, ((0, 1), (0, 0), (0, 0)), mode="constant" if padding == "zeros" else "edge")
    return _lerp(image, y, padding, size)


def hat_matrix(x, size, padding):
    """The matrix (len(x), size) of the weights with which x reads a line of pixels."""
    first, _, _ = tap(x, size, padding)
    w0, w1 = axis_weights(x, size, padding)
    column = jnp.arange(size, dtype=x.dtype)[None]
    first = first[:, None]
    return jnp.where(column == first, w0[:, None], 0) + jnp.where(column == first + 1, w1[:, None], 0)


def _value(image, y, padding, size):
    above, below = _two_rows(image, y, padding, size)
    w0, w1 = (w[:, None, None] for w in axis_weights(y, size, padding))
    return (above.astype(y.dtype) * w0 + below.astype(y.dtype) * w1).astype(image.dtype)


_lerp = jax.custom_jvp(_value, nondiff_argnums=(2, 3))


@partial(_lerp.defjvp, symbolic_zeros=True)
def _lerp_jvp(padding, size, primals, tangents):
    (image, y), (dimage, dy) = primals, tangents
    tangent = jnp.zeros((len(y), *image.shape[1:]), y.dtype)
    if not isinstance(dimage, SymbolicZero):
        # In the coordinates' dtype throughout, so that the transpose adds up in it.
        tangent = _value(dimage.astype(y.dtype), y, padding, size)
    if not isinstance(dy, SymbolicZero):
        above, below = _two_rows(image, y, padding, size)
        s0, s1 = (s[:, None, None] for s in axis_steps(y, size, padding))
        slopes = above.astype(y.dtype) * s0 + below.astype(y.dtype) * s1
        tangent = tangent + jnp.einsum("hwc,h->hwc", slopes, dy)
    return _lerp(image, y, padding, size), tangent.astype(image.dtype)


def _two_rows(image, y, padding, size):
    first = tap(y, size, padding)[0].astype(jnp.int32)
    take = image.at
    return take[first].get(mode="promise_in_bounds"), take[first + 1].get(mode="promise_in_bounds")
