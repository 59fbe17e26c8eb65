"""Accuracy by super-class, and its two means."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from flax import nnx
from jaxtyping import Float, Int
from numpy import ndarray

from vtnjax.evaluate.base import Test
from vtnjax.evaluate.classification import Classification, add_up


@runtime_checkable
class _Grouped(Protocol):
    super_classes: Sequence[str]
    super_labels: Int[ndarray, " classes"]


@dataclasses.dataclass(frozen=True)
class SuperClasses(Classification):
    """`Classification`, with the accuracy within each super-class of the classes, by its name, and their mean "macro".

    "accuracy" is micro: over the images, as the totals of TASN's Table 10; "macro" is over the super-classes that have
    images, as those of VTN's Table 4. Labels are (n,).

    Attributes:
        flip: whether mirror images are averaged in, as in `Classification`.
        names: the names of the super-classes.
        labels: for each class the index of its super-class in `names`.
    """

    names: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()

    @property
    def how(self) -> str:
        """What is said beside the figures."""
        means = "the error is micro, over images; macro is the mean accuracy of the super-classes"
        return ", ".join(filter(None, (super().how, means)))

    def of(self, source: Any) -> "SuperClasses":
        """The same for a source that has `super_classes` and `super_labels`, as `data.INaturalist2017` has.

        Raises:
            ValueError: if it has none.
        """
        if not isinstance(source, _Grouped):
            raise ValueError(f"the test set must have super-classes, as inat2017 has, not {source!r}")
        return dataclasses.replace(self, names=tuple(source.super_classes), labels=tuple(map(int, source.super_labels)))

    def __call__(self, model: nnx.Module, test: Test) -> dict[str, float]:
        """The figures of a network in evaluation mode.

        Raises:
            ValueError: if it does not know the super-classes, or there is no record to score.
        """
        if not self.names:
            raise ValueError("names must be the super-classes of the test set, not none: see SuperClasses.of")
        groups = np.eye(len(self.names), dtype=np.float32)[list(self.labels)]
        total = add_up(model, test, flip=self.flip, groups=groups)
        loss = {"loss": float(total["loss"] / total["count"].sum())}
        return {**loss, **by_super_class(total["correct"], total["count"], self.names)}


def by_super_class(
    correct: Float[ndarray, " k"], count: Float[ndarray, " k"], names: Sequence[str]
) -> dict[str, float]:
    """The "accuracy" over all images, "macro", the mean over the super-classes, and that of each, by its name.

    Args:
        correct: (k,), how many images of each super-class are right.
        count: (k,), how many images it has; one without images is left out.
        names: the names of the super-classes.
    """
    each = {name: float(right / all_) for name, right, all_ in zip(names, correct, count, strict=True) if all_}
    return {"accuracy": float(np.sum(correct) / np.sum(count)), "macro": float(np.mean(list(each.values()))), **each}
