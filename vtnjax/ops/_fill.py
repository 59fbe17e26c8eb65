"""A number other than 0 for what lies outside the image, where padding is "zeros"."""

import functools
import numbers
import operator
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from vtnjax.ops._cubic import axis_taps
from vtnjax.ops._linear import axis_weights
from vtnjax.ops._nearest import axis_pixel
from vtnjax.ops._taps import product


def as_fill(fill: ArrayLike, channels: int, padding: str) -> jax.Array | None:
    """`fill` as an array of one number or one for each channel, or None if it is 0."""
    if isinstance(fill, numbers.Real) and fill == 0:
        return None
    try:
        fill = jnp.asarray(fill)
    except (TypeError, ValueError):
        raise ValueError(f"fill must be a number or one for each channel, not {fill!r}") from None
    if padding != "zeros":
        raise ValueError(f"fill must be 0 with padding={padding!r}, not {fill!r}: only 'zeros' has anything outside")
    if not (jnp.issubdtype(fill.dtype, jnp.floating) or jnp.issubdtype(fill.dtype, jnp.integer)):
        raise ValueError(f"fill must be a real number or one for each channel, but its dtype is {fill.dtype}")
    if fill.shape not in ((), (channels,)):
        wanted = f"a number or one for each of the {channels} channels"
        raise ValueError(f"fill must be {wanted}, but its shape is {fill.shape}")
    return fill


def filled(
    samples: Float[Array, "*points c"], outside: Float[Array, "*points"], fill: jax.Array
) -> Float[Array, "*points c"]:
    """Add `fill`, times the weight that lies outside, to samples in which everything outside counts 0."""
    outside = outside[..., None]
    fill = fill.astype(samples.dtype).reshape(*[1] * (samples.ndim - fill.ndim), *fill.shape)
    # No fill, not even NaN, is seen where all that is read lies on the map; a finite one has a slope there.
    nothing = (outside == 0) & ~jnp.isfinite(fill)
    return samples + jnp.where(nothing, 0, outside * jnp.where(nothing, 0, fill))


def outside_weight(lines: Sequence[Float[Array, "..."]], sizes: Sequence[int], method: str) -> Float[Array, "..."]:
    """The part of a sample's weight that lies outside; its coordinates x, y(, z) are broadcast.

    A coordinate that is no number reads nothing, neither image nor fill.
    """
    parts = [_COVERED[method](x, size) for x, size in zip(lines, sizes, strict=True)]
    unknown = functools.reduce(operator.or_, map(jnp.isnan, lines))
    return jnp.where(unknown, 0, 1 - product(parts))


def _bilinear(x, size):
    first, second = axis_weights(x, size, "zeros")
    # On the map the two sum up to exactly 1, however they were rounded. Of one pixel the second is none.
    return first if size == 1 else first + second


def _nearest(x, size):
    return axis_pixel(x, size, "zeros")[1].astype(x.dtype)


def _bicubic(x, size):
    _, weights, counts = axis_taps(x, size, "zeros")
    covered = functools.reduce(operator.add, [jnp.where(*pair, 0) for pair in zip(counts, weights, strict=True)])
    return jnp.where(functools.reduce(operator.and_, counts), 1, covered)


_COVERED = {"bilinear": _bilinear, "nearest": _nearest, "bicubic": _bicubic}
