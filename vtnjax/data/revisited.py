"""The ground truth of the revisited Oxford and Paris benchmarks, read from the pickles as published.

A pickle can run any program when it is read. This one holds lists, texts and numbers alone, so every class is refused.
"""

from pathlib import Path
from typing import NamedTuple

from vtnjax.data._pickles import read_plain

_ORIGIN = "the file must be gnd_roxford5k.pkl or gnd_rparis6k.pkl as published"


class Revisited(NamedTuple):
    """What the file says.

    Attributes:
        images: The names of the images of the database, without a suffix.
        queries: The names of the query images, which are not in the database.
        ground_truth: For each query the indices of its "easy", "hard" and "junk" images, and in "bbx" the box (left,
            top, right, bottom) in pixels that it is cropped to.
    """

    images: tuple[str, ...]
    queries: tuple[str, ...]
    ground_truth: tuple[dict[str, list], ...]


def read_revisited(path: str | Path) -> Revisited:
    """Reads a file of the revisited benchmarks.

    Args:
        path: The file, `gnd_roxford5k.pkl` or `gnd_rparis6k.pkl`.

    Returns:
        What it says; `evaluate.revisited` takes `ground_truth`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no whole pickle, holds a class, or says other things.
    """
    path = Path(path)
    found = read_plain(path, origin=_ORIGIN)
    _check(path, found)
    return Revisited(tuple(found["imlist"]), tuple(found["qimlist"]), tuple(found["gnd"]))


def _check(path, found):
    keys = ("imlist", "qimlist", "gnd")
    if not isinstance(found, dict) or not all(isinstance(found.get(key), list) for key in keys):
        raise ValueError(f"{path} must hold the lists {', '.join(keys)}: {_ORIGIN}")
    for name in (*found["imlist"], *found["qimlist"]):
        if not isinstance(name, str):
            raise ValueError(f"{path} must hold the names of images as texts, but has {name!r}: {_ORIGIN}")
    if len(found["qimlist"]) != len(found["gnd"]):
        raise ValueError(
            f"{path} must say something of each of the {len(found['qimlist'])} queries, but does so of "
            f"{len(found['gnd'])}: {_ORIGIN}"
        )
    for number, truth in enumerate(found["gnd"]):
        box, *lists = [truth.get(key) for key in ("bbx", "easy", "hard", "junk")] if isinstance(truth, dict) else [None]
        if not (isinstance(box, list) and len(box) == 4 and all(isinstance(each, list) for each in lists)):
            raise ValueError(f"{path} must have lists of easy, hard and junk images and a box of query {number}")
        indices, images = [index for name in ("easy", "hard", "junk") for index in truth[name]], len(found["imlist"])
        if strange := [index for index in indices if index not in range(images)]:
            raise ValueError(
                f"{path} must have indices of the {images} images of query {number}, but has {strange[0]!r}: {_ORIGIN}"
            )
