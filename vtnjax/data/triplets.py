"""Batches to classify beside batches to form triplets from."""

from typing import Any

import grain
import numpy as np


class WithTriplets:
    """An iterator over pairs of batches. Its position can be saved like the position of either iterator."""

    def __init__(self, batches: grain.DatasetIterator, triplets: grain.DatasetIterator):
        """Joins them.

        Args:
            batches: The batches for the task, made by `train_batches`.
            triplets: The class-balanced batches, made by `balanced_batches`.
        """
        self._batches, self._triplets = batches, triplets

    def __iter__(self) -> "WithTriplets":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        """The next batch for the task, with "triplet_image" and "triplet_label" from the next batch of triplets."""
        triplets = next(self._triplets)
        return {**next(self._batches), "triplet_image": triplets["image"], "triplet_label": triplets["label"]}

    def get_state(self) -> dict[str, Any]:
        """The positions of both iterators, which JSON can hold."""
        return {"batches": self._batches.get_state(), "triplets": self._triplets.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on at positions that `get_state` gave."""
        self._batches.set_state(state["batches"])
        self._triplets.set_state(state["triplets"])
