"""Hard negatives by a network as it is now, found by all processes together."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from jax.experimental import multihost_utils

from vtnjax import data
from vtnjax.data.tuples import Mine
from vtnjax.train.mesh import data_mesh, to_devices


def make_mine(
    source: data.LabelledSource,
    tested: data.Source,
    *,
    batch_size: int,
    negatives: int,
    threads: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Mine:
    """The function that `data.TupleBatches` finds negatives with.

    Each process reads its share of the images, which are described on the devices of all, a batch at a time, and
    every process gathers the descriptors of all. What the first one finds by them is what each takes, since the
    sums of another machine may differ in their last digits.

    Args:
        source: the training set, for its labels.
        tested: the same images as tests see them.
        batch_size: how many images are described at once, by all devices together.
        negatives: the number of negatives of each query.
        threads: the number of threads that read images.
        process_index: the number of this process.
        process_count: the number of processes.
    """
    options: dict[str, Any] = {"process_index": process_index, "process_count": process_count, "threads": threads}

    def mine(predict: Callable[[Any], Any], queries: np.ndarray, pool: np.ndarray) -> np.ndarray:
        chosen, places = np.unique(np.concatenate([queries, pool]), return_inverse=True)
        batches = data.eval_batches(_Chosen(tested, chosen), batch_size=batch_size, **options)
        found = np.concatenate([_gathered(predict(batch["image"])) for batch in to_devices(batches, data_mesh())])
        of_queries, of_pool = np.split(found[places], [len(queries)])
        similarities = of_queries @ of_pool.T
        hard = data.hard_negatives(similarities, source.labels[queries], source.labels[pool], negatives)
        return np.asarray(multihost_utils.broadcast_one_to_all(hard.astype(np.int32)))

    return mine


class _Chosen:
    """Some records of a source."""

    def __init__(self, source: data.Source, indices: np.ndarray):
        self.classes, self._source, self._indices = source.classes, source, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> data.Record:
        return self._source[int(self._indices[index])]


def _gathered(prediction: Any) -> np.ndarray:
    """Descriptors of a batch of all processes."""
    return cast(np.ndarray, multihost_utils.process_allgather(prediction[0], tiled=True))
