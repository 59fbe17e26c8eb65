"""Photographs of a published set, as its own lists name them."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vtnjax.data.decode import decode_image
from vtnjax.data.records import Record, check_labels


class Photographs:
    """A source of picture files and labels, read and decoded when asked for.

    Attributes:
        classes: The name of each label.
        labels: int32 (n,), in the order of the records.
        names: The files of the records, below the set's folder, with `/`.
    """

    def __init__(self, root: Path, names: Sequence[str], labels: np.ndarray, classes: tuple[str, ...], *, origin: str):
        """Checks that every file is there; none is opened.

        Args:
            root: The folder the names are relative to.
            names: The files of the records.
            labels: Integers (n,), from 0 to len(classes) - 1.
            classes: The name of each label.
            origin: What to unpack where and where it is published, for the sentences of errors.

        Raises:
            ValueError: If there is no record or a label is out of range.
            FileNotFoundError: If a file is missing.
        """
        if not names:
            raise ValueError(f"The lists of {root} name no picture of this split: {origin}.")
        try:
            check_labels(labels, classes)
        except ValueError as error:
            raise ValueError(f"The lists of {root} do not fit each other. {error} Remedy: {origin}.") from error
        _check_files(root, names, origin)
        self.names, self.labels, self.classes = tuple(names), labels.astype(np.int32), tuple(classes)
        self._root = root

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Record:
        path = self._root / self.names[index]
        try:
            image = decode_image(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path} cannot be read: unpack its archive again. {error}") from error
        return {"image": image, "label": int(self.labels[index])}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._root)!r}, records={len(self)}, classes={len(self.classes)})"


def find_root(data_dir: str | Path, inner: str, marker: str, *, origin: str) -> Path:
    """The folder that an archive makes, given itself or the folder it was unpacked in.

    Args:
        data_dir: The one or the other.
        inner: The archive's own folder.
        marker: A file or folder that must be in it.
        origin: What to unpack where and where it is published.

    Returns:
        The folder that holds `marker`.

    Raises:
        FileNotFoundError: If neither holds it.
    """
    for root in (Path(data_dir) / inner, Path(data_dir)):
        if (root / marker).exists():
            return root
    raise FileNotFoundError(f"There is no {inner}/{marker} in {data_dir}: {origin}.")


def read_text(path: Path, *, origin: str) -> list[str]:
    """The lines of a set's list that are not blank.

    Args:
        path: The list.
        origin: What to unpack where and where it is published.

    Returns:
        The lines, stripped.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path.name} in {path.parent}: {origin}.")
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


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
    if len(keyed := dict(pairs)) < len(pairs):
        raise ValueError(f"{path} names {len(pairs)} keys, but only {len(keyed)} different ones: {origin}.")
    return keyed


def as_boxes(rows: npt.ArrayLike, path: Path, *, origin: str) -> np.ndarray:
    """Rows of four numbers as boxes.

    Args:
        rows: Left, top, right and bottom edge of each.
        path: Where they were read.
        origin: What to unpack where and where it is published.

    Returns:
        float32 (n, 4).

    Raises:
        ValueError: If a box has no area or holds no number.
    """
    boxes = np.asarray(rows, np.float32).reshape(-1, 4)
    empty = np.flatnonzero(~((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])))
    if empty.size:
        raise ValueError(
            f"{path} gives record {empty[0]} the box {boxes[empty[0]].tolist()} (left, top, right, bottom), but left "
            f"must be less than right and top less than bottom: {origin}."
        )
    return boxes


def _check_files(root: Path, names: Sequence[str], origin: str) -> None:
    """One listing a folder: asking for each of half a million files by itself takes minutes on a network's disk."""
    missing = []
    by_folder = sorted((os.path.dirname(name), os.path.basename(name)) for name in names)
    for folder, files in itertools.groupby(by_folder, key=lambda pair: pair[0]):
        present = set(os.listdir(root / folder)) if (root / folder).is_dir() else set()
        missing += [f"{folder}/{file}" for _, file in files if file not in present]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} pictures are missing in {root}, the first {missing[0]}: {origin}."
        )
