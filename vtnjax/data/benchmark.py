"""Benchmarks of instance-level retrieval: a database of images, queries, and which images show what a query shows."""

import os
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from vtnjax._checks import check_choice
from vtnjax.data.drawn import drawn_directory
from vtnjax.data.revisited_benchmark import REVISITED, RevisitedBenchmark
from vtnjax.data.scene_benchmark import SceneBenchmark

_SCENES = {"scenes": "benchmark", "scenes_train": "train"}  # the half of the stamps of each
BENCHMARKS = (*REVISITED, *_SCENES)


@runtime_checkable
class ImageList(Protocol):
    """Images of any size by index, each decoded, or made, when it is asked for."""

    @property
    def sizes(self) -> Sequence[tuple[int, int]]:
        """(height, width) of each image in pixels, known without decoding it."""
        ...

    def __len__(self) -> int:
        """The number of images."""
        ...

    def __getitem__(self, index: int) -> np.ndarray:
        """uint8 (h, w, 3), red, green and blue; IndexError outside the list."""
        ...


@runtime_checkable
class Benchmark(Protocol):
    """What `evaluate.Retrieval` measures on. `repr` tells benchmarks apart: its name, its size, its seed."""

    @property
    def database(self) -> ImageList:
        """The images that are searched."""
        ...

    @property
    def queries(self) -> ImageList:
        """The images of what is searched for."""
        ...

    @property
    def ground_truth(self) -> Sequence[dict[str, Any]]:
        """For each query the indices of its "easy", "hard" and "junk" images, as `evaluate.revisited` takes them."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """The names of the images of the database."""
        ...


def load_benchmark(name: str, *, data_dir: str = "", size: int = 1024) -> Benchmark:
    """Opens the benchmark that a name stands for.

    Args:
        name: "roxford5k" or "rparis6k", see `RevisitedBenchmark`, "scenes", see `SceneBenchmark`, "scenes_train", the
            same of the stamps that are learned from, to choose rates by, or "drawn:NAME" for drawn pictures in the
            layout of one of these.
        data_dir: The folder of its files, which drawn ones need not have.
        size: The longest side of an image in pixels; of scenes both sides.

    Raises:
        ValueError: If there is no such benchmark, or it needs a `data_dir`; else as the class of the benchmark says.
        FileNotFoundError: If a file is missing.
    """
    drawn = name.startswith("drawn:")
    if drawn:
        name = name.removeprefix("drawn:")
    check_benchmark(name)
    if drawn:
        data_dir = drawn_directory("scenes" if name in _SCENES else name)
    data_dir = os.path.expanduser(data_dir)
    if not data_dir:
        raise ValueError(f"data_dir must be the folder with the files of benchmark {name!r}, not {data_dir!r}")
    if name in _SCENES:
        return SceneBenchmark(data_dir, half=_SCENES[name], size=size)
    return RevisitedBenchmark(data_dir, name, size=size)


def check_benchmark(name: str) -> None:
    """Raise a ValueError unless a name is that of a benchmark; no file is read."""
    if name.removeprefix("drawn:") not in BENCHMARKS:
        check_choice("benchmark", name, (*BENCHMARKS, *(f"drawn:{each}" for each in BENCHMARKS)))
