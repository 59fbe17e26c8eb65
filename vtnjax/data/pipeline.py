"""Batches from a source: shuffled and endless to train on, in order and once to test on.

A batch is a function of its number alone, so the same batches come whatever the threads do, and resuming is counting.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Iterable
from typing import Any, cast

import cv2
import grain
import numpy as np

from vtnjax._checks import check_at_least_1
from vtnjax.data.records import Record, Source

Augment = Callable[[Record, np.random.Generator], Record]


def train_batches(
    source: Source,
    *,
    batch_size: int,
    seed: int,
    augment: Augment | None = None,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 1,
    prefetch: int = 4,
) -> grain.DatasetIterator:
    """Endless shuffled batches.

    Every epoch has each record once, in an order of its own; a batch may hold the end of one epoch and the start of the
    next. The processes' shares of batch k make up batch k of a single process, augmentation included.

    Args:
        source: The source to read.
        batch_size: The number of records of all processes together.
        seed: The seed of the orders and of the augmentation, at least 0.
        augment: A function of a record and of a generator, which depends on the seed and the record's place in the
            stream only; it returns the record to use.
        process_index: The number of this process, from 0.
        process_count: The number of processes.
        threads: The number of threads that make batches; 0 makes each batch when it is asked for.
        prefetch: The number of batches kept ready.

    Returns:
        An iterator of {"image": uint8 (b, h, w, c), "label": int32 (b,)}, where b = batch_size / process_count, and
        records of k labels make labels (b, k). get_state() returns a dictionary that JSON can hold, and set_state()
        goes on exactly at that position.

    Raises:
        ValueError: If `batch_size` is below 1, above the number of records or not divisible by `process_count`,
            `process_index` is out of range, or `seed` is negative; from next(), if images differ in shape.
    """
    share = Share(source, batch_size, process_index, process_count)
    if batch_size > len(source):
        raise ValueError(f"batch_size must be at most the {len(source)} records of {source!r}, not {batch_size}")

    def index_of(place: int) -> int:
        epoch, position = divmod(place, len(source))
        return int(_order(len(source), seed, epoch)[position])

    return stream_batches(share, index_of, seed=seed, augment=augment, threads=threads, prefetch=prefetch)


def eval_batches(
    source: Source,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 1,
) -> grain.DatasetIterator:
    """One pass in order, in batches of equal size, equally many in every process.

    Args:
        source: The source to read.
        batch_size: The number of records of all processes together.
        process_index: The number of this process, from 0.
        process_count: The number of processes.
        threads: The number of threads that make batches; 0 makes each batch when it is asked for.

    Returns:
        An iterator of {"image": uint8 (b, h, w, c), "label": int32 (b,), "mask": float32 (b,)}, b = batch_size /
        process_count. The mask is 0 where the last batch repeats the last record to fill up, so that over all
        batches and processes each record has mask 1 exactly once. Where the records tell of objects, there are
        "box": float32 (b, 4) and, of their `mask`, "object": bool (b, h, w).

    Raises:
        ValueError: If `batch_size` is below 1 or not divisible by `process_count`, or `process_index` is out of range;
            from next(), if images differ in shape.
    """
    share = Share(source, batch_size, process_index, process_count)
    return _iterate(_EvalBatches(share), threads=threads, prefetch=4)


@dataclasses.dataclass(frozen=True)
class Share:
    """The part of each batch of `batch_size` records that one process reads."""

    source: Source
    batch_size: int
    process_index: int
    process_count: int

    def __post_init__(self) -> None:
        check_at_least_1("batch_size", self.batch_size)
        if self.process_count < 1 or self.batch_size % self.process_count:
            raise ValueError(
                f"process_count must be at least 1 and divide batch_size, {self.batch_size}, not {self.process_count}"
            )
        if not 0 <= self.process_index < self.process_count:
            raise ValueError(f"process_index must be from 0 to {self.process_count - 1}, not {self.process_index}")

    def places(self, batch: int) -> range:
        """The places of batch `batch` in the stream that this process reads."""
        # Neighbouring records, as a sharded array splits its first axis: a process's share stays on its devices.
        size = self.batch_size // self.process_count
        start = batch * self.batch_size + self.process_index * size
        return range(start, start + size)


def stream_batches(
    share: Share,
    index_of: Callable[[int], int],
    *,
    seed: int,
    augment: Augment | None,
    threads: int,
    prefetch: int,
    batches: range | None = None,
) -> grain.DatasetIterator:
    """Batches of an endless stream of records: batch k holds the places k * batch_size and on.

    Args:
        share: The source, and the places that this process reads.
        index_of: The function from a place of the stream to the index of its record; it is called from threads.
        seed: The seed of the augmentation, at least 0.
        augment: The function of a record and a generator that `train_batches` describes.
        threads: The number of threads that make batches; 0 makes each batch when it is asked for.
        prefetch: The number of batches kept ready.
        batches: The numbers of the batches, of which no other is made; None: all from 0 on.

    Returns:
        An iterator as `train_batches` returns it, which ends behind the last of `batches`.

    Raises:
        ValueError: If `seed` is negative; from next(), if images differ in shape.
    """
    if seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0, not {seed}")
    numbers = range(sys.maxsize // share.batch_size) if batches is None else batches
    return _iterate(_StreamBatches(share, index_of, seed, augment, numbers), threads, prefetch)


class _StreamBatches:
    """Grain reads it by number. A chain of Grain's own transformations, record by record, is many times slower."""

    def __init__(
        self, share: Share, index_of: Callable[[int], int], seed: int, augment: Augment | None, numbers: range
    ):
        self._share, self._index_of, self._seed, self._augment = share, index_of, seed, augment
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        places = self._share.places(self._numbers[index])
        return _stack((self._record(place) for place in places), len(places))

    def _record(self, place: int) -> Record:
        record = self._share.source[self._index_of(place)]
        if self._augment is None:
            return record
        # By the place in the stream, so that neither threads nor the number of processes change what is drawn.
        return self._augment(record, np.random.Generator(np.random.Philox(key=self._seed, counter=[0, 0, 0, place])))


class _EvalBatches:
    """Batch k holds the records k * batch_size and on, then the last record again and again."""

    def __init__(self, share: Share):
        self._share = share

    def __len__(self) -> int:
        return -(-len(self._share.source) // self._share.batch_size)

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        places, last = self._share.places(index), len(self._share.source) - 1
        batch = _stack((self._share.source[min(place, last)] for place in places), len(places), ("box", "mask"))
        objects = {"object": batch.pop("mask")} if "mask" in batch else {}
        return {**batch, **objects, "mask": np.array([place <= last for place in places], np.float32)}


# Threads at the boundary of two epochs ask for both orders in turn.
@functools.lru_cache(maxsize=4)
def _order(length: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(length)


def _stack(records: Iterable[Any], count: int, also: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """Images and labels in one array each, and of `also` what the first record has."""
    stacked = {}
    for position, record in enumerate(records):
        # Each image goes where it belongs at once: kept till the last is made, photographs would take twice the memory.
        if position == 0:
            for name in ("image", "label", *(name for name in also if name in record)):
                dtype = np.int32 if name == "label" else record[name].dtype
                stacked[name] = np.empty((count, *np.shape(record[name])), dtype)
        if record["image"].shape != stacked["image"].shape[1:]:
            low, high = sorted((record["image"].shape, stacked["image"].shape[1:]))
            raise ValueError(
                f"the images of a batch must have one shape, not {low} and {high}: give the source a size, or resize "
                "in augment"
            )
        for name, array in stacked.items():
            array[position] = record[name]
    return stacked


def _iterate(batches: Any, threads: int, prefetch: int) -> grain.DatasetIterator:
    # OpenCV's own threads would fight with ours and with the accelerator's.
    cv2.setNumThreads(0)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch if threads else 0)
    return cast(grain.DatasetIterator, iter(grain.MapDataset.source(batches).to_iter_dataset(options)))
