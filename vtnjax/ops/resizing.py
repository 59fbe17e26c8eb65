"""Bilinear resizing."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from vtnjax._arrays import check_floating, check_not_empty, check_rank, check_sizes, widest
from vtnjax.ops.sampling import sample_separable


def resize(
    image: Float[ArrayLike, "h w c"], shape: Sequence[int], *, align_corners: bool = True
) -> Float[Array, "h2 w2 c"]:
    """Resize an image, read bilinearly along its lines.

    Every output pixel reads four input pixels at most, as PyTorch's `interpolate` does without antialiasing: an image
    that is made much smaller skips pixels.

    Convention:
        Direction: output to input; the output's pixels read at even distances over the whole image.
        Origin and order: pixel 0 is the centre of the first pixel; shapes are (height, width), x right, y down.
        Outside: a place beyond a border pixel's centre, half a pixel at most, reads that border pixel.

    Args:
        image: (h, w, c), floating.
        shape: (h', w') of the output.
        align_corners: whether the centres (True) or the outer edges (False) of the border pixels stay the border. With
            True an axis of one output pixel reads the middle, where PyTorch reads the first pixel.

    Returns:
        (h', w', c) in the image's dtype.

    Raises:
        ValueError: if the image is not floating, not (h, w, c) or empty, or `shape` is not two whole numbers.

    Examples:
        >>> row = jnp.array([[[0.0], [12.0]]])
        >>> ops.resize(row, (1, 4)).round(2).tolist()
        [[[0.0], [4.0], [8.0], [12.0]]]
        >>> ops.resize(row, (1, 4), align_corners=False).tolist()  # a quarter of a pixel outside: the border
        [[[0.0], [3.0], [9.0], [12.0]]]
    """
    image = jnp.asarray(image)
    check_floating("image", image)
    check_rank("image", image, "h w c")
    check_not_empty("image", image)
    dtype = widest(image.dtype, jnp.float32)
    sizes = zip(image.shape[:2], check_sizes("shape", shape, (2,)), strict=True)
    y, x = (_line(old, new, dtype, align_corners) for old, new in sizes)
    return sample_separable(image, x, y, padding="border")


def _line(old, new, dtype, align_corners):
    step = (old - 1) / max(new - 1, 1) if align_corners else old / max(new, 1)
    from_middle = jnp.arange(new, dtype=dtype) - (new - 1) / 2
    return (old - 1) / 2 + from_middle * step
