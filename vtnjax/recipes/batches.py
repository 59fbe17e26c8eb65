"""Batches: shuffled records, the same number of each class, triplets beside shuffled records, or tuples."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

import jax

from vtnjax import data
from vtnjax._checks import check_at_least_1
from vtnjax.recipes.mining import make_mine
from vtnjax.train import Batches

Spec: TypeAlias = dict[str, jax.ShapeDtypeStruct]
ToTest: TypeAlias = Callable[[data.Source], data.Source]


@runtime_checkable
class Batching(Protocol):
    """Endless batches of a source."""

    def spec(self, batch_size: int, record: Spec) -> Spec:
        """The shape and dtype of each array of a batch of all processes, from the arrays of a record."""
        ...

    @property
    def group(self) -> int:
        """How many images of a class stand side by side; 1 where they come as they come."""
        ...

    def check(self, batch_size: int, classes: int, *, triplets: bool) -> None:
        """Raise a ValueError by the config's keys unless such batches, and triplets of them if wanted, can be."""
        ...

    def __call__(self, source: data.Source, batch_size: int, *, to_test: ToTest, **options: Any) -> Batches:
        """The batches; `to_test` makes a source's images as tests see them, the others are of `data.train_batches`."""
        ...


@dataclasses.dataclass(frozen=True)
class Shuffled:
    """Every epoch has each record once; see `data.train_batches`."""

    @property
    def group(self) -> int:
        """How many images of a class stand side by side."""
        return 1

    def spec(self, batch_size: int, record: Spec) -> Spec:
        """The records' arrays."""
        return _stacked(batch_size, record)

    def check(self, batch_size: int, classes: int, *, triplets: bool) -> None:
        """Any batch can be."""

    def __call__(self, source: data.Source, batch_size: int, *, to_test: ToTest, **options: Any) -> Batches:
        """Shuffled batches."""
        return data.train_batches(source, batch_size=batch_size, **options)


@dataclasses.dataclass(frozen=True)
class Balanced:
    """The same number of images of each of some classes, for the task and for triplets; see `balanced_batches`.

    Attributes:
        images_per_class: the number of images of each class in a batch, a divisor of its size.
    """

    images_per_class: int

    def __post_init__(self) -> None:
        check_at_least_1("images_per_class", self.images_per_class)

    @property
    def group(self) -> int:
        """How many images of a class stand side by side."""
        return self.images_per_class

    def spec(self, batch_size: int, record: Spec) -> Spec:
        """The records' arrays."""
        return _stacked(batch_size, record)

    def check(self, batch_size: int, classes: int, *, triplets: bool) -> None:
        """The set must have as many classes as a batch needs."""
        _check_balance(self.images_per_class, "config.batch_size", batch_size, classes, triplets)

    def __call__(self, source: data.Source, batch_size: int, *, to_test: ToTest, **options: Any) -> Batches:
        """Balanced batches."""
        return _balanced(source, batch_size, self.images_per_class, options)


@dataclasses.dataclass(frozen=True)
class WithTriplets:
    """Shuffled batches for the task, and beside them balanced ones of another size for triplets; `data.WithTriplets`.

    Attributes:
        images_per_class: the number of images of each class in a batch of triplets, a divisor of its size.
        triplet_batch: the number of images in a batch of triplets.
    """

    images_per_class: int
    triplet_batch: int

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_at_least_1(field.name, getattr(self, field.name))

    @property
    def group(self) -> int:
        """How many images of a class stand side by side."""
        return self.images_per_class

    def spec(self, batch_size: int, record: Spec) -> Spec:
        """The records' arrays, and others named "triplet_image" and "triplet_label"."""
        triplets = _stacked(self.triplet_batch, record)
        return {**_stacked(batch_size, record), **{f"triplet_{name}": spec for name, spec in triplets.items()}}

    def check(self, batch_size: int, classes: int, *, triplets: bool) -> None:
        """The set must have as many classes as a batch of triplets needs."""
        name = "config.batches.triplet_batch"
        _check_balance(self.images_per_class, name, self.triplet_batch, classes, triplets)

    def __call__(self, source: data.Source, batch_size: int, *, to_test: ToTest, **options: Any) -> Batches:
        """Batches of both, joined."""
        triplets = _balanced(source, self.triplet_batch, self.images_per_class, options)
        return data.WithTriplets(data.train_batches(source, batch_size=batch_size, **options), triplets)


@dataclasses.dataclass(frozen=True)
class Tuples:
    """Tuples of a query, a positive and hard negatives, found anew by the network as it is; see `data.TupleBatches`.

    `config.batch_size` counts images, of which each tuple has 2 + `negatives`. The arrays of a batch are
    (tuples, 2 + negatives, ...), so that a device, and a part of `config.micro_batches`, has whole tuples.

    Attributes:
        negatives: the number of negatives of each query.
        renew_every: the number of steps after which tuples are drawn and negatives found anew.
        queries: the number of tuples that are drawn; all pairs of the set where there are fewer.
        pool: the number of images that negatives come from; all of the set where there are fewer.
    """

    negatives: int = 5
    renew_every: int = 400
    queries: int = 2000
    pool: int = 20_000

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_at_least_1(field.name, getattr(self, field.name))

    @property
    def group(self) -> int:
        """An array has a whole tuple, whose images nothing cuts apart."""
        return 1

    def spec(self, batch_size: int, record: Spec) -> Spec:
        """The records' arrays, those of a tuple together."""
        each = 2 + self.negatives
        arrays = {name: jax.ShapeDtypeStruct((each, *spec.shape), spec.dtype) for name, spec in record.items()}
        return _stacked(batch_size // each, arrays)

    def check(self, batch_size: int, classes: int, *, triplets: bool) -> None:
        """A batch must hold whole tuples, and no class comes twice in one."""
        each = 2 + self.negatives
        if batch_size % each:
            raise ValueError(
                f"config.batch_size must be a multiple of {each}, the images of a tuple (config.batches.negatives and "
                f"2), not {batch_size}"
            )
        if self.negatives >= classes:
            raise ValueError(
                f"config.batches.negatives must be below the number of classes, {classes}, not {self.negatives}"
            )

    def __call__(self, source: data.Source, batch_size: int, *, to_test: ToTest, **options: Any) -> Batches:
        """Tuples, for which the network is asked."""
        labelled = cast(data.LabelledSource, source)
        shared = {name: options[name] for name in options if name.startswith("process_")}
        mine = make_mine(
            labelled,
            to_test(source),
            batch_size=batch_size,
            negatives=self.negatives,
            threads=options["threads"],
            **shared,
        )
        return data.TupleBatches(labelled, batch_size=batch_size, mine=mine, **dataclasses.asdict(self), **options)


BATCHES = {"shuffled": Shuffled, "balanced": Balanced, "with_triplets": WithTriplets, "tuples": Tuples}


def _stacked(count, record):
    return {name: jax.ShapeDtypeStruct((count, *spec.shape), spec.dtype) for name, spec in record.items()}


def _balanced(source, size, each, options):
    labelled = cast(data.LabelledSource, source)  # asked for its labels, another source is refused
    return data.balanced_batches(labelled, classes_per_batch=size // each, images_per_class=each, **options)


def _check_balance(each, name, size, classes, triplets):
    if size % each:
        raise ValueError(f"config.batches.images_per_class must divide the batch of {size}, not {each}")
    if triplets and (each == 1 or size == each):
        raise ValueError(
            "config.batches.images_per_class must be at least 2 and less than "
            f"{name}, {size}, or the consistency loss has no triplets, not {each}"
        )
    if size // each > classes:
        raise ValueError(
            f"{name} must be at most {classes * each}, config.batches.images_per_class ({each}) images of each of the "
            f"{classes} classes, not {size}"
        )
