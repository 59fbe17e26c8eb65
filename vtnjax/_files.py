"""Arrays in a file, which is written whole or not at all."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def write_arrays(path: str | os.PathLike[str], arrays: dict[str, np.ndarray]) -> None:
    """Write the arrays as `.npz` to exactly this path, through a file beside it."""
    path = Path(path)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read_arrays(path: str | os.PathLike[str], names: Sequence[str], what: str) -> dict[str, np.ndarray]:
    """The arrays of these names, or a ValueError that says the file holds no `what`."""
    try:
        with Path(path).open("rb") as file, np.load(file) as found:
            return {name: found[name] for name in names}
    except (KeyError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"path must be a file of {what}, which {str(path)!r} is not") from error
