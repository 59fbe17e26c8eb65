"""Pictures that cannot be read: named, counted, and left out if wanted."""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np
from tqdm import tqdm

from vtnjax.data.decode import decode_image
from vtnjax.data.records import Source

ON_ERROR = ("raise", "skip")  # what is done with a picture that cannot be read
_NAMED = 10
_CHUNK = 64
_logger = logging.getLogger(__name__)


class Pictures(Source, Protocol):
    """A source whose records are picture files."""

    def path(self, index: int) -> Path:
        """The file of a record."""
        ...


def read_picture(path: Path, *, remedy: str, channels: int = 3) -> np.ndarray:
    """Reads and decodes a file.

    Args:
        path: The file.
        remedy: The end of the error's sentence: what the owner of the file can do.
        channels: The number of channels, 3 for RGB or 1 for grey.

    Returns:
        uint8 (h, w, channels).

    Raises:
        ValueError: If there is no such file, it is a folder or a link to nothing, or it is no whole picture.
    """
    try:
        return decode_image(path.read_bytes(), channels=channels)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({_reason(error)}){remedy}") from error


def check_source(source: Source) -> list[tuple[str, str]]:
    """Reads every record once, with a progress bar on a terminal, and lists those that cannot be read.

    Args:
        source: The source to read, of any kind.

    Returns:
        For each such record, in their order, the name of its file, or its number where the source has no files, and
        the reason.
    """
    return [(_name(source, index), reason) for index, reason in _unreadable(source).items()]


def without_unreadable(source: Pictures) -> tuple[np.ndarray, tuple[Path, ...]]:
    """Reads every record once and logs a warning that counts and names those that cannot be read.

    Args:
        source: A source of picture files.

    Returns:
        int (n,), the indices of the records that can be read, and the files of the others.

    Raises:
        ValueError: If no record can be read.
    """
    reasons = _unreadable(source)
    bad, count = tuple(source.path(index) for index in reasons), len(source)
    if bad:
        _logger.warning("Skipped %d of %d files that do not decode: %s", len(bad), count, listed(bad))
    if len(bad) == count:
        raise ValueError(f"{source!r} must have a readable picture, but none of {count} is, the first {bad[0]}")
    return np.array([index for index in range(count) if index not in reasons]), bad


def listed(names: Sequence[object]) -> str:
    """The first ten names, and how many more there are."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(str, names[:_NAMED])) + more


def _unreadable(source: Source) -> dict[int, str]:
    """Why each record that cannot be read cannot, by its index."""

    def reasons(start: int) -> dict[int, str]:
        found = {}
        for index in range(start, min(start + _CHUNK, len(source))):
            try:
                source[index]
            except (ValueError, OSError) as error:
                found[index] = _reason(error.__cause__ or error)
        return found

    bad: dict[int, str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool, tqdm(total=len(source), unit=" pictures", disable=None) as bar:
        for found in pool.map(reasons, range(0, len(source), _CHUNK)):
            bad |= found
            bar.update(min(_CHUNK, len(source) - bar.n))
    return bad


def _reason(error: BaseException) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)


def _name(source: Source, index: int) -> str:
    path = getattr(source, "path", None)
    return str(path(index)) if path else f"record {index}"
