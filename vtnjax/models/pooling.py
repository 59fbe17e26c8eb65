"""Pooling of squares of pixels that do not overlap, by strided slices.

The gradient of a slice is several times faster on a CPU than that of a reshape, which explicit sharding refuses
besides, or of `nnx.max_pool`.
"""

import functools
import itertools
import operator

import jax.numpy as jnp
from jaxtyping import Array, Float

from vtnjax._arrays import maximum


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


def _shifted(x, size):
    """The pixels at each place in their square: `size`^d arrays (n, *smaller, c)."""
    ends = [n // size * size for n in x.shape[1:-1]]
    for place in itertools.product(range(size), repeat=len(ends)):
        yield x[:, *(slice(i, end, size) for i, end in zip(place, ends, strict=True))]
