"""Sources by name, as a config gives them."""

import inspect
import os
from collections.abc import Callable
from typing import Any

from vtnjax._checks import check_choice
from vtnjax.data.catalogue import Catalogue
from vtnjax.data.composites import Composites
from vtnjax.data.digits import Digits
from vtnjax.data.drawn import drawn_directory
from vtnjax.data.generated import Generated
from vtnjax.data.hidden_digits import HiddenDigits
from vtnjax.data.records import Source
from vtnjax.data.sets import SETS
from vtnjax.data.solar import SolarCells
from vtnjax.data.two_digits import TwoDigits

_PACKAGED = {
    "digits": Digits,
    "two_digits": TwoDigits,
    "hidden_digits": HiddenDigits,
    "solar": SolarCells,
    "generated": Generated,
}


def load_source(dataset: str, split: str, *, data_dir: str | None = None, **options: Any) -> Source:
    """Opens the source that a name stands for.

    Args:
        dataset: "digits", "two_digits", "hidden_digits", "solar", "composites", "generated", a name in
            `vtnjax.data.sets.SETS` such as "folder" or "cub", "tfds:NAME" for a set of tensorflow_datasets, or
            "drawn:NAME" for drawn pictures in the layout of "cub", "cars", "aircraft", "inat2017", "svhn", "stamps",
            "scenes" or "landmark_tuples".
        split: The split, such as "train" or "test".
        data_dir: The folder of the files: needed by the sets of `SETS`, optional for "tfds:NAME", Fashion-MNIST's for
            "composites", unused by the others.
        **options: The keyword arguments of the source's class, such as `size` of Folder. `on_error="raise"` may be
            given to every source: a source that reads no picture files can do nothing else.

    Returns:
        The source, of the class of `vtnjax.data` that reads the set.

    Raises:
        ValueError: If there is no such data set, it needs a `data_dir`, or it has no such option.
    """
    data_dir = os.path.expanduser(data_dir) if data_dir else data_dir  # a shell leaves the ~ behind an = alone
    if dataset.startswith("tfds:"):
        return Catalogue(dataset.removeprefix("tfds:"), data_dir, split, **_fitting(Catalogue, dataset, options))
    if dataset.startswith("drawn:"):
        name = dataset.removeprefix("drawn:")
        return load_source(name, split, data_dir=drawn_directory(name), **options)
    check_choice("dataset", dataset, [*_PACKAGED, "composites", *SETS, "tfds:NAME", "drawn:NAME"])
    if dataset == "composites":
        return Composites(split, data_dir=data_dir, **_fitting(Composites, dataset, options))
    if dataset in _PACKAGED:
        reader = _PACKAGED[dataset]
        return reader(split, **_fitting(reader, dataset, options))
    if not data_dir:
        raise ValueError(f"data_dir must be the folder with the files of dataset {dataset!r}, not {data_dir!r}")
    reader = SETS[dataset].read
    return reader(data_dir, split, **_fitting(reader, dataset, options))


def _fitting(reader: Callable[..., Source], dataset: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options that a reader takes; another one is refused."""
    parameters = inspect.signature(reader).parameters.values()
    known = {each.name for each in parameters if each.kind is each.KEYWORD_ONLY} - {"data_dir"}
    for name, value in options.items():
        if name not in known and (name, value) != ("on_error", "raise"):
            choices = f"among {', '.join(sorted(known))}" if known else "none"
            raise ValueError(f"the options of dataset {dataset!r} must be {choices}, not {name}={value!r}")
    return {name: value for name, value in options.items() if name in known}
