"""Descriptors of a whole database: made by all processes together, saved as they are made, gone on with when killed."""

import functools
import hashlib
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.experimental import multihost_utils
from jaxtyping import Array, Float
from tqdm import tqdm

from vtnjax import data
from vtnjax._files import read_arrays, write_arrays
from vtnjax.evaluate.describe import describe
from vtnjax.models import imagenet_input

_CHUNK = 32  # images that are described, and saved, at once
_SAME = 0.999  # cosine of two descriptors of one image by one network; the rounding of bfloat16 leaves more


def describe_all(
    network: Any,
    images: data.ImageList,
    *,
    scales: Sequence[float] = (1.0,),
    prepare: Callable[[Array], Array] = imagenet_input,
    exact: bool = True,
    folder: str | Path = "",
    about: str = "",
) -> Float[np.ndarray, "images d"]:
    """The descriptors of `describe` of images that are read as they are needed.

    With a folder, each 32 descriptors are written there as soon as they are made, whole or not at all, and a call that
    finds some makes the others. They lie in a folder of their own, whose name is a hash of the network's parameters and
    structure, of the scales, of `exact`, of the sizes of the images and of `about`, so that those of another network
    are not found. What a hash cannot know, such as the body of a function that pools or prepares, shows in the first
    image there, which is described again and compared.

    Each of several processes makes its share, on the first of its devices, and all return the descriptors of all; the
    folder need not be on a disk that they share.

    Args:
        network: a `models.RetrievalNet`, or another network that `describe` takes; each process has all of it.
        images: the images; their `sizes` say which programs are compiled.
        scales: see `describe`.
        prepare: see `describe`.
        exact: see `describe`.
        folder: where descriptors are kept; "" keeps none.
        about: what tells these images from others of the same sizes, such as the `repr` of a benchmark.

    Returns:
        (images, d), float32.

    Raises:
        ValueError: if there is no image, the folder has descriptors of another network of the same name and parameters,
            or in the cases of `describe`; and what reading an image raises.
        OSError: if the folder cannot be written.
    """
    if not len(images):
        raise ValueError("images must be at least one, not none")
    network = of_this_process(network)
    options = {"scales": tuple(scales), "prepare": prepare, "exact": exact, "sizes": frozenset(images.sizes)}
    make = functools.partial(describe, network, **options)
    kept = None
    if folder:
        kept = _Kept(Path(folder) / fingerprint(network, options["scales"], exact, tuple(images.sizes), about))
    parts, own = [], _chunks(len(images), jax.process_index(), jax.process_count())
    if kept:
        kept.check(own, lambda index: make([images[index]])[0])
    whole = tqdm(total=sum(map(len, own)), unit=" images", disable=True if jax.process_index() else None)
    with whole as bar, ThreadPoolExecutor() as pool:
        for chunk in own:
            found = kept.read(chunk) if kept else None
            if found is None:
                found = make(list(pool.map(images.__getitem__, chunk)))
                if kept:
                    kept.write(chunk, found)
            parts.append(found)
            bar.update(len(chunk))
    return _gathered(parts, len(images))


def fingerprint(
    network: nnx.Module, scales: Sequence[float], exact: bool, sizes: Sequence[tuple[int, int]], about: str
) -> str:
    """A name for the descriptors of images by a network in evaluation mode: 32 digits of a SHA-256."""
    graphdef, _, state = nnx.split(network, nnx.RngState, ...)
    digest = hashlib.sha256()
    # Functions are told apart by their names: where they lie in the memory is another thing in each process.
    structure = re.sub(r" at 0x[0-9a-f]+", "", repr(graphdef))
    digest.update(repr((structure, tuple(map(float, scales)), exact, tuple(sizes), about)).encode())
    for path, leaf in nnx.to_flat_state(state):
        value = np.asarray(leaf[...])
        digest.update(repr((path, str(value.dtype), value.shape)).encode())
        digest.update(value.tobytes())
    return digest.hexdigest()[:32]


class _Kept:
    """Descriptors in files of a folder, one for each chunk."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def read(self, chunk: range) -> np.ndarray | None:
        """What was written; None where nothing, or nothing whole, is there."""
        try:
            found = read_arrays(self._path(chunk), ("descriptors",), "descriptors")["descriptors"]
        except (FileNotFoundError, ValueError):
            return None
        return found if found.ndim == 2 and len(found) == len(chunk) and found.dtype == np.float32 else None

    def write(self, chunk: range, found: np.ndarray) -> None:
        write_arrays(self._path(chunk), {"descriptors": found})

    def check(self, chunks: Sequence[range], again: Callable[[int], np.ndarray]) -> None:
        """Raise a ValueError unless the first image there has the descriptor that it has again."""
        for chunk in chunks:
            found = self.read(chunk)
            if found is None:
                continue
            made = again(chunk[0])
            if made.shape != found[0].shape or not float(made @ found[0]) > _SAME:
                raise ValueError(
                    f"{self._folder} must hold descriptors by this network, but that of image {chunk[0]} is another: "
                    "remove it, or give another folder"
                )
            return

    def _path(self, chunk: range) -> Path:
        return self._folder / f"{chunk.start:08}-{chunk.stop:08}.npz"


def of_this_process(network: Any) -> Any:
    """A copy in evaluation mode on the first device of this process."""
    graphdef, state = nnx.split(network)
    own = jax.tree.map(lambda leaf: leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf, state)
    network = nnx.merge(graphdef, own, copy=True)
    network.eval()
    return network


def _chunks(count, process, processes):
    """The ranges of indices that are one process's share."""
    starts = range(0, count, _CHUNK)[process::processes]
    return [range(start, min(start + _CHUNK, count)) for start in starts]


def _gathered(parts, count):
    """The descriptors of all images, in their order, of each process's own."""
    processes = jax.process_count()
    if processes == 1:
        return np.concatenate(parts)
    width = int(np.max(multihost_utils.process_allgather(np.array(parts[0].shape[1] if parts else 0))))
    rows = [[index for chunk in _chunks(count, each, processes) for index in chunk] for each in range(processes)]
    own = np.zeros((max(map(len, rows)), width), np.float32)
    own[: sum(map(len, parts))] = np.concatenate([np.zeros((0, width), np.float32), *parts])
    every, found = multihost_utils.process_allgather(own), np.zeros((count, width), np.float32)
    for indices, made in zip(rows, np.asarray(every), strict=True):
        found[indices] = made[: len(indices)]
    return found
