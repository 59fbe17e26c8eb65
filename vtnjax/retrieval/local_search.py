"""Search by local features: ASMK finds images, and spatial verification orders the best of them."""

import dataclasses
import os
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Int

from vtnjax._files import read_arrays, write_arrays
from vtnjax.retrieval._given import check_indices, check_rows
from vtnjax.retrieval.asmk import ASMKIndex, build_index
from vtnjax.retrieval.features import LocalFeatures, check_features
from vtnjax.retrieval.verification import AffineFit, affine_ransac, match_features, rerank

ARRAYS = ("first", "keypoints", "descriptors")


@dataclasses.dataclass(frozen=True, eq=False)
class LocalSearch:
    """Images to search in by their local features, made by `build_local_search`.

    Attributes:
        index: of the images' descriptors.
        first: (images + 1,), the features of image i are first[i]..first[i + 1] - 1.
        keypoints: (features, 2), pixel coordinates (x, y) in their image.
        descriptors: (features, d).
    """

    index: ASMKIndex
    first: Int[np.ndarray, " offsets"]
    keypoints: Float[np.ndarray, "features 2"]
    descriptors: Float[np.ndarray, "features d"]

    def rank(
        self,
        query: LocalFeatures,
        *,
        junk: Sequence[int] | Int[np.ndarray, " junk"] = (),
        best: int = 100,
        assignments: int = 5,
        distance: float = 0.9,
        threshold: float = 10.0,
        trials: int = 1000,
        seed: int = 0,
    ) -> Int[np.ndarray, " images"]:
        """All images, the best first: by the index, and then the best of them by how many features lie alike.

        What is counted of an image are its features that are matched by inliers, each once, see `matched`.

        Args:
            query: the local features of the query.
            junk: images that are not verified: those that the protocol leaves out. Medium and Hard have their own, so
                that each asks for a ranking of its own.
            best: how many images are verified; 0 leaves the ranking as the index has it.
            assignments: how many words each of the query's descriptors counts for, see `ASMKIndex.search`.
            distance: of matches, see `match_features`.
            threshold: pixels, see `affine_ransac`.
            trials: of each verification, see `affine_ransac`.
            seed: of each verification.

        Returns:
            (images,), their indices. Images of equal scores stand as they came.

        Raises:
            ValueError: if the query's descriptors are not (n, d) finite floating point numbers, with a keypoint each,
                `best` is below 0, junk is no image, or an option of the search or of the verification is out of range.
        """
        query = self._checked(query)
        if not hasattr(best, "__index__") or best < 0:
            raise ValueError(f"best must be a whole number of at least 0, not {best!r}")
        junk = check_indices("junk", junk, len(self.index.words), "images")
        scores = self.index.search(query.descriptors, assignments=assignments)
        ranking = np.argsort(-scores, kind="stable")
        if not best:
            return ranking
        options = {"distance": distance, "threshold": threshold, "trials": trials, "seed": seed}
        return rerank(ranking, lambda image: matched(*self._fit(query, image, **options)), best=best, junk=junk)

    def verify(
        self,
        query: LocalFeatures,
        image: int,
        *,
        distance: float = 0.9,
        threshold: float = 10.0,
        trials: int = 1000,
        seed: int = 0,
    ) -> tuple[Int[np.ndarray, "matches 2"], AffineFit]:
        """The matches of a query's features with those of an image, as `match_features` has them, and their fit.

        Args:
            query: the local features of the query.
            image: its index.
            distance: of matches.
            threshold: pixels, see `affine_ransac`.
            trials: see `affine_ransac`.
            seed: see `affine_ransac`.

        Raises:
            ValueError: if there is no such image, or in the cases of `rank`.
        """
        check_indices("image", [image], len(self.index.words), "images")
        options = {"distance": distance, "threshold": threshold, "trials": trials, "seed": seed}
        return self._fit(self._checked(query), image, **options)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, as `.npz` whatever the name. The codebook is not in it: keep it beside."""
        write_arrays(path, {**self.index.arrays(), **{name: getattr(self, name) for name in ARRAYS}})

    @staticmethod
    def load(path: str | os.PathLike[str], codebook: Float[np.ndarray, "vocabulary d"]) -> "LocalSearch":
        """Read what `save` wrote.

        Args:
            path: of the file.
            codebook: (words, d), the one that the index was built with.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file holds no local features, or an index of another codebook.
        """
        found = read_arrays(path, ARRAYS, "local features")
        return LocalSearch(ASMKIndex.load(path, codebook), **found)

    def _checked(self, query):
        return check_features("the query", query, size=self.index.codebook.shape[1])

    def _fit(self, query, image, *, distance, **options):
        own = slice(self.first[image], self.first[image + 1])
        matches = match_features(query.descriptors, self.descriptors[own], distance=distance)
        source, target = query.keypoints[matches[:, 0]], self.keypoints[own][matches[:, 1]]
        return matches, affine_ransac(source, target, **options)


def matched(matches: Int[np.ndarray, "matches 2"], fit: AffineFit) -> int:
    """How many features of an image the inliers of a fit match, each once.

    The reference code counts the inliers, of which a map that shrinks a query to a point has many: several features of
    a query may be nearest to one of the image.
    """
    return len(np.unique(matches[fit.inliers, 1]))


def build_local_search(
    codebook: Float[np.ndarray, "words d"], images: Iterable[LocalFeatures], *, binary: bool = True
) -> LocalSearch:
    """Images to search in by their local features.

    Args:
        codebook: (words, d), the visual words, such as `train_codebook` gives of other images.
        images: the local features of each image, one after the other; their number may differ and be 0.
        binary: ASMK*, see `build_index`.

    Raises:
        ValueError: if the codebook or the descriptors of an image are not finite floating point numbers with rows of
            one length, or an image has not as many keypoints as descriptors.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> draw = lambda: [rng.uniform(0, 99, (40, 2)), rng.standard_normal((40, 8)), np.ones(40), np.ones(40)]
        >>> images = [retrieval.LocalFeatures(*draw()) for _ in range(4)]
        >>> search = retrieval.build_local_search(rng.standard_normal((16, 8)), images)
        >>> search.rank(images[2])[0].item(), search.verify(images[2], 2)[1].inliers.sum().item()
        (2, 40)
    """
    codebook = check_rows("codebook", codebook)
    size = codebook.shape[1]
    found = [check_features(f"image {number}", features, size=size) for number, features in enumerate(images)]
    index = build_index(codebook, [features.descriptors for features in found], binary=binary)
    keypoints = np.concatenate([np.zeros((0, 2), np.float32), *(features.keypoints for features in found)])
    descriptors = np.concatenate([np.zeros((0, size), codebook.dtype), *(features.descriptors for features in found)])
    return LocalSearch(index, np.cumsum([0, *(len(features.keypoints) for features in found)]), keypoints, descriptors)
