"""Photographs of landmarks for learning to search (Radenovic 2018): clusters, and pairs of images that match."""

import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vtnjax._checks import check_choice
from vtnjax.data._pickles import read_plain
from vtnjax.data.drawing import draw_polygon, write_jpeg
from vtnjax.data.photographs import Photographs

SPLITS = ("train", "val")
_FILE = "retrieval-SfM-120k.pkl"
_LISTS = ("cids", "cluster", "qidxs", "pidxs")
_ORIGIN = f"the folder must hold {_FILE} and ims/ as cmp.felk.cvut.cz/cnnimageretrieval publishes them"


class LandmarkTuples(Photographs):
    """The images of retrieval-SfM-120k, from its pickle and its folder `ims` as downloaded.

    The classes are the clusters, one for each three-dimensional model, of both splits, so that they are the same for
    both; those of "val" have no image in "train". An image named ID lies at ims/../../../ID, in folders of the last
    three pairs of its letters.

    Attributes:
        classes: The numbers of the clusters, as texts.
        labels: int32 (n,), the cluster of each image.
        pairs: int32 (k, 2), the indices of a query and of an image that shows the same; a query may come again.
    """

    def __init__(self, data_dir: str | Path, split: str):
        """Reads the pickle, in which every class is refused; images are decoded when asked for.

        Args:
            data_dir: The folder that holds the pickle.
            split: "train" or "val".

        Raises:
            ValueError: If `split` is another word, or the pickle cannot be read, holds a class, or says other things.
            FileNotFoundError: If the pickle or an image is missing.
        """
        check_choice("split", split, SPLITS)
        path = Path(data_dir) / _FILE
        if not path.is_file():
            raise FileNotFoundError(f"{data_dir} must hold {_FILE}, but there is none: {_ORIGIN}")
        found = read_plain(path, origin=_ORIGIN)
        for name in SPLITS:
            _check(path, name, found[name] if isinstance(found, dict) and name in found else None)
        clusters = sorted({cluster for name in SPLITS for cluster in found[name]["cluster"]})
        said, numbers = found[split], {cluster: label for label, cluster in enumerate(clusters)}
        labels = np.array([numbers[cluster] for cluster in said["cluster"]], np.int32)
        names = [_place(name) for name in said["cids"]]
        super().__init__(Path(data_dir), names, labels, tuple(map(str, clusters)), origin=_ORIGIN)
        self.pairs = np.array([said["qidxs"], said["pidxs"]], np.int32).T


def write_landmark_tuples(
    directory: str | Path, *, train: int = 8, val: int = 3, images: int = 6, seed: int = 0
) -> None:
    """Writes polygons as landmarks, laid out as retrieval-SfM-120k: for trying code out, not for results.

    Args:
        directory: The folder to write to, which is made if it is missing. It is then the `data_dir` of
            "landmark_tuples".
        train: The number of landmarks of the split "train".
        val: The number of those of "val".
        images: The number of images of each, each but the last of which makes a pair with the next.
        seed: The seed of places, sizes, turns and backgrounds.
    """
    rng, found = np.random.default_rng(seed), {}
    for split, clusters in (("train", range(train)), ("val", range(train, train + val))):
        drawn = [draw_polygon(c, train + val, number, True, rng) for c in clusters for number in range(images)]
        for drawing in drawn:
            write_jpeg(Path(directory) / _place(drawing.stem), drawing.image)
        queries = [place for place, drawing in enumerate(drawn) if drawing.number + 1 < images]
        found[split] = {
            "cids": [drawing.stem for drawing in drawn],
            "cluster": [drawing.label for drawing in drawn],
            "qidxs": queries,
            "pidxs": [place + 1 for place in queries],
        }
    (Path(directory) / _FILE).write_bytes(pickle.dumps(found, protocol=2))


def _place(name: str) -> str:
    return f"ims/{name[-2:]}/{name[-4:-2]}/{name[-6:-4]}/{name}"


def _check(path: Path, split: str, said: Any) -> None:
    """Raise a ValueError unless what the pickle says of a split makes sense."""
    if not isinstance(said, dict) or not all(isinstance(said.get(key), list) for key in _LISTS):
        raise ValueError(f"{path} must hold the lists {', '.join(_LISTS)} of {split!r}: {_ORIGIN}")
    for one, other in (("cids", "cluster"), ("qidxs", "pidxs")):
        if len(said[one]) != len(said[other]):
            raise ValueError(
                f"{path} must have as many {one} as {other} of {split!r}, not {len(said[one])} and "
                f"{len(said[other])}: {_ORIGIN}"
            )
    count = len(said["cids"])
    # A name with a slash would lead out of the folder.
    _all(path, f"the cids of {split!r}", said["cids"], "texts of 6 letters or more", _is_name)
    _all(path, f"the cluster of {split!r}", said["cluster"], "whole numbers", lambda each: isinstance(each, int))
    for key in ("qidxs", "pidxs"):
        _all(
            path,
            f"the {key} of {split!r}",
            said[key],
            f"whole numbers from 0 to {count - 1}",
            lambda each: isinstance(each, int) and 0 <= each < count,
        )


def _is_name(each: Any) -> bool:
    return isinstance(each, str) and re.fullmatch(r"[\w-]{6,}", each) is not None


def _all(path: Path, what: str, values: Sequence[Any], must: str, holds: Any) -> None:
    for value in values:
        if not holds(value):
            raise ValueError(f"{path}: {what} must be {must}, not {value!r}: {_ORIGIN}")
