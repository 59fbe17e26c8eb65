"""Tables of names: a part of a config is a dictionary whose `name` stands for an entry of a table."""

from collections.abc import Mapping
from typing import Any, TypeVar

from vtnjax._checks import check_choice
from vtnjax.train.config import Config

T = TypeVar("T")


def look_up(key: str, part: Config, table: Mapping[str, T]) -> tuple[T, dict[str, Any]]:
    """The entry that `config.KEY.name` stands for, and the other values of `config.KEY`, which are its options.

    Raises:
        ValueError: if it is no dictionary, or its name is missing or not in the table, naming the nearest that is.
    """
    options = part.to_dict() if hasattr(part, "to_dict") else part
    if not isinstance(options, Mapping):
        raise ValueError(f"config.{key} must be a dictionary with a name, not {part!r}")
    options = dict(options)
    name = options.pop("name", None)
    check_choice(f"config.{key}.name", name, tuple(table))
    return table[name], options
