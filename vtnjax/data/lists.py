"""The lists of published sets, read with care: what contradicts itself is refused by its file and its key."""

import codecs
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def lacking(folder: Path, file: str, origin: str) -> FileNotFoundError:
    """The error of a folder that lacks a file, with what its owner can do about it."""
    return FileNotFoundError(f"{folder} must hold {file}, but there is none: {origin}")


def read_text(path: Path, *, origin: str) -> list[str]:
    """The lines of a set's list that are not blank.

    Args:
        path: The list: UTF-8, or with the mark that some editors put before it UTF-16 too; any ends of lines.
        origin: The remedy: what to unpack where, and where it is published.

    Returns:
        The lines, stripped.

    Raises:
        ValueError: If the file is no such text, or empty.
        FileNotFoundError: If there is no such file.
    """
    if not path.is_file():
        raise lacking(path.parent, path.name, origin)
    data = path.read_bytes()
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be UTF-8 text, but cannot be read ({error}): {origin}") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path} must have at least one line, not none: {origin}")
    return lines


def read_pairs(path: Path, *, origin: str) -> dict[str, str]:
    """A list of a key and what belongs to it, a line each.

    Args:
        path: The list.
        origin: The remedy: what to unpack where, and where it is published.

    Returns:
        The rest of each line by its first word, in the order of the lines.

    Raises:
        ValueError: If a line is one word, or two have the same key.
        FileNotFoundError: If there is no such file.
    """
    lines = read_text(path, origin=origin)
    pairs = [line.split(maxsplit=1) for line in lines]
    for line, pair in zip(lines, pairs, strict=True):
        if len(pair) < 2:
            raise ValueError(f"{path}: each line must hold a key and a value, not {line!r}: {origin}")
    check_once((key for key, _ in pairs), path, "key", origin=origin)
    return dict(pairs)


def check_once(values: Iterable[Any], path: Path, what: str, *, origin: str) -> None:
    """Checks that no value comes twice.

    Args:
        values: The values that the list names.
        path: The list.
        what: The kind of thing that a value names, such as "picture".
        origin: The remedy: what to unpack where, and where it is published.

    Raises:
        ValueError: If a value comes twice, naming it.
    """
    seen = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{path}: each {what} must come once, but {value!r} comes twice: {origin}")
        seen.add(value)


def check_files(root: Path, names: Sequence[str], *, origin: str) -> None:
    """Checks that every file is there, by one listing a folder.

    Asking for each of half a million files by itself takes minutes on a network's disk.

    Args:
        root: The folder the names are relative to.
        names: The files, with `/`.
        origin: The remedy: what to unpack where, and where it is published.

    Raises:
        FileNotFoundError: If some are missing, with their number and the first.
    """
    missing = []
    by_folder = sorted(map(os.path.split, names))
    for folder, files in itertools.groupby(by_folder, key=lambda pair: pair[0]):
        present = set(os.listdir(root / folder)) if (root / folder).is_dir() else set()
        missing += [os.path.join(folder, file) for _, file in files if file not in present]
    if missing:
        raise FileNotFoundError(
            f"{root} must hold all {len(names)} pictures, but {len(missing)} are missing, the first "
            f"{missing[0]}: {origin}"
        )


def four_numbers(
    rows: Mapping[str, str], keys: Sequence[str], path: Path, *, fields: str, origin: str
) -> list[tuple[float, float, float, float]]:
    """The boxes of a list, as it writes them.

    Args:
        rows: The text of the list for each key.
        keys: The pictures whose boxes are wanted.
        path: The list.
        fields: The names of the four numbers, such as "x y width height".
        origin: The remedy: what to unpack where, and where it is published.

    Raises:
        ValueError: If a key is missing, or has anything but four numbers.
    """
    found = []
    for key in keys:
        row = rows.get(key, "")
        try:
            first, second, third, fourth = map(float, row.split())
        except ValueError as error:
            raise ValueError(
                f"{path}: the box of image {key} must be four numbers, {fields}, not {row!r}: {origin}"
            ) from error
        found.append((first, second, third, fourth))
    return found


def as_boxes(rows: npt.ArrayLike, keys: Sequence[str], path: Path, *, origin: str) -> np.ndarray:
    """Rows of four numbers as boxes.

    Args:
        rows: The left, top, right and bottom edge of each box.
        keys: The list's name for each picture.
        path: The list that holds them.
        origin: The remedy: what to unpack where, and where it is published.

    Returns:
        float32 (n, 4).

    Raises:
        ValueError: If a box has no area or a number is not finite.
    """
    boxes = np.asarray(rows, np.float32).reshape(-1, 4)
    whole = np.isfinite(boxes).all(1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    if not whole.all():
        first = int(np.argmin(whole))
        raise ValueError(
            f"{path}: the box of {keys[first]!r} (left, top, right, bottom) must be finite, with left less than right "
            f"and top less than bottom, not {boxes[first].tolist()}: {origin}"
        )
    return boxes
