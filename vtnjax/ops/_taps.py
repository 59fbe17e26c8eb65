"""Weighted sums of the pixels around a sample, one axis after another, and their derivatives.

Along each axis, in the order x, y(, z), there are k taps, each with a weight, the derivative of that weight, and
whether it is read at all. `values` holds the k ** n pixels (*points, g, c) in row-major order, the last axis fastest.
A tap that is not read weighs nothing, whatever stands where the index was clamped to.
"""

import functools
import operator
from collections.abc import Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

# Below this many channels it is faster to interleave slopes, and to scatter whole cells instead of single pixels.
FEW_CHANNELS = 4

Axes = Sequence[Sequence[Array]]


def interpolate(values: list[Array], weights: Axes, reads: Axes) -> Float[Array, "*points g c"]:
    """The weighted sum. Not for differentiation: the derivative of a weight would see what is masked after it.

    Masked axis by axis: all at once, a pixel, takes a third longer on a CPU.
    """
    for weight, counts in zip(reversed(weights), reversed(reads), strict=True):
        values = [read(value, counts[i % len(counts)]) for i, value in enumerate(values)]
        values = _along(weight, values)
    return values[0]


def slopes(values: list[Array], weights: Axes, steps: Axes) -> list[Float[Array, "*points g c"]]:
    """The derivatives by x, y(, z), of pixels that `read` has masked."""
    partials = []
    for weight, step in zip(reversed(weights), reversed(steps), strict=True):
        partials = [_along(step, values), *(_along(weight, partial) for partial in partials)]
        values = _along(weight, values)
    return [partial for (partial,) in partials]


def stack(slopes: list[Float[Array, "*points g c"]]) -> Float[Array, "*points g n c"]:
    """One array of the slopes; of few channels interleaved, since their concatenation is a branch for every row."""
    if slopes[0].shape[-1] >= FEW_CHANNELS:
        return jnp.stack(slopes, axis=-2)
    shape = (*slopes[0].shape[:-1], len(slopes), slopes[0].shape[-1])
    axis = lax.broadcasted_iota(jnp.int32, shape, len(shape) - 2)
    interleaved = slopes[0][..., None, :]
    for k, slope in enumerate(slopes[1:], 1):
        interleaved = jnp.where(axis == k, slope[..., None, :], interleaved)
    return interleaved


def contract(
    slopes: Float[Array, "*points g n c"], dcoords: Float[Array, "*points g n"]
) -> Float[Array, "*points g c"]:
    """The tangent of the samples, of their slopes and the coordinates' tangents."""
    if slopes.shape[-1] == 1:
        return jnp.sum(slopes[..., 0] * dcoords, axis=-1, keepdims=True)
    return jnp.einsum("...nc,...n->...c", slopes, dcoords, precision=lax.Precision.HIGHEST)


def read(value: Float[Array, "*points c"], *counts: Bool[Array, "..."]) -> Float[Array, "*points c"]:
    """The pixels that count along every axis, and 0 for the others; `counts` are broadcast to the points."""
    return jnp.where(functools.reduce(operator.and_, counts)[..., None], value, 0)


def product(factors: Sequence[Array]) -> Array:
    """The product of at least one array."""
    return functools.reduce(operator.mul, factors)


def _along(weights, values):
    """Sum up the values along the last axis there is, k to one."""
    terms = [value * weights[i % len(weights)][..., None] for i, value in enumerate(values)]
    return [functools.reduce(operator.add, terms[i : i + len(weights)]) for i in range(0, len(terms), len(weights))]
