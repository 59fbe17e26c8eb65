"""Bilinear resizing in which the centres of the border pixels stay the border (`align_corners=True`)."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vtnjax.ops.coords import widest
from vtnjax.ops.sampling import sample_separable


def resize(image: Float[Array, "h w c"], shape: Sequence[int]) -> Float[Array, "h2 w2 c"]:
    """An image at another size, read along lines; an axis of one output pixel reads the middle."""
    dtype = widest(image.dtype, jnp.float32)
    y, x = (jnp.asarray(_line(old, new), dtype) for old, new in zip(image.shape[:2], shape, strict=True))
    return sample_separable(image, x, y, padding="border")


def _line(old: int, new: int) -> np.ndarray:
    return np.linspace(0, old - 1, new) if new > 1 else np.full(new, (old - 1) / 2)
