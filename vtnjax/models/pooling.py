"""Pooling of squares of pixels that do not overlap, by strided slices, and of regions of any size, by products.

The gradient of a slice is several times faster on a CPU than that of a reshape, which explicit sharding refuses
besides, or of `nnx.max_pool`.
"""

import functools
import itertools
import operator

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from vtnjax._arrays import maximum, widest


def average_pool(x: Float[Array, "n *sizes c"], size: int) -> Float[Array, "n *smaller c"]:
    """Means of squares of `size` pixels, or cubes of voxels; what fills none at an axis' end is left out.

    The dtype is that of `x`; the sums are float32 at least.
    """
    exact = x if x.dtype.itemsize > 2 else x.astype(jnp.float32)
    return (functools.reduce(operator.add, _shifted(exact, size)) / size ** (x.ndim - 2)).astype(x.dtype)


def max_pool(x: Float[Array, "n *sizes c"], size: int, *, ceil: bool = False) -> Float[Array, "n *smaller c"]:
    """Maxima of squares of `size` pixels, or cubes of voxels.

    What fills none at an axis' end is left out, or with `ceil` has a maximum of its own, as in PyTorch's `ceil_mode`.
    Equal maxima share the gradient, not evenly.
    """
    if ceil:
        ends = [(0, -n % size) for n in x.shape[1:-1]]
        x = jnp.pad(x, [(0, 0), *ends, (0, 0)], constant_values=-jnp.inf)
    return functools.reduce(maximum, _shifted(x, size))


def region_means(x: Float[Array, "n h w c"], regions: int) -> Float[Array, "n regions regions c"]:
    """Means of `regions` x `regions` rectangles, at least float32; they share pixels where they are no whole pixels.

    These are PyTorch's `adaptive_avg_pool2d`: the i-th of n goes from the floor of i h / n to the ceiling of
    (i + 1) h / n.
    """
    x = x.astype(widest(x.dtype, jnp.float32))
    rows, columns = (jnp.asarray(_shares(size, regions), x.dtype) for size in x.shape[1:3])
    return jnp.einsum("nhwc,ih,jw->nijc", x, rows, columns, precision=lax.Precision.HIGHEST)


def _shares(size, regions):
    """What each of `size` pixels adds to the mean of each region, (regions, size)."""
    first = np.arange(regions) * size // regions
    end = -(-(np.arange(regions) + 1) * size // regions)
    pixels = np.arange(size)
    inside = (first[:, None] <= pixels) & (pixels < end[:, None])
    return inside / inside.sum(1, keepdims=True)


def _shifted(x, size):
    """The pixels at each place in their square: `size`^d arrays (n, *smaller, c)."""
    ends = [n // size * size for n in x.shape[1:-1]]
    for place in itertools.product(range(size), repeat=len(ends)):
        yield x[:, *(slice(i, end, size) for i, end in zip(place, ends, strict=True))]
