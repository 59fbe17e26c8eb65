"""CUB-200-2011, as its archive unpacks."""

from collections.abc import Collection
from pathlib import Path
from typing import Literal

import numpy as np

from vtnjax._checks import check_choice
from vtnjax.data.drawing import Drawing, write_jpeg, write_lines
from vtnjax.data.lists import as_boxes, check_once, four_numbers, read_pairs
from vtnjax.data.photographs import Photographs, find_root

_ORIGIN = "unpack CUB_200_2011.tgz there (published at https://www.vision.caltech.edu/datasets/cub_200_2011/)"


class Cub(Photographs):
    """Caltech-UCSD Birds 200 of 2011: 5,994 photographs to train on and 5,794 to test, of 200 kinds of birds.

    Attributes:
        boxes: float32 (n, 4), the left, top, right and bottom edge of the bird in pixels: the file's x, y, x + width
            and y + height.
    """

    def __init__(self, data_dir: str | Path, split: str, *, on_error: Literal["raise", "skip"] = "raise"):
        """Reads the lists; the pictures are read when asked for.

        Args:
            data_dir: The folder CUB_200_2011.tgz was unpacked in, or the folder CUB_200_2011 itself, with images.txt,
                classes.txt, image_class_labels.txt, train_test_split.txt, bounding_boxes.txt and images/.
            split: "train" or "test", the official ones.
            on_error: "raise", or "skip": decode every picture now and leave out, with a warning in the log, those that
                are missing or cannot be read.

        Raises:
            ValueError: If `split` or `on_error` is another word, or a list does not fit the others.
            FileNotFoundError: If a list or a picture is missing.
        """
        check_choice("split", split, ("train", "test"))
        root = find_root(data_dir, "CUB_200_2011", "images.txt", origin=_ORIGIN)
        names = read_pairs(root / "images.txt", origin=_ORIGIN)
        check_once(names.values(), root / "images.txt", "picture", origin=_ORIGIN)
        is_train = _column(root, "train_test_split.txt", names)
        _check_values(root / "train_test_split.txt", "split", is_train, ("0", "1"), "0 or 1")
        kept = [key for key in names if is_train[key] == ("1" if split == "train" else "0")]
        class_of = _column(root, "image_class_labels.txt", names)
        classes = read_pairs(root / "classes.txt", origin=_ORIGIN)
        _check_values(root / "image_class_labels.txt", "class", class_of, classes, "one of classes.txt")
        numbers = {key: label for label, key in enumerate(classes)}
        labels = np.array([numbers[class_of[key]] for key in kept], np.int32)
        super().__init__(
            root,
            [f"images/{names[key]}" for key in kept],
            labels,
            tuple(classes.values()),
            origin=_ORIGIN,
            on_error=on_error,
        )
        self.boxes = _boxes(root, names, kept)[self.kept]


def _column(root: Path, file: str, names: dict[str, str]) -> dict[str, str]:
    values = read_pairs(root / file, origin=_ORIGIN)
    if other := names.keys() ^ values.keys():
        raise ValueError(
            f"{root / file} and images.txt must list the same images, but only one of them has image {min(other)}: "
            f"{_ORIGIN}"
        )
    return values


def _check_values(path: Path, what: str, values: dict[str, str], allowed: Collection[str], must: str) -> None:
    for key, value in values.items():
        if value not in allowed:
            raise ValueError(f"{path}: the {what} of image {key} must be {must}, not {value!r}: {_ORIGIN}")


def _boxes(root: Path, names: dict[str, str], kept: list[str]) -> np.ndarray:
    path = root / "bounding_boxes.txt"
    rows = _column(root, path.name, names)
    boxes = four_numbers(rows, kept, path, fields="x y width height", origin=_ORIGIN)
    corners = [(left, top, left + width, top + height) for left, top, width, height in boxes]
    return as_boxes(corners, kept, path, origin=_ORIGIN)


def write_cub(directory: Path, drawings: list[Drawing], classes: int) -> None:
    """Drawn pictures in a folder, as CUB_200_2011.tgz unpacks."""
    root = directory / "CUB_200_2011"
    kinds = [f"{label + 1:03}.Polygon_of_{label + 3}_sides" for label in range(classes)]
    names = [
        f"{kinds[d.label]}/Polygon_Of_{d.label + 3}_Sides_{d.number + 1:04}_{i}.jpg"
        for i, d in enumerate(drawings, start=1)
    ]
    for name, drawing in zip(names, drawings, strict=True):
        write_jpeg(root / "images" / name, drawing.image)
    boxes = [(left, top, right - left, bottom - top) for left, top, right, bottom in (d.box for d in drawings)]
    columns = {
        "classes": kinds,
        "images": names,
        "image_class_labels": [d.label + 1 for d in drawings],
        "train_test_split": [int(d.is_train) for d in drawings],
        "bounding_boxes": [" ".join(f"{value}.0" for value in box) for box in boxes],
    }
    for name, column in columns.items():
        write_lines(root / f"{name}.txt", [f"{i} {value}" for i, value in enumerate(column, start=1)])
