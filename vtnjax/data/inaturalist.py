"""iNaturalist 2017, as its archives unpack."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vtnjax._checks import check_choice
from vtnjax.data.drawing import HEIGHT, WIDTH, Drawing, write_jpeg
from vtnjax.data.lists import check_once, lacking
from vtnjax.data.photographs import Photographs

_ORIGIN = (
    "unpack train_val_images.tar.gz and train_val2017.zip there (published at "
    "https://github.com/visipedia/inat_comp/tree/master/2017)"
)
_LISTS = {"train": "train2017.json", "val": "val2017.json", "test": "val2017.json"}

_FIELDS: dict[str, dict[str, type]] = {
    "images": {"id": int, "file_name": str},
    "annotations": {"image_id": int, "category_id": int},
    "categories": {"id": int, "name": str, "supercategory": str},
}


class INaturalist2017(Photographs):
    """iNaturalist 2017: 579,184 photographs to train on and 95,986 to validate, of 5,089 species in 13 super-classes.

    Attributes:
        super_classes: The names of the super-classes, such as "Aves", sorted.
        super_labels: int32 (classes,), the index in `super_classes` of each class.
    """

    def __init__(self, data_dir: str | Path, split: str, *, on_error: Literal["raise", "skip"] = "raise"):
        """Reads a list; the pictures are read when asked for.

        Args:
            data_dir: The folder the archives were unpacked in, with train_val_images/, train2017.json and val2017.json.
            split: "train" or "val"; "test" is "val" too, which is what papers report, since the labels of the
                competition's own test set were not published.
            on_error: "raise", or "skip": decode every picture now and leave out, with a warning in the log, those that
                are missing or cannot be read.

        Raises:
            ValueError: If `split` or `on_error` is another word, or the list is damaged or of another format.
            FileNotFoundError: If the list or a picture is missing.
        """
        check_choice("split", split, tuple(_LISTS))
        path = Path(data_dir) / _LISTS[split]
        images, annotations, categories = _read(path)
        labels = np.array(_labels(path, images, annotations, categories), np.int32)
        names = [row["file_name"] for row in images]
        classes = tuple(row["name"] for row in categories)
        super().__init__(Path(data_dir), names, labels, classes, origin=_ORIGIN, on_error=on_error)
        self.super_classes = tuple(sorted({row["supercategory"] for row in categories}))
        positions = [self.super_classes.index(row["supercategory"]) for row in categories]
        self.super_labels = np.array(positions, np.int32)


def _labels(path: Path, images: list[Any], annotations: list[Any], categories: list[Any]) -> list[int]:
    for rows, key, what in (
        (images, "id", "image"),
        (annotations, "image_id", "annotated image"),
        (categories, "id", "category"),
    ):
        check_once((row[key] for row in rows), path, what, origin=_ORIGIN)
    numbers = {row["id"]: label for label, row in enumerate(categories)}
    category_of = {row["image_id"]: row["category_id"] for row in annotations}
    for image in (row["id"] for row in images):
        if image not in category_of:
            raise ValueError(f"{path} must annotate every image, but does not annotate {image}: {_ORIGIN}")
        if category_of[image] not in numbers:
            raise ValueError(
                f"{path}: the category of image {image} must be a listed one, not {category_of[image]}: {_ORIGIN}"
            )
    return [numbers[category_of[row["id"]]] for row in images]


def _read(path: Path) -> tuple[list[Any], list[Any], list[Any]]:
    """The images, the annotations, and the categories in the order of their numbers."""
    if not path.is_file():
        raise lacking(path.parent, path.name, _ORIGIN)
    try:
        contents = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be a whole JSON file, but cannot be read ({error}): {_ORIGIN}") from error
    for name, kinds in _FIELDS.items():
        rows = contents.get(name) if isinstance(contents, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) and row.keys() >= kinds.keys() for row in rows):
            raise ValueError(f"{path} must hold a list {name!r} of objects with {', '.join(sorted(kinds))}: {_ORIGIN}")
        _check_kinds(path, name, rows)
    return contents["images"], contents["annotations"], sorted(contents["categories"], key=lambda row: row["id"])


def _check_kinds(path: Path, name: str, rows: list[Any]) -> None:
    for key, kind in _FIELDS[name].items():
        for row in rows:
            if type(row[key]) is not kind:
                must = "text" if kind is str else "a whole number"
                raise ValueError(f"{path}: {key} in {name!r} must be {must}, not {row[key]!r}: {_ORIGIN}")


def write_inaturalist(directory: Path, drawings: list[Drawing], classes: int) -> None:
    """Drawn pictures in a folder, as iNaturalist's archives of 2017 unpack."""
    categories = [
        {"id": label, "name": f"Polygon {label + 3}", "supercategory": ("Parva", "Magna")[label >= classes / 2]}
        for label in range(classes)
    ]
    for split in ("train", "val"):
        chosen = [d for d in drawings if d.is_train == (split == "train")]
        images, annotations = [], []
        for i, drawing in enumerate(chosen, start=1):
            category = categories[drawing.label]
            name = f"train_val_images/{category['supercategory']}/{category['name']}/{drawing.stem}.jpg"
            write_jpeg(directory / name, drawing.image)
            images.append({"id": i, "file_name": name, "width": WIDTH, "height": HEIGHT})
            annotations.append({"id": i, "image_id": i, "category_id": drawing.label})
        contents = {"images": images, "annotations": annotations, "categories": categories}
        (directory / f"{split}2017.json").write_text(json.dumps(contents))
