"""Batches of tuples to learn a ranking from: a query, an image of the same, and negatives that a network finds hard."""

import functools
from collections.abc import Callable
from typing import Any

import grain
import numpy as np

from vtnjax._checks import check_at_least_1
from vtnjax.data.pipeline import Augment, Share, stream_batches
from vtnjax.data.records import LabelledSource

# Of what predicts, the indices of queries (k,) and of a pool (m,): the places in the pool of negatives (k, n).
Mine = Callable[[Any, np.ndarray, np.ndarray], np.ndarray]


class TupleBatches:
    """Endless batches of tuples, which are drawn anew, with new negatives, at every renewal.

    A renewal draws pairs of a query and an image of its class, and a pool of images, by the seed and its number; those
    of the source's `pairs`, or of its labels where it has none. The negatives of each query come from the pool, the
    hardest first. Until the next renewal the batches go through the tuples in shuffled rounds. Batch k is a function
    of its number and of what the renewals found, which is in the position.

    A batch is {"image": uint8 (b, 2 + negatives, h, w, c), "label": int32 (b, 2 + negatives)}: query, positive,
    negatives. It is the processes' shares of it that make up the batch of a single process.
    """

    def __init__(
        self,
        source: LabelledSource,
        *,
        batch_size: int,
        mine: Mine,
        negatives: int,
        renew_every: int,
        queries: int,
        pool: int,
        seed: int,
        augment: Augment | None = None,
        process_index: int = 0,
        process_count: int = 1,
        threads: int = 1,
        prefetch: int = 4,
    ):
        """Checks the numbers; nothing is read before the first renewal.

        Args:
            source: The source to read, which has `labels`, and may have `pairs`, int (k, 2), of indices.
            batch_size: The number of images in a batch of all processes together.
            mine: The function that finds negatives, of what `renew` was given to predict with, the indices of queries
                (k,), and those of a pool (m,); it returns places in the pool (k, `negatives`).
            negatives: The number of negatives in a tuple.
            renew_every: The number of batches between two renewals.
            queries: The number of pairs that a renewal draws; all of them where there are fewer.
            pool: The number of images that negatives come from; all of them where there are fewer.
            seed: The seed of all that is drawn and of the augmentation, at least 0.
            augment: The function of a record and a generator that `train_batches` describes.
            process_index: The number of this process, from 0.
            process_count: The number of processes.
            threads: The number of threads that make batches; 0 makes each batch when it is asked for.
            prefetch: The number of batches kept ready; none of them lies behind the next renewal.

        Raises:
            ValueError: If the source has no labels or no pair, a number is below 1, or a process's share of a batch is
                no whole number of tuples.
        """
        if not hasattr(source, "labels"):
            raise ValueError(f"source must have labels, as every source of vtnjax.data but Mapped has, not {source!r}")
        counts = {"negatives": negatives, "renew_every": renew_every, "queries": queries, "pool": pool}
        for name, count in counts.items():
            check_at_least_1(name, count)
        self._share, self._group = Share(source, batch_size, process_index, process_count), 2 + negatives
        if batch_size % (process_count * self._group):
            raise ValueError(
                f"batch_size must be a multiple of {self._group} images for each of {process_count} processes, not "
                f"{batch_size}"
            )
        draw_pairs(source, 1, np.random.default_rng(seed))  # says now that there is none
        self._source, self._mine, self._seed = source, mine, seed
        self._every, self._queries, self._pool = renew_every, queries, pool
        self._options: dict[str, Any] = {"augment": augment, "threads": threads, "prefetch": prefetch}
        self._number, self._mined, self._batches = -1, np.empty((0, self._group), np.int32), None

    @property
    def renew_every(self) -> int:
        """The number of batches between two renewals."""
        return self._every

    @property
    def mined(self) -> np.ndarray:
        """int32 (k, 2 + negatives), the indices of the images of each tuple since the last renewal."""
        return self._mined

    def renew(self, step: int, predict: Any) -> None:
        """Draw tuples anew, for the batches from number `step` on.

        Args:
            step: The number of batches taken so far, a multiple of `renew_every`.
            predict: What `mine` finds negatives with.
        """
        number = step // self._every
        rng = np.random.default_rng((self._seed, 0, number))
        pairs = draw_pairs(self._source, self._queries, rng)
        pool = rng.permutation(len(self._source))[: self._pool]
        negatives = pool[self._mine(predict, pairs[:, 0], pool)]
        self._begin(number, np.concatenate([pairs, negatives], axis=1).astype(np.int32))

    def __iter__(self) -> "TupleBatches":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        """The next batch.

        Raises:
            ValueError: If a renewal is due.
        """
        batch = None if self._batches is None else next(self._batches, None)
        if batch is None:
            raise ValueError(f"renew must be called before every {self._every} batches")
        return {name: array.reshape(-1, self._group, *array.shape[1:]) for name, array in batch.items()}

    def get_state(self) -> dict[str, Any]:
        """The position and what the last renewal found, which JSON can hold."""
        position = None if self._batches is None else self._batches.get_state()
        return {"number": self._number, "mined": self._mined.tolist(), "position": position}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on at a position that `get_state` gave."""
        if state["position"] is None:
            self._number, self._batches = -1, None
            return
        self._begin(state["number"], np.array(state["mined"], np.int32)).set_state(state["position"])

    def _begin(self, number: int, mined: np.ndarray) -> grain.DatasetIterator:
        """The batches of the stretch of a number."""
        first = number * self._every

        def index_of(place: int) -> int:
            tuple_place, image = divmod(place - first * self._share.batch_size, self._group)
            rounds, position = divmod(tuple_place, len(mined))
            return int(mined[_order(len(mined), (self._seed, 1, number, rounds))[position], image])

        batches = range(first, first + self._every)
        self._number, self._mined = number, mined
        self._batches = stream_batches(self._share, index_of, seed=self._seed, batches=batches, **self._options)
        return self._batches


def draw_pairs(source: LabelledSource, count: int, rng: np.random.Generator) -> np.ndarray:
    """Indices of different queries, or of different pairs of the source, each beside that of an image of the same.

    Args:
        source: A source with `pairs`, of which some are drawn, or else with labels: then a query is any image that is
            not alone in its class, and its positive is drawn of the others.
        count: The number of pairs, or all where there are fewer.
        rng: What draws.

    Returns:
        int (k, 2).

    Raises:
        ValueError: If there is no pair.
    """
    pairs = getattr(source, "pairs", None)
    if pairs is None:
        labels = np.asarray(source.labels)
        chosen = np.flatnonzero(np.bincount(labels)[labels] > 1)
        queries = rng.permutation(chosen)[:count]
        others = (np.flatnonzero((labels == labels[query]) & (np.arange(len(labels)) != query)) for query in queries)
        pairs = np.array([(query, rng.choice(other)) for query, other in zip(queries, others, strict=True)])
    else:
        pairs = pairs[rng.permutation(len(pairs))[:count]]
    if not len(pairs):
        raise ValueError(f"source must have two images of a class, or pairs, but {source!r} has none")
    return pairs


def hard_negatives(
    similarities: np.ndarray, query_labels: np.ndarray, pool_labels: np.ndarray, count: int
) -> np.ndarray:
    """For each query the most similar images of a pool, none of its own class and no class twice.

    Args:
        similarities: (k, m), of k queries to the m images of the pool.
        query_labels: Integers (k,).
        pool_labels: Integers (m,).
        count: The number of negatives of each query.

    Returns:
        int (k, count), the places of the negatives in the pool, the most similar first; of equal ones the first.

    Raises:
        ValueError: If the pool has too few classes.
    """
    kinds = len(np.unique(pool_labels))
    if kinds <= count:
        raise ValueError(f"the pool must have images of {count + 1} classes for {count} negatives, not of {kinds}")
    found = np.empty((len(similarities), count), np.int64)
    for row, (similarity, label) in enumerate(zip(similarities, query_labels, strict=True)):
        order = np.argsort(-similarity, kind="stable")
        order = order[pool_labels[order] != label]
        _, first = np.unique(pool_labels[order], return_index=True)
        found[row] = order[np.sort(first)[:count]]
    return found


# Threads at the boundary of two rounds ask for both orders in turn.
@functools.lru_cache(maxsize=4)
def _order(count: int, key: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(key).permutation(count)
