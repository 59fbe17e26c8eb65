"""FGVC-Aircraft 2013b, as its archive unpacks."""

from pathlib import Path
from typing import Literal

import numpy as np

from vtnjax._checks import check_choice
from vtnjax.data.drawing import WIDTH, Drawing, from_one, write_jpeg, write_lines
from vtnjax.data.lists import as_boxes, check_once, four_numbers, read_pairs, read_text
from vtnjax.data.photographs import Photographs, find_root
from vtnjax.data.records import Record

_ORIGIN = "unpack fgvc-aircraft-2013b.tar.gz there (published at https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft/)"
_LISTS = {"train": "images_variant_trainval.txt", "test": "images_variant_test.txt"}
_BANNER = 20


class Aircraft(Photographs):
    """FGVC-Aircraft: 6,667 photographs to train on and 3,333 to test, of 100 variants of aircraft.

    The lowest 20 rows of every file are a banner with the photographer's name; the set's authors ask to remove it, and
    it is removed.

    Attributes:
        boxes: float32 (n, 4), the left, top, right and bottom edge of the aircraft in pixels, so that (0, 0) is the
            corner of the first pixel; the file counts pixels from 1 and includes the last.
    """

    def __init__(self, data_dir: str | Path, split: str, *, on_error: Literal["raise", "skip"] = "raise"):
        """Reads the lists; the pictures are read when asked for.

        Args:
            data_dir: The folder fgvc-aircraft-2013b.tar.gz was unpacked in, or the folder fgvc-aircraft-2013b itself,
                with data/variants.txt, data/images_variant_trainval.txt, data/images_variant_test.txt,
                data/images_box.txt and data/images/.
            split: "train", which is the official training and validation set together, as papers report, or "test".
            on_error: "raise", or "skip": decode every picture now and leave out, with a warning in the log, those that
                are missing or cannot be read.

        Raises:
            ValueError: If `split` or `on_error` is another word, or a list does not fit the others.
            FileNotFoundError: If a list or a picture is missing.
        """
        check_choice("split", split, tuple(_LISTS))
        root = find_root(data_dir, "fgvc-aircraft-2013b", "data/variants.txt", origin=_ORIGIN) / "data"
        classes = read_text(root / "variants.txt", origin=_ORIGIN)
        check_once(classes, root / "variants.txt", "variant", origin=_ORIGIN)
        numbers = {name: label for label, name in enumerate(classes)}
        path = root / _LISTS[split]
        variants = read_pairs(path, origin=_ORIGIN)
        for key, name in variants.items():
            if name not in numbers:
                raise ValueError(
                    f"{path}: the variant of image {key} must be one of variants.txt, not {name!r}: {_ORIGIN}"
                )
        labels = np.array([numbers[name] for name in variants.values()], np.int32)
        super().__init__(
            root, [f"images/{key}.jpg" for key in variants], labels, tuple(classes), origin=_ORIGIN, on_error=on_error
        )
        self.boxes = _boxes(root / "images_box.txt", list(variants))[self.kept]

    def __getitem__(self, index: int) -> Record:
        record = super().__getitem__(index)
        if len(record["image"]) <= _BANNER:
            raise ValueError(
                f"{self.path(index)} must be higher than its banner of {_BANNER} pixels, not "
                f"{len(record['image'])}: unpack its archive again"
            )
        record["image"] = record["image"][:-_BANNER]
        return record


def _boxes(path: Path, keys: list[str]) -> np.ndarray:
    rows = read_pairs(path, origin=_ORIGIN)
    boxes = four_numbers(rows, keys, path, fields="xmin ymin xmax ymax", origin=_ORIGIN)
    corners = [(left - 1, top - 1, right, bottom) for left, top, right, bottom in boxes]
    return as_boxes(corners, keys, path, origin=_ORIGIN)


def write_aircraft(directory: Path, drawings: list[Drawing], classes: int) -> None:
    """Drawn pictures in a folder, as fgvc-aircraft-2013b.tar.gz unpacks."""
    root = directory / "fgvc-aircraft-2013b" / "data"
    variants = [f"P-{label + 3} Polygon" for label in range(classes)]
    lists: dict[str, list[str]] = {"train": [], "val": [], "trainval": [], "test": []}
    boxes = []
    for i, drawing in enumerate(drawings, start=1):
        banner = np.full((_BANNER, WIDTH, 3), 255, np.uint8)
        write_jpeg(root / "images" / f"{i:07}.jpg", np.concatenate([drawing.image, banner]))
        boxes.append(f"{i:07} " + " ".join(map(str, from_one(drawing))))
        for split in (("val", "train")[drawing.number % 2], "trainval") if drawing.is_train else ("test",):
            lists[split].append(f"{i:07} {variants[drawing.label]}")
    write_lines(root / "variants.txt", variants)
    write_lines(root / "images_box.txt", boxes)
    for split, lines in lists.items():
        write_lines(root / f"images_variant_{split}.txt", lines)
