"""Linear interpolation as products with matrices of hat functions, what a TPU does best: no gather, no scatter.

A point p weighs the columns of a map by hats X[p, w] and its rows by hats Y[p, h], so its sample is the sum of
Y[p, h] X[p, w] image[h, w]. Summed over columns first, that keeps (points, h, channels) between two products; with the
hats multiplied out first, (points, h, w). What is less is taken. The rows of a volume are those of all its slices.
"""

import math
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from vtnjax.ops._linear import axis_weights, linear, tap

# How many numbers "auto" lets the products keep between them for one example: 64 MiB in float32.
MOST_KEPT = 2**24


def matmul(
    image: Float[Array, "*sizes g c"], coords: Float[Array, "*points g n"], padding: str
) -> Float[Array, "*points g c"]:
    """What `linear` computes, for images without NaN and infinite pixels."""
    *sizes, groups, channels = image.shape
    width, rows = sizes[-1], math.prod(sizes[:-1])
    in_row, *others = (hat_matrix(coords[..., k], size, padding) for k, size in enumerate(reversed(sizes)))
    of_rows = reduce(_multiplied_out, reversed(others))
    pixels = image.astype(coords.dtype)
    if width < channels:
        pixels = pixels.reshape(rows * width, groups, channels)
        return _sum("...gp,pgc->...gc", _multiplied_out(of_rows, in_row), pixels).astype(image.dtype)
    half = _sum("...gw,hwgc->...hgc", in_row, pixels.reshape(rows, width, groups, channels))
    return _sum("...gh,...hgc->...gc", of_rows, half).astype(image.dtype)


def _sum(subscripts, weights, values):
    return jnp.einsum(subscripts, weights, values, precision=lax.Precision.HIGHEST)


def _multiplied_out(slow, fast):
    """Weights of all pairs, (..., m) by (..., n): (..., m * n)."""
    pairs = slow[..., :, None] * fast[..., None, :]
    return pairs.reshape(*slow.shape[:-1], slow.shape[-1] * fast.shape[-1])


def matmul_on_tpu(
    image: Float[Array, "*sizes g c"], coords: Float[Array, "*points g n"], padding: str
) -> Float[Array, "*points g c"]:
    """`matmul` on a TPU where it keeps little, and `linear` elsewhere."""
    return (_by_platform if _keeps_little(image, coords) else linear)(image, coords, padding)


# Compiled, so that outside jit a second call finds the program of the first.
@partial(jax.jit, static_argnums=2)
def _by_platform(image, coords, padding):
    products, gathers = (partial(read, padding=padding) for read in (matmul, linear))
    return lax.platform_dependent(image, coords, tpu=products, default=gathers)


def _keeps_little(image, coords) -> bool:
    """Whether the number of points is known and what lies between the products is at most `MOST_KEPT` numbers."""
    *sizes, _, channels = image.shape
    *points, _ = coords.shape
    if not all(isinstance(size, int) for size in points):  # exported for any number of points
        return False
    return math.prod(points) * math.prod(sizes[:-1]) * min(sizes[-1], channels) <= MOST_KEPT


def hat_matrix(x: Float[Array, "*n"], size: int, padding: str) -> Float[Array, "*n size"]:
    """The weights with which each x reads a line of pixels."""
    first = tap(x, size, padding)[0][..., None]
    second = jnp.where(first + 1 < size, first + 1, 0) if padding == "wrap" else first + 1
    w0, w1 = (weight[..., None] for weight in axis_weights(x, size, padding))
    pixel = lax.broadcasted_iota(x.dtype, (*x.shape, size), x.ndim)
    return jnp.where(pixel == first, w0, 0) + jnp.where(pixel == second, w1, 0)
