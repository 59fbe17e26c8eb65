"""Spatial verification: do the local features of two images agree on one affine map, and how many of them?"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from vtnjax._checks import check_at_least_1, check_positive
from vtnjax.retrieval._given import check_indices, check_rows

FEWEST = 4  # matches; three always agree (Noh 2017's code)
BLOCK = 256  # matches whose distances in all trials are computed at a time, so that they stay in a core's cache
FLAT = 1e-9  # of a triangle: twice its area over the product of two sides, below which its points are on a line


class AffineFit(NamedTuple):
    """An affine map between two images, and the matches that follow it.

    Attributes:
        matrix: (2, 3), float64: a point (x, y) of the first image lies at matrix @ (x, y, 1) in the second. None where
            no map was found.
        inliers: (matches,), which matches follow the map; none of them where there is none.
    """

    matrix: Float[np.ndarray, "2 3"] | None
    inliers: Bool[np.ndarray, " matches"]


def match_features(
    queries: Float[np.ndarray, "q d"],
    images: Float[np.ndarray, "n d"],
    *,
    distance: float = 0.9,
    ratio: float | None = None,
) -> Int[np.ndarray, "matches 2"]:
    """Each query feature with the nearest feature of an image, if it is near enough.

    Several query features may match one feature of the image, as in the reference code (DELF, `image_reranking.py`).

    Args:
        queries: (q, d), descriptors of one image's local features.
        images: (n, d), those of the other.
        distance: matches are nearer than this; the default is the reference's for descriptors of length 1.
        ratio: a match is nearer than `ratio` times the distance of the second nearest feature (Lowe 2004); None: this
            is not asked. Where the image has only one feature there is no second, and the match stands.

    Returns:
        (matches, 2), the index of the query feature and that of the image's, in the order of the queries.

    Raises:
        ValueError: if the descriptors are not (n, d) finite floating point numbers of one length, or the distance or
            the ratio is not above 0.

    Examples:
        >>> features = np.eye(4, 8)
        >>> retrieval.match_features(features[:2], features[::-1]).tolist()
        [[0, 3], [1, 2]]
    """
    queries = check_rows("queries", queries).astype(np.float64)
    images = check_rows("images", images, size=queries.shape[1]).astype(np.float64)
    check_positive("distance", distance)
    if ratio is not None:
        check_positive("ratio", ratio)
    if not len(images):
        return np.zeros((0, 2), np.int64)
    squared = (images**2).sum(1) - 2 * queries @ images.T
    nearest = squared.argmin(1)
    rows = np.arange(len(queries))
    found = np.linalg.norm(queries - images[nearest], axis=1)
    kept = found < distance
    if ratio is not None and len(images) > 1:
        squared[rows, nearest] = np.inf
        kept &= found < ratio * np.linalg.norm(queries - images[squared.argmin(1)], axis=1)
    return np.stack([rows[kept], nearest[kept]], axis=1)


def affine_ransac(
    source: Float[np.ndarray, "matches 2"],
    target: Float[np.ndarray, "matches 2"],
    *,
    threshold: float = 10.0,
    trials: int = 1000,
    seed: int = 0,
) -> AffineFit:
    """The affine map that most matches follow, by random triples of them (RANSAC, Fischler and Bolles 1981).

    Every trial fits a map to three matches; all trials are computed at once. The inliers are the matches that the map
    of the best trial, the first of equals, sends less than `threshold` pixels from their place, and the matrix is the
    least-squares fit to these. Triples whose points lie on a line in either image count for nothing, so that many
    features matched to one do not make a map that collapses the image.

    Args:
        source: (matches, 2), pixel coordinates (x, y) in the first image.
        target: (matches, 2), those of the matching features in the second image.
        threshold: pixels of the second image.
        trials: how many triples are tried.
        seed: which triples: the same seed gives the same answer.

    Returns:
        The map and its inliers. Fewer than 4 matches have no map, as in the reference code.

    Raises:
        ValueError: if the coordinates are not (matches, 2) finite floating point numbers, equally many in both images,
            the threshold is not above 0, or the trials are not at least 1.

    Examples:
        >>> source = np.random.default_rng(0).uniform(0, 100, (20, 2))
        >>> fit = retrieval.affine_ransac(source, source @ [[0.0, 2.0], [-2.0, 0.0]] + 5)
        >>> fit.inliers.sum().item(), np.abs(fit.matrix.round(6)).tolist()
        (20, [[0.0, 2.0, 5.0], [2.0, 0.0, 5.0]])
    """
    source = check_rows("source", source, size=2).astype(np.float64)
    target = check_rows("target", target, size=2).astype(np.float64)
    if len(source) != len(target):
        raise ValueError(f"target must have a place for each of {len(source)} matches, not {len(target)}")
    check_positive("threshold", threshold)
    check_at_least_1("trials", trials)
    nothing = AffineFit(None, np.zeros(len(source), bool))
    if len(source) < FEWEST:
        return nothing
    maps = _maps(source, target, _triples(np.random.default_rng(seed), len(source), trials))
    if not len(maps):
        return nothing
    best = maps[_count(maps, source, target, threshold).argmax()]
    inliers = _squared(best, source, target)[:, 0] < threshold**2
    if inliers.sum() < 3:  # a threshold near rounding
        return nothing
    return AffineFit(_least_squares(source[inliers], target[inliers]), inliers)


def rerank(
    ranking: Int[np.ndarray, " images"],
    count_inliers: Callable[[int], int],
    *,
    best: int = 100,
    junk: Sequence[int] | Int[np.ndarray, " junk"] = (),
) -> Int[np.ndarray, " images"]:
    """A ranking of one query whose best images are ordered by their inliers, equals as they were.

    As in the reference code (DELF, `image_reranking.py`) the images that were not verified, junk among them, count as
    having no inliers: they follow those that have some, in their old order.

    Args:
        ranking: (images,), indices, best first.
        count_inliers: of an image, how many of its features agree with the query's, such as
            `affine_ransac(...).inliers.sum()`; it is asked for the best images alone.
        best: how many images are verified.
        junk: indices of images that are not: those that the protocol leaves out.

    Returns:
        (images,), the same indices in their new order.

    Raises:
        ValueError: if the ranking is no list of different indices, `best` is not at least 1, or a count is negative.

    Examples:
        >>> retrieval.rerank(np.array([4, 2, 0, 1, 3]), [5, 9, 0, 9, 3].__getitem__, best=3, junk=[2]).tolist()
        [1, 0, 4, 2, 3]
    """
    ranking = np.asarray(ranking)
    check_indices("ranking", ranking, np.iinfo(np.int64).max, "images")
    if len(np.unique(ranking)) != len(ranking):
        raise ValueError("ranking must hold each image once")
    check_at_least_1("best", best)
    counts = np.zeros(len(ranking), np.int64)
    for place in np.flatnonzero(~np.isin(ranking, junk))[:best]:
        counts[place] = count_inliers(int(ranking[place]))
        if counts[place] < 0:
            raise ValueError(f"count_inliers must give at least 0, but gave {counts[place]} for image {ranking[place]}")
    return ranking[np.argsort(-counts, kind="stable")]


def _triples(rng: np.random.Generator, count: int, trials: int) -> Int[np.ndarray, "trials 3"]:
    """Of each trial, three different indices below `count`, every three as likely."""
    drawn = np.stack([rng.integers(0, count - taken, trials) for taken in range(3)], axis=1)
    # The second and third are places among the indices that are left: step over the taken ones, the lower first.
    drawn[:, 1] += drawn[:, 1] >= drawn[:, 0]
    for taken in np.sort(drawn[:, :2], axis=1).T:
        drawn[:, 2] += drawn[:, 2] >= taken
    return drawn


def _maps(source, target, triples: Int[np.ndarray, "trials 3"]) -> Float[np.ndarray, "maps 2 3"]:
    """The affine maps through the triples that span a triangle in both images."""
    one, other = source[triples], target[triples]
    sides, images = one[:, 1:] - one[:, :1], other[:, 1:] - other[:, :1]
    spanned = ~(_flat(sides) | _flat(images))
    linear = np.linalg.solve(sides[spanned], images[spanned]).transpose(0, 2, 1)
    shift = other[spanned, 0] - np.einsum("tij,tj->ti", linear, one[spanned, 0])
    return np.concatenate([linear, shift[:, :, None]], axis=2)


def _flat(sides: Float[np.ndarray, "trials 2 2"]) -> Bool[np.ndarray, " trials"]:
    area = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0])
    return area <= FLAT * np.linalg.norm(sides, axis=2).prod(1)


def _squared(maps, source, target) -> Float[np.ndarray, "matches maps"]:
    """How far each map sends each match from its place, squared."""
    maps = maps.reshape(-1, 2, 3)
    ones = np.append(source, np.ones((len(source), 1)), axis=1)
    across = ones @ maps[:, 0].T - target[:, :1]
    down = ones @ maps[:, 1].T - target[:, 1:]
    across *= across
    down *= down
    across += down
    return across


def _count(maps, source, target, threshold: float) -> Int[np.ndarray, " maps"]:
    """How many matches each map sends to their place."""
    counts = np.zeros(len(maps), np.int64)
    for start in range(0, len(source), BLOCK):
        block = slice(start, start + BLOCK)
        counts += np.count_nonzero(_squared(maps, source[block], target[block]) < threshold**2, axis=0)
    return counts


def _least_squares(source, target) -> Float[np.ndarray, "2 3"]:
    """The affine map that leaves the smallest squares of distances, about the middle for the sake of rounding."""
    middle = source.mean(0)
    rows = np.append(source - middle, np.ones((len(source), 1)), axis=1)
    matrix = np.linalg.lstsq(rows, target, rcond=None)[0].T
    matrix[:, 2] -= matrix[:, :2] @ middle
    return matrix
