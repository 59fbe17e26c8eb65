"""The lists of published sets, read with care: what contradicts itself is refused by its file and its key."""

import codecs
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def read_text(path: Path, *, origin: str) -> list[str]:
    """The lines of a set's list that are not blank.

    Args:
        path: The list: UTF-8, or with the mark that some editors put before it UTF-16 too; any ends of lines.
        origin: What to unpack where and where it is published.

    Returns:
        The lines, stripped.

    Raises:
        ValueError: If the file is no such text, or empty.
        FileNotFoundError: If there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path.name} in {path.parent}: {origin}.")
    data = path.read_bytes()
    is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text ({error}): {origin}.") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise ValueError(f"{path} has no line: {origin}.")
    return lines


def read_pairs(path: Path, *, origin: str) -> dict[str, str]:
    """A list of a key and what belongs to it, a line each.

    Args:
        path: The list.
        origin: What to unpack where and where it is published.

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
            raise ValueError(f"{path} has the line {line!r}, but each must hold a key and a value: {origin}.")
    keyed = dict(pairs)
    if len(keyed) < len(pairs):
        raise ValueError(
            f"The key {repeated(key for key, _ in pairs)!r} comes twice, so that {path} names {len(pairs)} keys, but "
            f"only {len(keyed)} different ones: {origin}."
        )
    return keyed


def repeated(values: Iterable[Any]) -> Any:
    """The first value that came before, or None."""
    seen = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None


def check_once(values: Iterable[Any], deed: str, *, origin: str) -> None:
    """Checks that no value comes twice.

    Args:
        values: What a list names.
        deed: The list and what it does, such as "images.txt names the picture".
        origin: What to unpack where and where it is published.

    Raises:
        ValueError: If a value comes twice, naming it.
    """
    twice = repeated(values)
    if twice is not None:
        raise ValueError(f"{deed} {twice!r} twice: {origin}.")


def check_files(root: Path, names: Sequence[str], *, origin: str) -> None:
    """Checks that every file is there, by one listing a folder.

    Asking for each of half a million files by itself takes minutes on a network's disk.

    Args:
        root: The folder the names are relative to.
        names: The files, with `/`.
        origin: What to unpack where and where it is published.

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
            f"{len(missing)} of {len(names)} pictures are missing in {root}, the first {missing[0]}: {origin}."
        )


def four_numbers(
    rows: Mapping[str, str], keys: Sequence[str], path: Path, *, fields: str, origin: str
) -> list[tuple[float, float, float, float]]:
    """The boxes of a list, as it writes them.

    Args:
        rows: What the list has for each key.
        keys: The pictures whose boxes are wanted.
        path: The list.
        fields: What the four numbers are, such as "x y width height".
        origin: What to unpack where and where it is published.

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
                f"{path} gives image {key} the box {row!r}, but it must be four numbers, {fields}: {origin}."
            ) from error
        found.append((first, second, third, fourth))
    return found


def as_boxes(rows: npt.ArrayLike, keys: Sequence[str], path: Path, *, origin: str) -> np.ndarray:
    """Rows of four numbers as boxes.

    Args:
        rows: Left, top, right and bottom edge of each.
        keys: What the list calls each picture.
        path: Where they were read.
        origin: What to unpack where and where it is published.

    Returns:
        float32 (n, 4).

    Raises:
        ValueError: If a box has no area or holds what is no finite number.
    """
    boxes = np.asarray(rows, np.float32).reshape(-1, 4)
    whole = np.isfinite(boxes).all(1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    if not whole.all():
        first = int(np.argmin(whole))
        raise ValueError(
            f"{path} gives {keys[first]!r} the box {boxes[first].tolist()} (left, top, right, bottom), but left must "
            f"be less than right and top less than bottom, all finite: {origin}."
        )
    return boxes
