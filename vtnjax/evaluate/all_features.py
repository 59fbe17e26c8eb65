"""Local features of many images, kept in files as they are made, with which a killed search goes on."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vtnjax._files import read_arrays, write_arrays
from vtnjax.retrieval import LocalFeatures

_AT_ONCE = 32  # images that are held in memory, and whose features are in one file
_SAME = 0.999  # mean cosine of the features of one image, made twice by one network

progress = functools.partial(tqdm, disable=None)  # none where nobody looks


def all_features(
    read: Callable[..., Iterator[LocalFeatures]], images: Any, name: str, folder: Path | None = None
) -> Iterator[LocalFeatures]:
    """The local features of images, one after the other, with a progress bar.

    With a folder, those of each 32 images are written there as soon as they are made, whole or not at all, and what is
    there is read. Of the first images that are there, that of the most features has them made again and compared.

    Args:
        read: `evaluate.local_features` of a network, which takes images and `sizes`.
        images: an indexed collection of uint8 (h, w, 3), with or without `sizes`.
        name: of the images, in the bar and in the names of the files.
        folder: where features by this network lie; None keeps none.

    Raises:
        ValueError: if the folder holds features by another network; and what reading an image raises.
    """
    read = functools.partial(read, sizes=getattr(images, "sizes", None))
    checked = False
    for start in progress(range(0, len(images), _AT_ONCE), desc=name, unit=f" x {_AT_ONCE} images"):
        chunk = range(start, min(start + _AT_ONCE, len(images)))
        path = folder / f"{name}-{start:08}.npz" if folder else None
        found = _kept(path, len(chunk)) if path else None
        if found is None:
            found = list(read([images[index] for index in chunk]))
            if path:
                _keep(path, found)
        elif path and not checked:
            most = int(np.argmax([len(each.scores) for each in found]))
            _check(path, found[most], next(read([images[chunk[most]]])))
            checked = True
        yield from found


def _keep(path: Path, found: list[LocalFeatures]) -> None:
    """Write the features of some images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    joined = LocalFeatures(*(np.concatenate(each) for each in zip(*found, strict=True)))
    write_arrays(path, {**joined._asdict(), "counts": np.array([len(each.scores) for each in found])})


def _kept(path: Path, count: int) -> list[LocalFeatures] | None:
    """What was written of so many images; None where nothing, or nothing whole, is there."""
    try:
        arrays = read_arrays(path, (*LocalFeatures._fields, "counts"), "local features")
    except (FileNotFoundError, ValueError):
        return None
    ends = np.cumsum(arrays.pop("counts"))
    if len(ends) != count:
        return None
    parts = [np.split(arrays[field], ends[:-1]) for field in LocalFeatures._fields]
    return [LocalFeatures(*each) for each in zip(*parts, strict=True)]


def _check(path: Path, found: LocalFeatures, again: LocalFeatures) -> None:
    """Raise a ValueError unless features are those that the image has again."""
    pair = found.descriptors, again.descriptors
    same = pair[0].shape == pair[1].shape
    if not same or (len(pair[0]) and not (pair[0] * pair[1]).sum(1).mean() > _SAME):
        raise ValueError(
            f"{path} must hold local features by this network, but those of an image are others: remove its "
            "folder, or give another one"
        )
