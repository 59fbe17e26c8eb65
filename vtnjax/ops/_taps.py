"""Weighted sums of the pixels around a sample, one axis after another, and their derivatives.

Along each axis, in the order x, y(, z), there are k taps, each with a weight, the derivative of that weight, and
whether it is read at all. `values` holds the k ** n pixels (*points, g, c) in row-major order, the last axis fastest.
A tap that is not read weighs nothing, whatever stands where the index was clamped to.
"""

import functools
import itertools
import operator
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Shaped

# Below this many channels it is faster to scatter whole cells than single pixels.
FEW_CHANNELS = 4
# Up to this many channels a loop over them is unrolled.
UNROLLED_CHANNELS = 16

Axes = Sequence[Sequence[Array]]


def interpolate(values: list[Array], weights: Axes, reads: Axes) -> Float[Array, "*points g c"]:
    """The weighted sum. Not for differentiation: the derivative of a weight would see what is masked after it."""
    if reads[0][0].dtype != bool:
        return _at_once(_read_all(values, reads), weights)
    # Axis by axis: masked all at once, a single channel takes a third longer.
    for weight, counts in zip(reversed(weights), reversed(reads), strict=True):
        values = [read(value, counts[i % len(counts)]) for i, value in enumerate(values)]
        values = _along(weight, values)
    return values[0]


def slopes(values: Iterable[Array], weights: Axes, steps: Axes, reads: Axes) -> list[Float[Array, "*points g c"]]:
    """The derivatives by x, y(, z)."""
    values = _read_all(values, reads)
    if values[0].shape[-1] > UNROLLED_CHANNELS:  # less to do for each channel
        return [_at_once(values, [*weights[:k], step, *weights[k + 1 :]]) for k, step in enumerate(steps)]
    partials = []
    for weight, step in zip(reversed(weights), reversed(steps), strict=True):
        partials = [_along(step, values), *(_along(weight, partial) for partial in partials)]
        values = _along(weight, values)
    return [partial for (partial,) in partials]


def contract(
    slopes: list[Float[Array, "*points g c"]], dcoords: Float[Array, "*points g n"]
) -> Float[Array, "*points g c"]:
    """The tangent of the samples, of their slopes by x, y(, z) and the coordinates' tangents.

    Its transpose sums over the channels. A CPU does that fastest as a product of matrices, of slopes that are kept; a
    GPU fuses plain products with what computes the slopes, and keeps none.
    """
    return _contract(dcoords, *slopes)


# Compiled, so that outside jit a second call finds the program of the first.
@jax.jit
def _contract(dcoords, *slopes):
    return lax.platform_dependent(dcoords, *slopes, cuda=_contract_one_by_one, default=_contract_stacked)


def _contract_one_by_one(dcoords, *slopes):
    return functools.reduce(operator.add, (slope * dcoords[..., k, None] for k, slope in enumerate(slopes)))


def _contract_stacked(dcoords, *slopes):
    stacked = _stack(slopes)
    if stacked.shape[-1] == 1:
        return jnp.sum(stacked[..., 0] * dcoords, axis=-1, keepdims=True)
    return jnp.einsum("...nc,...n->...c", stacked, dcoords, precision=lax.Precision.HIGHEST)


def _stack(slopes: Sequence[Float[Array, "*points g c"]]) -> Float[Array, "*points g n c"]:
    """One array of the slopes; of few channels interleaved, since their concatenation is a branch for every row."""
    if slopes[0].shape[-1] > UNROLLED_CHANNELS:
        return jnp.stack(slopes, axis=-2)
    shape = (*slopes[0].shape[:-1], len(slopes), slopes[0].shape[-1])
    axis = lax.broadcasted_iota(jnp.int32, shape, len(shape) - 2)
    interleaved = slopes[0][..., None, :]
    for k, slope in enumerate(slopes[1:], 1):
        interleaved = jnp.where(axis == k, slope[..., None, :], interleaved)
    return interleaved


def read(value: Float[Array, "*points c"], *counts: Shaped[Array, "..."]) -> Float[Array, "*points c"]:
    """The pixels that count along every axis, and 0 for the others.

    `counts` are broadcast to the points: truth values, or whole numbers with all bits set or none. On a CPU numbers
    are twice as fast with a few channels: LLVM moves a choice that all channels share out of the loop over them, which
    it then no longer unrolls.
    """
    every = functools.reduce(operator.and_, counts)[..., None]
    return jnp.where(every, value, 0) if every.dtype == bool else _masked(value, every)


def _read_all(values: Iterable[Array], reads: Axes) -> list[Array]:
    return [read(value, *counts) for value, counts in zip(values, itertools.product(*reads), strict=True)]


@jax.custom_jvp
def _masked(value, mask):
    bits = jnp.int64 if value.dtype == jnp.float64 else jnp.int32
    return lax.bitcast_convert_type(lax.bitcast_convert_type(value, bits) & mask.astype(bits), value.dtype)


@_masked.defjvp
def _masked_jvp(primals, tangents):
    value, mask = primals
    return _masked(value, mask), jnp.where(mask != 0, tangents[0], 0)


def product(factors: Sequence[Array]) -> Array:
    """The product of at least one array."""
    return functools.reduce(operator.mul, factors)


def _at_once(values, weights):
    """Sum up all values."""
    factors = [product(weight)[..., None] for weight in itertools.product(*weights)]
    return functools.reduce(operator.add, map(operator.mul, values, factors))


def _along(weights, values):
    """Sum up the values along the last axis there is, k to one."""
    terms = [value * weights[i % len(weights)][..., None] for i, value in enumerate(values)]
    return [functools.reduce(operator.add, terms[i : i + len(weights)]) for i in range(0, len(terms), len(weights))]
