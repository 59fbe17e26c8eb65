"""Gathers whose indices are known to lie inside, also where the coordinates are sharded over an explicit mesh."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, PartitionSpec
from jaxtyping import Array, Int, Shaped

_MOST_ROWS = 2**31 - 1


def take(array: Shaped[Array, "..."], index: Int[Array, "..."], *, axis: int = 0) -> Shaped[Array, "..."]:
    """Entries of an array along one axis; the index's axes stand in its place."""
    before, after = [None] * axis, [None] * (array.ndim - axis - 1)
    sharding = None
    if AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types:
        # One image read at sharded coordinates: JAX asks how the result lies, which is as the coordinates do.
        sharding = PartitionSpec(*before, *jax.typeof(index).sharding.spec, *after)
    # No checker can see that the index was clamped: promised, JAX and XLA drop their own mending of it.
    at = array.at[(*[slice(None)] * axis, index)]
    return at.get(mode="promise_in_bounds", wrap_negative_indices=False, out_sharding=sharding)


def take_pixels(image: Shaped[Array, "*sizes g c"], index: Int[Array, "*points"]) -> Shaped[Array, "*points c"]:
    """Pixels of an image by the flat index that `flat_index` makes."""
    *rows, channels = image.shape  # not -1 for the rows, which no channels would leave open
    return take(image.reshape(math.prod(rows), channels), index)


def flat_index(pixels: Sequence[Int[Array, "..."]], image: Shaped[Array, "*sizes g c"]) -> Int[Array, "... g"]:
    """One index of a pixel's row in the flattened image, of its index along each axis, rows first, and its group.

    The indices are broadcast; their last axis is that of the groups.

    Raises:
        ValueError: if the image has more such rows than 32 bits can count.
    """
    if (count := math.prod(image.shape[:-1])) > _MOST_ROWS:
        raise ValueError(
            f"image or volume must have at most {_MOST_ROWS} pixels, which are counted in 32 bits, not {count}, where "
            "an axis of one pixel counts as two and each group of channels has pixels of its own"
        )
    flat = jnp.zeros((), jnp.int32)
    for size, pixel in zip(image.shape, pixels, strict=False):
        flat = flat * size + pixel
    group = lax.broadcasted_iota(jnp.int32, flat.shape, pixels[0].ndim - 1)
    return flat * image.shape[-2] + group
