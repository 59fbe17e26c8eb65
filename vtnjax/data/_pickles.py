"""Pickles as they are published. One can run any program when it is read; here every class is refused."""

import pickle
from pathlib import Path
from typing import Any


def read_plain(path: Path, *, origin: str) -> Any:
    """What a pickle of lists, dictionaries, texts and numbers holds.

    Args:
        path: The file.
        origin: The remedy in the sentences of errors: which file it must be.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no whole pickle, or holds a class.
    """
    with path.open("rb") as file:
        try:
            return _WithoutClasses(file).load()
        except Exception as error:  # a damaged pickle raises whatever its bytes happen to mean
            raise ValueError(f"{path} cannot be read ({error}): {origin}") from error


class _WithoutClasses(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        raise pickle.UnpicklingError(f"it holds {module_name}.{global_name}, and no class is read")
