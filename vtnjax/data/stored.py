"""Feature maps that a network made once of a set's images, kept as files: trained on instead of images."""

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vtnjax._checks import check_choice
from vtnjax.data.lists import lacking
from vtnjax.data.records import Record, check_labels

SPLITS = ("train", "validation", "test")


class Stored:
    """Features of a split, read from the disk when they are asked for.

    Records are {"image": float16 (h, w, c), "label": int}.

    Attributes:
        labels: int32 (n,).
        classes: The name of each label.
    """

    def __init__(self, data_dir: str | Path, split: str):
        """Opens what `write_stored` wrote.

        Args:
            data_dir: The folder.
            split: "train", "validation" or "test".

        Raises:
            ValueError: If `split` is another name, or a file is damaged.
            FileNotFoundError: If a file is missing.
        """
        check_choice("split", split, SPLITS)
        self._folder = Path(data_dir) / split
        if not (self._folder / "classes.json").is_file():
            made = "make it by python -m vtnjax.experiments.store_features"
            raise lacking(Path(data_dir), f"{split}/classes.json of stored features", made)
        self.classes: tuple[str, ...] = tuple(json.loads((self._folder / "classes.json").read_text()))
        try:
            self._features = np.load(self._folder / "features.npy", mmap_mode="r")
            self.labels = np.load(self._folder / "labels.npy")
        except (ValueError, EOFError) as error:
            raise ValueError(f"{self._folder} must hold stored features, but they are damaged ({error})") from error
        check_labels(self.labels, self.classes)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Record:
        return {"image": np.array(self._features[index]), "label": int(self.labels[index])}

    def __repr__(self) -> str:
        return f"Stored({str(self._folder.parent)!r}, {self._folder.name!r})"


def write_stored(
    folder: Path,
    batches: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    count: int,
    shape: Sequence[int],
    classes: Sequence[str],
) -> None:
    """Writes one split, whole or not at all.

    Args:
        folder: The folder of the split, which must not exist.
        batches: Features (n, h, w, c) and labels (n,). The features are kept as float16, whose 11 bits are a relative
            error of at most 0.0005.
        count: The number of feature maps.
        shape: (h, w, c).
        classes: The name of each label.

    Raises:
        ValueError: If there are more or fewer feature maps.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    kept = np.lib.format.open_memmap(partial / "features.npy", "w+", np.float16, (count, *shape))
    labels: list[int] = []
    for features, of_batch in batches:
        kept[len(labels) : len(labels) + len(features)] = features
        labels.extend(of_batch)
    if len(labels) != count:
        raise ValueError(f"count must be the number of feature maps, {len(labels)}, not {count}")
    kept.flush()
    np.save(partial / "labels.npy", np.asarray(labels, np.int32))
    (partial / "classes.json").write_text(json.dumps(list(classes)))
    os.rename(partial, folder)
