"""Errors in a sentence, for every room: which argument, what it must be, what it was."""

import difflib
import math
import numbers
from collections.abc import Iterable


def nearest(word: object, words: Iterable[str]) -> str:
    """A hint at the nearest of `words`, or nothing."""
    near = difflib.get_close_matches(str(word), list(words), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_positive(name: str, value: float) -> None:
    """Raise a ValueError unless a number is above 0 and finite."""
    if not (isinstance(value, numbers.Real) and 0 < value < math.inf):
        raise ValueError(f"{name} must be above 0 and finite, not {value!r}")


def check_at_least_0(name: str, value: float) -> None:
    """Raise a ValueError unless a number is at least 0 and finite."""
    if not (isinstance(value, numbers.Real) and 0 <= value < math.inf):
        raise ValueError(f"{name} must be at least 0 and finite, not {value!r}")
