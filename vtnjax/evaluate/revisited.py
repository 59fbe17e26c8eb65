"""Mean average precision of a retrieval, by the protocols of the revisited Oxford and Paris benchmarks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from vtnjax._checks import check_at_least_1, check_choice

# protocol: the lists of a query that count as right, and those that count as if they were not there
PROTOCOLS = {
    "easy": (("easy",), ("junk", "hard")),
    "medium": (("easy", "hard"), ("junk",)),
    "hard": (("hard",), ("junk", "easy")),
}


def revisited(
    ranking: Int[np.ndarray, "queries images"],
    ground_truth: Sequence[Mapping[str, Any]],
    *,
    protocol: str,
    ks: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """MAP and mP@k (Radenovic 2018, "Revisiting Oxford and Paris").

    Junk is taken out of the ranking first. The average precision is the area under the precision-recall curve by
    trapezoids, where the precision before a first place is 1. Of mP@k, k is at most the place of the last right image,
    so that a query with fewer right images than k can reach 1. A query without right images counts nowhere.

    Args:
        ranking: (queries, images), each row the indices of all images, best first.
        ground_truth: a query's "easy", "hard" and "junk" images, lists of indices, for each query; further keys are
            not read. `data.read_revisited` reads them.
        protocol: "easy": easy images are right, hard ones are junk; "medium": both are right; "hard": hard images are
            right, easy ones are junk.
        ks: how many of the best images precision is counted of.

    Returns:
        "map" and, for each k, "mp_at_k", such as "mp_at_1", all in 0..1.

    Raises:
        ValueError: if the protocol is another, the ranking has not a row for each query or a row is no permutation of
            the images, an index is no image, a k is not at least 1, or no query has a right image.
    """
    check_choice("protocol", protocol, tuple(PROTOCOLS))
    for k in ks:
        check_at_least_1("ks", k)
    ranking = np.asarray(ranking)
    if ranking.ndim != 2 or len(ranking) != len(ground_truth):
        raise ValueError(
            f"ranking must have a row for each of {len(ground_truth)} queries, but its shape is {ranking.shape}"
        )
    right, left_out = PROTOCOLS[protocol]
    found = []
    for number, (row, truth) in enumerate(zip(ranking, ground_truth, strict=True)):
        _check(number, row, truth)
        kept = row[~np.isin(row, _indices(truth, left_out))]
        places = np.flatnonzero(np.isin(kept, _indices(truth, right)))
        if places.size:
            found.append([_average_precision(places), *(_precision_at(places, k) for k in ks)])
    if not found:
        raise ValueError(f"ground_truth must have a query with right images by the protocol {protocol!r}, but has none")
    return dict(zip(["map", *(f"mp_at_{k}" for k in ks)], np.mean(found, axis=0).tolist(), strict=True))


def _average_precision(places: Int[np.ndarray, " right"]) -> float:
    """Of the places of right images, from 0 on."""
    count = np.arange(len(places))
    before = np.where(places == 0, 1.0, count / np.maximum(places, 1))
    return float(np.mean((before + (count + 1) / (places + 1)) / 2))


def _precision_at(places: Int[np.ndarray, " right"], k: int) -> float:
    k = min(int(places[-1]) + 1, k)
    return float((places < k).sum() / k)


def _indices(truth, names):
    return np.concatenate([np.asarray(truth[name], np.int64) for name in names])


def _check(number, row, truth):
    images = np.arange(len(row))
    if not np.array_equal(np.sort(row), images):
        raise ValueError(f"row {number} of ranking must hold each of the {len(row)} images once")
    if missing := [name for name in ("easy", "hard", "junk") if name not in truth]:
        raise ValueError(f"query {number} of ground_truth must have the images that are {missing[0]!r}, but lacks them")
    if strange := np.setdiff1d(_indices(truth, ("easy", "hard", "junk")), images).tolist():
        raise ValueError(
            f"query {number} of ground_truth must have indices of the {len(row)} images, but has {strange[0]}"
        )
