"""Errors in a sentence, for every room: which argument, what it must be, what it was."""

import contextlib
import difflib
import math
import numbers
from collections.abc import Iterable, Iterator, Sequence


def nearest(word: object, words: Iterable[str]) -> str:
    """A hint at the nearest of `words`, or nothing."""
    near = difflib.get_close_matches(str(word), list(words), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise a ValueError unless `value` is one of `choices`, naming the nearest."""
    if value in choices:
        return
    raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}{nearest(value, choices)}")


def check_positive(name: str, value: float) -> None:
    """Raise a ValueError unless a number is above 0 and finite."""
    if not (isinstance(value, numbers.Real) and 0 < value < math.inf):
        raise ValueError(f"{name} must be above 0 and finite, not {value!r}")


def check_at_least_0(name: str, value: float) -> None:
    """Raise a ValueError unless a number is at least 0 and finite."""
    if not (isinstance(value, numbers.Real) and 0 <= value < math.inf):
        raise ValueError(f"{name} must be at least 0 and finite, not {value!r}")


def check_at_least_1(name: str, value: int) -> None:
    """Raise a ValueError unless a number is whole and at least 1."""
    if not (isinstance(value, numbers.Integral) and value >= 1):
        raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}")


@contextlib.contextmanager
def needing(extra: str, *, room: str) -> Iterator[None]:
    """Around the imports of a room: where another project's module is missing, say which extra brings it.

    Args:
        extra: the name of the extra in pyproject.toml.
        room: the `__name__` of the room.

    Raises:
        ModuleNotFoundError: if a module is missing; its cause says which.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "vtnjax":
            raise
        sentence = f'{room} needs the extra "{extra}": pip install "vtnjax[{extra}]"'
        raise ModuleNotFoundError(sentence, name=error.name) from error
