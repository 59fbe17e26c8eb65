"""Small folders in the layouts of the published sets, with drawn pictures: for trying code out, not for results."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np

from vtnjax._checks import check_at_least_1, check_choice
from vtnjax.data.drawing import draw_polygon
from vtnjax.data.drawn_landmarks import write_landmarks
from vtnjax.data.revisited_benchmark import REVISITED
from vtnjax.data.sets import SETS

_WRITERS = {name: entry.write for name, entry in SETS.items() if entry.write}


def write_drawn(
    dataset: str, directory: str | Path, *, classes: int = 6, train: int = 8, test: int = 4, seed: int = 0
) -> None:
    """Writes a tiny set of drawn polygons, laid out as the archives of a published set unpack.

    The same arguments write the same pictures. Files that are there already are overwritten.

    Args:
        dataset: "cub", "cars", "aircraft" or "inat2017".
        directory: The folder to write to, which is made if it is missing. It is then the `data_dir` of the source of
            that name.
        classes: The number of kinds of polygons.
        train: The number of pictures of each class to train on, 120 pixels wide and 90 high.
        test: The number of pictures of each class to test on.
        seed: The seed of places, sizes, turns and backgrounds.

    Raises:
        ValueError: If `dataset` is another name or a count is below 1.
    """
    check_choice("dataset", dataset, tuple(_WRITERS))
    for name, count in (("classes", classes), ("train", train), ("test", test)):
        check_at_least_1(name, count)
    rng = np.random.default_rng(seed)
    drawings = [
        draw_polygon(label, classes, number, number < train, rng)
        for label in range(classes)
        for number in range(train + test)
    ]
    _WRITERS[dataset](Path(directory), drawings, classes)


_DRAWN = {
    name: entry.draw or functools.partial(write_drawn, name)
    for name, entry in SETS.items()
    if entry.draw or entry.write
}
_DRAWN |= {name: functools.partial(write_landmarks, name) for name in REVISITED}


@functools.cache
def drawn_directory(dataset: str) -> str:
    """A folder with a tiny set of drawn pictures, which lasts as long as the process.

    Args:
        dataset: "cub", "cars", "aircraft", "inat2017", "svhn", "stamps", "scenes", "landmark_tuples", or a
            benchmark, "roxford5k" or "rparis6k".

    Raises:
        ValueError: If `dataset` is another name.
    """
    check_choice("dataset", dataset, tuple(_DRAWN))
    directory = tempfile.mkdtemp(prefix="vtnjax-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    _DRAWN[dataset](Path(directory))
    return directory
