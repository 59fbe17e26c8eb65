"""Sources of labelled images: the protocols, a source over arrays in memory, and one that maps another."""

from collections.abc import Callable
from typing import Protocol, TypedDict, runtime_checkable

import numpy as np


class Record(TypedDict):
    """One example: `image` uint8 (h, w, c), or floating, images in [0, 1], `label` from 0 to the number of classes - 1.

    A number of several digits has int32 (k,) labels. Some sets tell where the object is too: `box`, see `Located`, and
    `mask`, bool (h, w), the pixels that it covers.
    """

    image: np.ndarray
    label: int | np.ndarray


class Located(Record):
    """A record with where the object is: `box` float32 (4,), the left, top, right and bottom edge in pixels."""

    box: np.ndarray


@runtime_checkable
class Source(Protocol):
    """Labelled images by index: what the pipeline reads from."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of each label, in the order of the labels."""
        ...

    def __len__(self) -> int:
        """The number of records."""
        ...

    def __getitem__(self, index: int) -> Record:
        """The record at `index`; IndexError outside the source."""
        ...


@runtime_checkable
class LabelledSource(Source, Protocol):
    """A source that tells its labels without decoding an image: what class-balanced batches need."""

    @property
    def labels(self) -> np.ndarray:
        """int32 (n,), the label of each record."""
        ...


class Mapped:
    """A source whose records go through a function: the resizing of photographs to test on, for example.

    Attributes:
        classes: The name of each label.
    """

    def __init__(self, source: Source, function: Callable[[Record], Record]):
        """Keeps both; the function is called when a record is asked for.

        Args:
            source: The source to read.
            function: The function from a record to the record to use, with the same label.
        """
        self.classes = source.classes
        self._source, self._function = source, function

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        return self._function(self._source[index])

    def __repr__(self) -> str:
        return f"Mapped({self._source!r})"


class Arrays:
    """A source over arrays in memory.

    Attributes:
        images: uint8 (n, h, w, c), or float32 in [0, 1], read only.
        labels: int32 (n,).
        classes: The name of each label.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]):
        """Checks and keeps the arrays.

        Args:
            images: uint8 (n, h, w, c), or float32 in [0, 1].
            labels: Integers (n,), from 0 to len(classes) - 1.
            classes: The name of each label.

        Raises:
            ValueError: If the arrays have other shapes or dtypes, differ in length, or a label is out of range.
        """
        if images.ndim != 4 or images.dtype not in (np.uint8, np.float32):
            raise ValueError(
                f"images must be uint8 or float32 (n, h, w, c), not {images.dtype} of shape {images.shape}"
            )
        if labels.shape != images.shape[:1]:
            raise ValueError(f"labels must have the shape ({len(images)},) of {len(images)} images, not {labels.shape}")
        check_labels(labels, classes)
        self.images, self.labels, self.classes = images.view(), labels.astype(np.int32), tuple(classes)
        # Records are views: an augmentation that wrote into one would change the data for good.
        self.images.flags.writeable = False

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Record:
        return {"image": self.images[index], "label": int(self.labels[index])}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(images={self.images.shape}, classes={len(self.classes)})"


def check_labels(labels: np.ndarray, classes: tuple[str, ...], *, first: int = 0) -> None:
    """Checks that every label names a class.

    Args:
        labels: Integers (n,).
        classes: The name of each label.
        first: The index in its source of the record that `labels[0]` belongs to.

    Raises:
        ValueError: If a label is below 0 or above len(classes) - 1; the sentence names the first such record.
    """
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if wrong.size:
        raise ValueError(
            f"the label of record {first + wrong[0]} must be from 0 to {len(classes) - 1}, a number of the "
            f"{len(classes)} classes, not {labels[wrong[0]]}"
        )
