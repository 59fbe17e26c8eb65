"""Errors in a sentence: which argument, what it was, what it must be."""

from collections.abc import Sequence

import jax


def check_stages(name: str, values: Sequence[int]) -> tuple[int, ...]:
    """Return `values` as a tuple of four whole numbers of at least 1, or raise a ValueError."""
    try:
        numbers = tuple(value.__index__() for value in values)
    except (TypeError, AttributeError):
        numbers = ()
    if len(numbers) != 4 or min(numbers) < 1:
        raise ValueError(f"{name} must be four whole numbers of at least 1, one for each stage, not {values!r}")
    return numbers


def check_image(image: jax.Array, *, smallest: int = 1) -> None:
    """Raise a ValueError unless the images are (n, h, w, 3) with sides of at least `smallest` pixels."""
    if image.ndim != 4 or image.shape[-1] != 3:
        raise ValueError(f"image must be a batch (n, h, w, 3) of colour images, but its shape is {image.shape}")
    if min(image.shape[1:3]) < smallest:
        raise ValueError(
            f"image must be at least {smallest} x {smallest} pixels for this backbone, but its shape is {image.shape}"
        )
