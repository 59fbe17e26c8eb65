"""iNaturalist 2017, as its archives unpack."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from vtnjax.data.photographs import Photographs
from vtnjax.data.records import check_split

_ORIGIN = (
    "unpack train_val_images.tar.gz and train_val2017.zip there (published at "
    "https://github.com/visipedia/inat_comp/tree/master/2017)"
)
_LISTS = {"train": "train2017.json", "val": "val2017.json", "test": "val2017.json"}


class INaturalist2017(Photographs):
    """iNaturalist 2017: 579,184 photographs to train on and 95,986 to validate, of 5,089 species in 13 super-classes.

    Attributes:
        super_classes: The names of the super-classes, such as "Aves", sorted.
        super_labels: int32 (classes,), the index in `super_classes` of each class.
    """

    def __init__(self, data_dir: str | Path, split: str):
        """Reads a list; the pictures are read when asked for.

        Args:
            data_dir: The folder the archives were unpacked in, with train_val_images/, train2017.json and val2017.json.
            split: "train" or "val"; "test" is "val" too, which is what papers report, since the labels of the
                competition's own test set were not published.

        Raises:
            ValueError: If `split` is another name, or the list is damaged or of another format.
            FileNotFoundError: If the list or a picture is missing.
        """
        check_split(split, tuple(_LISTS))
        path = Path(data_dir) / _LISTS[split]
        images, annotations, categories = _read(path)
        category_of = {row["image_id"]: row["category_id"] for row in annotations}
        numbers = {row["id"]: label for label, row in enumerate(categories)}
        labels = np.array([numbers.get(category_of.get(row["id"]), -1) for row in images], np.int32)
        names = [row["file_name"] for row in images]
        classes = tuple(row["name"] for row in categories)
        super().__init__(Path(data_dir), names, labels, classes, origin=_ORIGIN)
        self.super_classes = tuple(sorted({row["supercategory"] for row in categories}))
        positions = [self.super_classes.index(row["supercategory"]) for row in categories]
        self.super_labels = np.array(positions, np.int32)


def _read(path: Path) -> tuple[list[Any], list[Any], list[Any]]:
    """The images, the annotations, and the categories in the order of their numbers."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path.name} in {path.parent}: {_ORIGIN}.")
    try:
        contents = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not a whole JSON file ({error}): {_ORIGIN}.") from error
    fields = {
        "images": {"id", "file_name"},
        "annotations": {"image_id", "category_id"},
        "categories": {"id", "name", "supercategory"},
    }
    for name, keys in fields.items():
        rows = contents.get(name) if isinstance(contents, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) and row.keys() >= keys for row in rows):
            raise ValueError(f"{path} must hold a list {name!r} of objects with {', '.join(sorted(keys))}: {_ORIGIN}.")
    return contents["images"], contents["annotations"], sorted(contents["categories"], key=lambda row: row["id"])
