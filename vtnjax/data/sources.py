"""Sources by name, as a config gives them."""

import difflib
from typing import Any

from vtnjax.data.catalogue import Catalogue
from vtnjax.data.digits import Digits
from vtnjax.data.folder import Folder
from vtnjax.data.generated import Generated
from vtnjax.data.idx import Idx
from vtnjax.data.records import Source


def load_source(dataset: str, split: str, *, data_dir: str | None = None, **options: Any) -> Source:
    """Opens the source that a name stands for.

    Args:
        dataset: "digits", "generated", "idx", "folder", or "tfds:NAME" for a set of tensorflow_datasets.
        split: Such as "train" or "test".
        data_dir: Where the files lie: needed by "idx" and "folder", optional for "tfds:NAME", unused by the others.
        **options: Keyword arguments of the source's class, such as `size` of Folder.

    Returns:
        The source: Digits, Generated, Idx, Folder or Catalogue.

    Raises:
        ValueError: If there is no such data set, or it needs a `data_dir`.
    """
    if dataset.startswith("tfds:"):
        return Catalogue(dataset.removeprefix("tfds:"), data_dir, split, **options)
    if dataset in ("idx", "folder"):
        if not data_dir:
            raise ValueError(f"data_dir is {data_dir!r}, but dataset {dataset!r} needs the folder of its files.")
        return Idx(data_dir, split, **options) if dataset == "idx" else Folder(data_dir, split, **options)
    if dataset == "digits":
        return Digits(split, **options)
    if dataset == "generated":
        return Generated(split, **options)
    choices = ["digits", "generated", "idx", "folder", "tfds:NAME"]
    close = difflib.get_close_matches(dataset, choices, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    raise ValueError(f"dataset is {dataset!r}, but it must be one of {', '.join(map(repr, choices))}{hint}")
