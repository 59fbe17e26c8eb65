"""Checks of what a caller gives, each ending in a sentence."""

from typing import Any

import numpy as np


def check_rows(name: str, values: Any, *, size: int | None = None) -> np.ndarray:
    """The array of `values`, or a ValueError unless it is (n, d), real floating point and finite.

    Args:
        name: of the argument.
        values: what was given.
        size: what d must be.
    """
    values = np.asarray(values)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(f"{name} must have the shape (n, d), one a row, but its shape is {values.shape}")
    if not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"{name} must be floating point, but its dtype is {values.dtype}; convert it first")
    if size is not None and values.shape[1] != size:
        raise ValueError(f"{name} must have {size} numbers a row, not {values.shape[1]}")
    strange = np.flatnonzero(~np.isfinite(values).all(1))
    if strange.size:
        raise ValueError(f"{name} must be finite, but row {strange[0]} is not")
    return values


def check_indices(name: str, indices: Any, count: int, of: str) -> np.ndarray:
    """The array of `indices`, or a ValueError unless it is (n,) whole numbers of 0..count - 1."""
    indices = np.asarray(indices)
    if indices.ndim != 1 or not (np.issubdtype(indices.dtype, np.integer) or indices.size == 0):
        raise ValueError(
            f"{name} must be a list of whole numbers, but its shape is {indices.shape} and its dtype {indices.dtype}"
        )
    indices = indices.astype(np.int64)
    strange = indices[(indices < 0) | (indices >= count)]
    if strange.size:
        raise ValueError(f"{name} must be indices of the {count} {of}, but has {strange[0]}")
    return indices
