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
        raise ValueError(f"image must have the shape (n, h, w, 3), but it is {image.shape}")
    h, w = image.shape[1:3]
    if min(h, w) < smallest:
        raise ValueError(f"image must be at least {smallest} x {smallest} pixels for this backbone, not {h} x {w}")
