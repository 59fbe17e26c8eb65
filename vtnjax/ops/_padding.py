"""Where a coordinate outside the map reads: torch's `zeros`, `border` and `reflection`, along one axis."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

PADDINGS = ("zeros", "border", "reflection")
# Reflection about the outer pixel edges instead of the border pixels' centres: torch's meaning of
# "reflection" where align_corners is False. Only grid_sample asks for it.
EDGE_REFLECTION = "edge reflection"


def fold(x: Float[Array, "*n"], size: int, padding: str) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """Bring a pixel coordinate into the map, as `padding` says.

    Returns the coordinate in [0, size - 1] (unchanged with zeros) and the slope dx'/dx towards the right: 1, -1 in a
    mirrored copy, 0 where the coordinate is stuck at the border. NaN stays NaN with slope 0.
    """
    if padding == "zeros":
        return x, jnp.ones_like(x)
    if padding == "border":
        return _clamp(x, size), jnp.where((x >= 0) & (x < size - 1), 1, 0).astype(x.dtype)
    offset = 0.5 if padding == EDGE_REFLECTION else 0.0
    span = size - 1 + 2 * offset
    # Past 1 / eps neighbouring floats are more than a pixel apart: no sub-pixel position is left to reflect.
    lost = ~(jnp.abs(x) < 1 / np.finfo(x.dtype).eps)
    if span == 0:
        return jnp.where(jnp.isnan(x), x, 0), jnp.zeros_like(x)
    phase = jnp.mod(jnp.where(lost, 0, x) + offset, 2 * span)  # in [0, 2 span)
    mirrored = phase >= span
    inside = jnp.where(mirrored, 2 * span - phase, phase) - offset
    slope = jnp.where(mirrored, -1, 1).astype(x.dtype)
    stuck = lost | (inside < 0) | (inside > size - 1) | jnp.where(mirrored, inside <= 0, inside >= size - 1)
    return _clamp(jnp.where(lost, x, inside), size), jnp.where(stuck, 0, slope)


def wrap_index(index: Int[Array, "*n"], size: int, padding: str) -> Int[Array, "*n"]:
    """The pixel that stands at an integer position near the map: clipped, or mirrored once per period."""
    if padding in ("zeros", "border") or size == 1:
        return jnp.clip(index, 0, size - 1)
    if padding == EDGE_REFLECTION:
        phase = jnp.mod(index, 2 * size)
        return jnp.minimum(phase, 2 * size - 1 - phase)
    phase = jnp.mod(index, 2 * size - 2)
    return jnp.minimum(phase, 2 * size - 2 - phase)


def _clamp(x: Float[Array, "*n"], size: int) -> Float[Array, "*n"]:
    # Not jnp.clip: its gradient halves at a tie, and the border pixels' centres are ties.
    return jnp.where(x < 0, 0, jnp.where(x >= size - 1, size - 1, x)).astype(x.dtype)
