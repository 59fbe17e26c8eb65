"""How well a network's descriptors find the images that show what a query shows."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from vtnjax import data, retrieval
from vtnjax._checks import check_at_least_1, check_positive
from vtnjax.data.benchmark import check_benchmark
from vtnjax.evaluate.base import Test
from vtnjax.evaluate.describe_all import describe_all
from vtnjax.evaluate.revisited import PROTOCOLS, revisited
from vtnjax.models import imagenet_input

_SHOWN, _BEST = 5, 5
_INTERFACE = ("trunk", "transformer", "pool", "whitening")


@dataclasses.dataclass(frozen=True)
class Retrieval:
    """mAP and mP@k on a benchmark of instance-level retrieval, by the protocols of the revisited ones (VTN Table 6).

    The network's descriptors of all images of the database are ordered by their products with a query's. The figures,
    in 0..1, are "map_easy", "map_medium" and "map_hard", and "mp_at_1_easy", "mp_at_5_easy", ... of each protocol, see
    `revisited`. The test set is not read.

    Attributes:
        benchmark: a name that `data.load_benchmark` knows, such as "roxford5k" or "scenes".
        data_dir: the folder of the benchmark's files.
        size: the longest side of an image in pixels.
        scales: the factors of the images' sizes whose descriptors are joined, see `describe`.
        descriptors: a folder in which descriptors are kept, see `describe_all`; "" keeps none. Each network has its
            own there, so that of a run with many tests much is kept.
        exact: whether a descriptor is that of the image alone also where there is a transformer, see `describe`.
        whitening: the file of a `retrieval.Whitening` that descriptors pass before they are compared; "" is none.
        prepare: what the network takes, of images (n, h, w, 3) in [0, 1]; a recipe gives its own.
        opened: the benchmark, which `of` opens.
    """

    benchmark: str = "roxford5k"
    data_dir: str = ""
    size: int = 1024
    scales: Sequence[float] = (1.0,)
    descriptors: str = ""
    exact: bool = True
    whitening: str = ""
    prepare: Callable[[Array], Array] = dataclasses.field(default=imagenet_input, compare=False, repr=False)
    opened: data.Benchmark | None = dataclasses.field(default=None, compare=False, repr=False)
    _last: dict[str, Any] = dataclasses.field(default_factory=dict, init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_benchmark(self.benchmark)
        check_at_least_1("size", self.size)
        if not len(self.scales):
            raise ValueError("scales must be at least one, not none")
        for scale in self.scales:
            check_positive("scales", scale)

    @property
    def how(self) -> str:
        """What is said beside the figures."""
        scales = f" at scales {', '.join(f'{scale:.3g}' for scale in self.scales)}" if len(self.scales) > 1 else ""
        return f"on {self.benchmark}{scales}{', whitened' if self.whitening else ''}"

    @property
    def figure(self) -> str:
        """The name of the figure by which the best checkpoint is chosen."""
        return "map_medium"

    def of(self, source: Any) -> "Retrieval":
        """The same with its benchmark opened; the test set is not looked at.

        Raises:
            ValueError, OSError: if the benchmark or the whitening cannot be opened.
        """
        self._whitening()  # a file that cannot be read is refused now, not after the training
        opened = data.load_benchmark(self.benchmark, data_dir=self.data_dir, size=self.size)
        return dataclasses.replace(self, opened=opened)

    def prepared_by(self, prepare: Callable[[Array], Array]) -> "Retrieval":
        """The same, for networks that take what a function makes of images in [0, 1]."""
        return dataclasses.replace(self, prepare=prepare)

    def check(self, model: nnx.Module) -> None:
        """Raise a ValueError unless a network has the parts of `models.RetrievalNet`."""
        if not all(hasattr(model, name) for name in _INTERFACE):
            raise ValueError(
                f"the network must have descriptors, as models.RetrievalNet has, to be searched with, not "
                f"{type(model).__name__}"
            )

    def __call__(self, model: nnx.Module, test: Test) -> dict[str, float]:
        """The figures of a network; the test set is not read.

        They are NaN where a descriptor is not finite.

        Raises:
            ValueError: if the network has no descriptors, an image cannot be read, the whitening is for descriptors of
                another length, or in the cases of `describe_all`.
        """
        self.check(model)
        benchmark = self._benchmark
        found, searched = (
            describe_all(
                model,
                images,
                scales=self.scales,
                prepare=self.prepare,
                exact=self.exact,
                folder=self.descriptors,
                about=f"{benchmark!r} {name}",
            )
            for name, images in (("database", benchmark.database), ("queries", benchmark.queries))
        )
        finite = bool(np.isfinite(found).all() and np.isfinite(searched).all())
        if finite and (whitening := self._whitening()):
            found, searched = whitening.apply(found), whitening.apply(searched)
        ranking = rank(searched, found)
        self._last.update(ranking=ranking[:_SHOWN, :])
        figures = {}
        for protocol in PROTOCOLS:
            scores = revisited(ranking, benchmark.ground_truth, protocol=protocol)
            figures |= {f"{name}_{protocol}": value if finite else float("nan") for name, value in scores.items()}
        return figures

    def best(self) -> dict[str, Any]:
        """What `plot.retrieved` takes, as "retrieved": the first five queries with their best five images.

        They are those of the last network that was evaluated; an evaluation that was not called has nothing. By the
        protocol "medium" images are right, junk or wrong.
        """
        if not self._last:
            return {}
        benchmark, ranking = self._benchmark, self._last["ranking"]
        best = [row[:_BEST].tolist() for row in ranking]
        return {
            "retrieved": {
                "queries": [benchmark.queries[number] for number in range(len(best))],
                "found": [[benchmark.database[index] for index in row] for row in best],
                "kinds": [
                    [kind_of(index, truth) for index in row]
                    for row, truth in zip(best, benchmark.ground_truth, strict=False)
                ],
            }
        }

    def _whitening(self) -> retrieval.Whitening | None:
        return retrieval.Whitening.load(self.whitening) if self.whitening else None

    @property
    def _benchmark(self) -> data.Benchmark:
        opened = self.opened or self.of(None).opened
        assert opened is not None
        return opened


def rank(
    queries: Float[np.ndarray, "queries d"], database: Float[np.ndarray, "images d"]
) -> Int[np.ndarray, "queries images"]:
    """The indices of the database's descriptors by their products with each query's, highest first; ties by index."""
    return np.argsort(-(queries @ database.T), axis=1, kind="stable")


def kind_of(index: int, truth: Mapping[str, Any]) -> str:
    """Whether an image is "right", "junk" or "wrong" for a query, by the protocol "medium"."""
    right, junk = PROTOCOLS["medium"]
    if any(index in truth[name] for name in right):
        return "right"
    return "junk" if any(index in truth[name] for name in junk) else "wrong"
