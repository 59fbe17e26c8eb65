"""Where a coordinate outside the map reads: torch's `zeros`, `border` and `reflection`, and `wrap`, along one axis."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

# Reflection about the outer pixel edges instead of the border pixels' centres: torch's meaning of
# "reflection" where align_corners is False. Only grid_sample asks for it.
EDGE_REFLECTION = "edge reflection"


def fold(x: Float[Array, "*n"], size: int, padding: str) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """Bring a pixel coordinate into the map, as `padding` says.

    Returns the coordinate in [0, size - 1] (unchanged with zeros; up to `size`, which is pixel 0 again, with wrap) and
    the slope dx'/dx towards the right: 1, -1 in a mirrored copy, 0 where the coordinate is stuck at the border. NaN
    stays NaN with slope 0.
    """
    if padding == "zeros":
        return x, jnp.ones_like(x)
    if padding == "border":
        return _clamp(x, size), jnp.where((x >= 0) & (x < size - 1), 1, 0).astype(x.dtype)
    # Past 1 / eps neighbouring floats are more than a pixel apart: no sub-pixel position is left to repeat.
    lost = ~(jnp.abs(x) < 1 / np.finfo(x.dtype).eps)
    inside, slope = (_wrap if padding == "wrap" else _reflect)(jnp.where(lost, 0, x), size, padding)
    return jnp.where(lost, _clamp(x, size), inside), jnp.where(lost, 0, slope)


def fold_index(index: Int[Array, "*n"], size: int, padding: str) -> Int[Array, "*n"]:
    """The pixel that stands at an integer position near the map: clipped, mirrored once per period, or repeated."""
    if padding in ("zeros", "border"):
        return jnp.clip(index, 0, size - 1)
    phase = jnp.mod(index, period(size, padding))
    if padding == "wrap":
        return phase
    last = 2 * size - 1 if padding == EDGE_REFLECTION else 2 * (size - 1)
    return jnp.minimum(phase, last - phase)


def period(size: int, padding: str) -> int:
    """After how many pixels what is mirrored or repeated begins again."""
    if padding == "wrap":
        return size
    return 2 * size if padding == EDGE_REFLECTION else max(2 * (size - 1), 1)


def extend(image: Shaped[Array, "..."], axes: int, padding: str) -> Shaped[Array, "..."]:
    """The image with a second pixel on each of its first axes that has one, and with wrap the first pixel once more.

    Two taps need two pixels, and with wrap the last one's neighbour is the first.
    """
    ends = [(0, int(size == 1 or padding == "wrap")) for size in image.shape[:axes]]
    if ends == [(0, 0)] * axes:
        return image
    mode = {"zeros": "constant", "wrap": "wrap"}.get(padding, "edge")
    return jnp.pad(image, ends + [(0, 0)] * (image.ndim - axes), mode=mode)


def _wrap(x, size, _):
    return jnp.mod(x, size), jnp.ones_like(x)


def _reflect(x, size, padding):
    offset = 0.5 if padding == EDGE_REFLECTION else 0.0
    span = size - 1 + 2 * offset
    if span == 0:
        return jnp.zeros_like(x), jnp.zeros_like(x)
    phase = jnp.mod(x + offset, 2 * span)  # in [0, 2 span], which rounding may reach
    mirrored = phase >= span
    inside = jnp.where(mirrored, 2 * span - phase, phase) - offset
    slope = jnp.where(mirrored, -1, 1).astype(x.dtype)
    if not offset:
        return inside, slope
    stuck = (inside < 0) | (inside > size - 1) | jnp.where(mirrored, inside <= 0, inside >= size - 1)
    stuck |= (x < 0) & (x > -1)  # also where adding the offset rounds to pixel 0
    return _clamp(inside, size), jnp.where(stuck, 0, slope)


def _clamp(x: Float[Array, "*n"], size: int) -> Float[Array, "*n"]:
    # Not jnp.clip: its gradient halves at a tie, and the border pixels' centres are ties.
    return jnp.where(x < 0, 0, jnp.where(x >= size - 1, size - 1, x)).astype(x.dtype)
