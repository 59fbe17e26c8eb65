"""How well local features find the images that show what a query shows."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from jaxtyping import Array, Int

from vtnjax import data, retrieval
from vtnjax._checks import check_at_least_1, check_positive
from vtnjax.data.benchmark import check_benchmark
from vtnjax.evaluate.all_features import all_features, progress
from vtnjax.evaluate.base import Test
from vtnjax.evaluate.describe_all import fingerprint, of_this_process
from vtnjax.evaluate.local_features import SCALES, check_trunk, local_features
from vtnjax.evaluate.revisited import PROTOCOLS, revisited
from vtnjax.models import DELF, imagenet_input
from vtnjax.retrieval.local_search import matched

_FOR_COMPONENTS = 100  # images, of whose features the components are found before the others are made shorter


@dataclasses.dataclass(frozen=True)
class LocalRetrieval:
    """mAP and mP@k of DELF, ASMK* and spatial verification on a benchmark (VTN Table 6, its last rows).

    The test set gives the photographs of which components and codebook are made; they must not be those of the
    benchmark. Local features of the database are indexed; of each query the best images without a protocol's junk are
    verified, so that every protocol has a ranking of its own. The figures are named as those of `Retrieval`, and those
    of ASMK* alone, before verification, "asmk_map_easy" and so on. Each process makes all of them.

    Attributes:
        benchmark: a name that `data.load_benchmark` knows.
        data_dir: the folder of the benchmark's files.
        size: the longest side of an image in pixels.
        scales: factors of the images' sizes, see `local_features`.
        most: how many features of an image are kept.
        dimensions: to which the descriptors are shortened.
        words: of the codebook.
        examples: how many images of the test set components and codebook are made of, spread evenly.
        best: how many images of a query are verified.
        threshold: of their verification, in pixels, see `retrieval.affine_ransac`.
        features: a folder in which local features are kept as they are made, with which a search that was killed goes
            on; "" keeps none. Each network has its own there. Words, verification and queries' rankings are made again.
        prepare: what the network takes, of images (n, h, w, 3) in [0, 1]; a recipe gives its own.
        opened: the benchmark, which `of` opens.
        source: the test set, which `of` is given.
    """

    benchmark: str = "roxford5k"
    data_dir: str = ""
    size: int = 1024
    scales: Sequence[float] = SCALES
    most: int = 1000
    dimensions: int = 40
    words: int = 65_536
    examples: int = 1000
    best: int = 100
    threshold: float = 10.0
    features: str = ""
    prepare: Callable[[Array], Array] = dataclasses.field(default=imagenet_input, compare=False, repr=False)
    opened: data.Benchmark | None = dataclasses.field(default=None, compare=False, repr=False)
    source: Any = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        check_benchmark(self.benchmark)
        for name in ("size", "most", "dimensions", "words", "examples", "best"):
            check_at_least_1(name, getattr(self, name))
        if not len(self.scales):
            raise ValueError("scales must be at least one, not none")
        for name, value in (("threshold", self.threshold), *(("scales", scale) for scale in self.scales)):
            check_positive(name, value)

    @property
    def how(self) -> str:
        """What is said beside the figures."""
        return f"on {self.benchmark} by local features"

    @property
    def figure(self) -> str:
        """The name of the figure by which the best checkpoint is chosen."""
        return "map_medium"

    def of(self, source: data.Source) -> "LocalRetrieval":
        """The same with its benchmark opened, and with the test set of which components and codebook are made.

        Raises:
            ValueError, OSError: if the benchmark cannot be opened.
        """
        opened = data.load_benchmark(self.benchmark, data_dir=self.data_dir, size=self.size)
        return dataclasses.replace(self, opened=opened, source=source)

    def prepared_by(self, prepare: Callable[[Array], Array]) -> "LocalRetrieval":
        """The same, for networks that take what a function makes of images in [0, 1]."""
        return dataclasses.replace(self, prepare=prepare)

    def check(self, model: nnx.Module) -> None:
        """Raise a ValueError unless a network is a `models.DELF` whose trunk is a backbone."""
        if not isinstance(model, DELF):
            raise ValueError(f"the network must be a models.DELF to have local features, not {type(model).__name__}")
        check_trunk(model)

    def __call__(self, model: nnx.Module, test: Test) -> dict[str, float]:
        """The figures of a network in evaluation mode.

        Raises:
            ValueError: if the network is no DELF, `of` was not called, an image cannot be read, the test set has fewer
                features than the codebook words, or `features` holds those of another network of the same name and
                parameters.
            OSError: if the folder `features` cannot be written.
            ModuleNotFoundError: if faiss is not installed.
        """
        self.check(model)
        if self.opened is None:
            raise ValueError("of must be called first: it opens the benchmark and is given the test set")
        network = of_this_process(model)
        folder = self._folder(network)
        read = functools.partial(local_features, network, scales=self.scales, most=self.most, prepare=self.prepare)
        project, codebook = self._learned(read, folder)
        read = functools.partial(read, project=project)
        search = retrieval.build_local_search(codebook, all_features(read, self.opened.database, "database", folder))
        queries = list(all_features(read, self.opened.queries, "queries", folder))
        rankings = self._rankings(search, queries)
        return {
            f"{before}{name}_{protocol}": value
            for (before, protocol), ranking in rankings.items()
            for name, value in revisited(ranking, self.opened.ground_truth, protocol=protocol).items()
        }

    def _folder(self, network) -> Path | None:
        """Where features by a network are kept; None where none are."""
        if not self.features:
            return None
        assert self.opened is not None
        about = repr((self.most, self.examples, self.dimensions, self.opened, self.source))
        sizes = (*self.opened.database.sizes, *self.opened.queries.sizes)
        return Path(self.features) / fingerprint(network, self.scales, True, sizes, about)

    def _learned(self, read, folder):
        """What shortens descriptors, and a codebook of short ones, of images of the test set."""
        count = min(self.examples, len(self.source))
        examples = _Images(self.source, np.linspace(0, len(self.source) - 1, count).round().astype(int).tolist())
        few = range(0, len(examples), -(-len(examples) // _FOR_COMPONENTS))
        found = [each.descriptors for each in all_features(read, _Images(examples, few), "components", folder)]
        components = retrieval.principal_components(np.concatenate(found), size=self.dimensions)
        short = functools.partial(read, project=components.apply)
        described = np.concatenate([each.descriptors for each in all_features(short, examples, "examples", folder)])
        return components.apply, retrieval.train_codebook(described, self.words)

    def _rankings(self, search, queries) -> dict[tuple[str, str], Int[np.ndarray, "queries images"]]:
        """The ranking of each query, for each protocol: verified under "", and as ASMK* left it under "asmk_"."""
        assert self.opened is not None
        rankings = {(before, protocol): [] for before in ("", "asmk_") for protocol in PROTOCOLS}
        for query, truth in zip(progress(queries, unit=" queries"), self.opened.ground_truth, strict=True):
            found = search.rank(query, best=0)

            @functools.cache
            def inliers(image, query=query):
                return matched(*search.verify(query, image, threshold=self.threshold))

            for protocol, (_, left_out) in PROTOCOLS.items():
                junk = [index for name in left_out for index in truth[name]]
                rankings["", protocol].append(retrieval.rerank(found, inliers, best=self.best, junk=junk))
                rankings["asmk_", protocol].append(found)
        return {which: np.stack(each) for which, each in rankings.items()}


class _Images:
    """Images of some records of a source, or of some of other images."""

    def __init__(self, source: Any, indices: Iterable[int]):
        self._source, self._indices = source, list(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> np.ndarray:
        found = self._source[int(self._indices[index])]
        return found["image"] if isinstance(found, dict) else found
