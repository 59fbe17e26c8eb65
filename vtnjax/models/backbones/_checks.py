"""Errors in a sentence: which argument, what it was, what it must be."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


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


def check_inside(image: jax.Array, inside: jax.Array | None) -> None:
    """Raise a ValueError unless `inside` is None or (n, h, w, 1) truth values of images (n, h, w, 3)."""
    if inside is not None and (inside.shape != (*image.shape[:3], 1) or inside.dtype != jnp.bool):
        raise ValueError(
            f"inside must be truth values of the shape {(*image.shape[:3], 1)}, not {inside.dtype} of {inside.shape}"
        )
