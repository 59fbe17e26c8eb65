"""Batches of some classes by some images each, which triplets are formed from."""

import functools
import math

import grain
import numpy as np

from vtnjax._checks import check_at_least_1
from vtnjax.data.pipeline import Augment, Share, stream_batches
from vtnjax.data.records import LabelledSource


def balanced_batches(
    source: LabelledSource,
    *,
    classes_per_batch: int,
    images_per_class: int,
    seed: int,
    augment: Augment | None = None,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 1,
    prefetch: int = 4,
) -> grain.DatasetIterator:
    """Endless batches of P different classes x Q images each, the images of a class side by side.

    The classes go by in shuffled rounds, and every round has each class once, so that all are seen equally often
    whatever their size. Each class goes through its images in shuffled rounds of its own, and the Q images of a batch
    differ; a class of fewer than Q images repeats them, each time with an augmentation of its own. Batch k is a
    function of its number alone, and the processes' shares of it make up batch k of a single process.

    Args:
        source: The source to read, which has `labels`.
        classes_per_batch: The number P of classes in a batch of all processes together.
        images_per_class: The number Q of images of each class in a batch.
        seed: The seed of the orders and of the augmentation, at least 0.
        augment: The function of a record and a generator that `train_batches` describes.
        process_index: The number of this process, from 0.
        process_count: The number of processes.
        threads: The number of threads that make batches; 0 makes each batch when it is asked for.
        prefetch: The number of batches kept ready.

    Returns:
        An iterator as `train_batches` returns it, of b = P * Q / process_count records.

    Raises:
        ValueError: If the source has no labels, P is below 1 or above the number of classes, Q is below 1, a class has
            no image, P * Q is not divisible by `process_count`, `process_index` is out of range, or `seed` is negative;
            from next(), if images differ in shape.
    """
    if not hasattr(source, "labels"):
        raise ValueError(f"source must have labels, as every source of vtnjax.data but Mapped has, not {source!r}")
    count = len(source.classes)
    if not 1 <= classes_per_batch <= count:
        raise ValueError(f"classes_per_batch must be from 1 to the {count} classes, not {classes_per_batch}")
    check_at_least_1("images_per_class", images_per_class)
    members = _members(source)
    share = Share(source, classes_per_batch * images_per_class, process_index, process_count)

    def index_of(place: int) -> int:
        slot, image = divmod(place, images_per_class)
        chosen = _drawn(count, classes_per_batch, (seed, 0), slot)
        # A round has each class once, so this is the class's visit of that number.
        visit, indices = slot // count, members[chosen]
        return int(indices[_drawn(len(indices), images_per_class, (seed, 1, chosen), visit * images_per_class + image)])

    return stream_batches(share, index_of, seed=seed, augment=augment, threads=threads, prefetch=prefetch)


def _members(source: LabelledSource) -> list[np.ndarray]:
    """The records of each class."""
    members = [np.flatnonzero(source.labels == label) for label in range(len(source.classes))]
    without = [name for name, indices in zip(source.classes, members, strict=True) if not indices.size]
    if without:
        raise ValueError(f"{source!r} must have an image of every class, but has none of {', '.join(without)}")
    return members


def _drawn(count: int, group: int, key: tuple[int, ...], place: int) -> int:
    """The number at `place` of the endless stream that `_cycle` makes, a cycle after the other."""
    cycle, position = divmod(place, math.lcm(count, group))
    return int(_cycle(count, group, (*key, cycle))[position])


# Many classes' images are under way at a time. To make a cycle again takes as long as to decode a picture.
@functools.lru_cache(maxsize=1024)
def _cycle(count: int, group: int, key: tuple[int, ...]) -> np.ndarray:
    """0 to count - 1 in shuffled rounds, as many as fill whole groups of `group`.

    The numbers of a group differ, also where it holds the end of a round and the start of the next (unless there are
    fewer numbers than places in a group).
    """
    rng = np.random.default_rng(key)
    stream = np.empty(0, np.int64)
    for _ in range(math.lcm(count, group) // count):
        begun = stream[len(stream) - len(stream) % group :]
        order = rng.permutation(count)
        # Numbers that the begun group holds already go behind the places that complete it.
        waits = np.isin(order, begun)
        missing = min(group - len(begun), count) if len(begun) else 0
        head = order[~waits][:missing]
        stream = np.concatenate([stream, head, order[~np.isin(order, head)]])
    return stream
