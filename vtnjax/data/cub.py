"""CUB-200-2011, as its archive unpacks."""

from pathlib import Path

import numpy as np

from vtnjax.data.photographs import Photographs, as_boxes, find_root, read_pairs
from vtnjax.data.records import check_split

_ORIGIN = "unpack CUB_200_2011.tgz there (published at https://www.vision.caltech.edu/datasets/cub_200_2011/)"


class Cub(Photographs):
    """Caltech-UCSD Birds 200 of 2011: 5,994 photographs to train on and 5,794 to test, of 200 kinds of birds.

    Attributes:
        boxes: float32 (n, 4), the left, top, right and bottom edge of the bird in pixels: the file's x, y, x + width
            and y + height.
    """

    def __init__(self, data_dir: str | Path, split: str):
        """Reads the lists; the pictures are read when asked for.

        Args:
            data_dir: The folder CUB_200_2011.tgz was unpacked in, or the folder CUB_200_2011 itself, with images.txt,
                classes.txt, image_class_labels.txt, train_test_split.txt, bounding_boxes.txt and images/.
            split: "train" or "test", the official ones.

        Raises:
            ValueError: If `split` is another name, or a list does not fit the others.
            FileNotFoundError: If a list or a picture is missing.
        """
        check_split(split, ("train", "test"))
        root = find_root(data_dir, "CUB_200_2011", "images.txt", origin=_ORIGIN)
        names = read_pairs(root / "images.txt", origin=_ORIGIN)
        is_train = _column(root, "train_test_split.txt", names)
        kept = [key for key in names if is_train[key] == ("1" if split == "train" else "0")]
        class_of, classes = _column(root, "image_class_labels.txt", names), _class_names(root)
        numbers = {key: label for label, key in enumerate(classes)}
        labels = np.array([numbers.get(class_of[key], -1) for key in kept], np.int32)
        super().__init__(
            root, [f"images/{names[key]}" for key in kept], labels, tuple(classes.values()), origin=_ORIGIN
        )
        self.boxes = _boxes(root, names, kept)


def _class_names(root: Path) -> dict[str, str]:
    return read_pairs(root / "classes.txt", origin=_ORIGIN)


def _column(root: Path, file: str, names: dict[str, str]) -> dict[str, str]:
    values = read_pairs(root / file, origin=_ORIGIN)
    if other := names.keys() ^ values.keys():
        raise ValueError(
            f"{root / file} and images.txt must list the same images, but only one of them has image {min(other)}: "
            f"{_ORIGIN}."
        )
    return values


def _boxes(root: Path, names: dict[str, str], kept: list[str]) -> np.ndarray:
    path = root / "bounding_boxes.txt"
    rows = _column(root, path.name, names)
    corners = []
    for key in kept:
        try:
            left, top, width, height = map(float, rows[key].split())
        except ValueError as error:
            raise ValueError(
                f"{path} gives image {key} the box {rows[key]!r}, but it must be four numbers, x y width height: "
                f"{_ORIGIN}."
            ) from error
        corners.append((left, top, left + width, top + height))
    return as_boxes(corners, path, origin=_ORIGIN)
