"""Verification against a plain loop, NumPy's least squares and known maps; on photographs where they are installed."""

import importlib.util
import itertools
import xml.etree.ElementTree
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax.retrieval import affine_ransac, match_features, rerank, verification

TURN = np.array([[0.8, -0.5, 120.0], [0.4, 1.1, -30.0]])


def moved(points, matrix):
    return points @ matrix[:, :2].T + matrix[:, 2]


def pair(count, wrong, *, noise=0.0, seed=0):
    """Matches of two images of 1000 x 800 pixels, the first `wrong` of them by chance."""
    rng = np.random.default_rng(seed)
    source = rng.uniform(0, [1000, 800], (count, 2))
    target = moved(source, TURN) + noise * rng.standard_normal((count, 2))
    target[:wrong] = rng.uniform(0, [1000, 800], (wrong, 2))
    return source, target


# ---- RANSAC


def test_it_finds_an_exact_map_and_all_that_follow_it():
    source, target = pair(60, 40)
    fit = affine_ransac(source, target)
    assert_array_equal(fit.inliers, np.linalg.norm(moved(source, TURN) - target, axis=1) < 10)
    assert 20 <= fit.inliers.sum() <= 22
    exact = affine_ransac(source, target, threshold=1e-6)
    assert_array_equal(exact.inliers, np.arange(60) >= 40)
    assert_allclose(exact.matrix, TURN, rtol=1e-9)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_best_of_the_trials_is_that_of_a_loop(seed):
    mixed = np.random.default_rng(seed).permutation(520)  # two blocks and a bit, right ones everywhere
    source, target = (each[mixed] for each in pair(520, 350, noise=4.0))
    best = np.zeros(520, bool)
    for triple in verification._triples(np.random.default_rng(seed), 520, 400):
        corners = np.append(source[triple], np.ones((3, 1)), axis=1)
        distances = np.linalg.norm(moved(source, np.linalg.solve(corners, target[triple]).T) - target, axis=1)
        if (distances < 6).sum() > best.sum():
            best = distances < 6
    fit = affine_ransac(source, target, threshold=6.0, trials=400, seed=seed)
    assert_array_equal(fit.inliers, best)
    corners = np.append(source[best], np.ones((best.sum(), 1)), axis=1)
    assert_allclose(fit.matrix, np.linalg.lstsq(corners, target[best], rcond=None)[0].T, rtol=1e-7)


def test_the_fit_to_all_inliers_is_nearer_than_that_to_three():
    source, target = pair(400, 100, noise=2.0)
    fit = affine_ransac(source, target)
    assert_allclose(fit.matrix[:, :2], TURN[:, :2], atol=2e-3)
    assert_allclose(fit.matrix[:, 2], TURN[:, 2], atol=1)


def test_a_seed_repeats_its_answer():
    source, target = pair(300, 270, noise=4.0)
    fits = [affine_ransac(source, target, trials=100, seed=seed) for seed in (3, 3, 4)]
    assert_array_equal(fits[0].matrix, fits[1].matrix)
    assert_array_equal(fits[0].inliers, fits[1].inliers)
    assert not np.array_equal(fits[0].inliers, fits[2].inliers)


def test_triples_are_different_indices_every_three_as_likely():
    drawn = verification._triples(np.random.default_rng(0), 5, 60_000)
    counts = dict.fromkeys(itertools.permutations(range(5), 3), 0)
    for triple in map(tuple, drawn.tolist()):
        counts[triple] += 1  # a KeyError, were two alike
    assert len(counts) == 60
    assert_allclose(list(counts.values()), 1000, atol=150)


def test_far_from_the_origin_nothing_is_lost():
    source, target = pair(40, 10)
    fit = affine_ransac(source.astype(np.float32) + 1e6, target + 1e6, threshold=2.0)
    assert fit.inliers.sum() >= 30
    assert_allclose(fit.matrix[:, :2], TURN[:, :2], atol=1e-3)


def test_few_matches_have_no_map():
    for count in range(4):
        fit = affine_ransac(np.eye(3, 2)[:count], np.eye(3, 2)[:count])
        assert fit.matrix is None
        assert_array_equal(fit.inliers, np.zeros(count, bool))
    corners = np.array([[0.0, 0.0], [0.0, 9.0], [9.0, 0.0], [9.0, 9.0]])
    assert affine_ransac(corners, corners + 3).inliers.sum() == 4


@pytest.mark.parametrize("swapped", [False, True])
def test_points_on_a_line_and_many_matches_to_one_have_no_map(swapped):
    rng = np.random.default_rng(0)
    spread, place = rng.uniform(0, 500, (30, 2)), np.arange(30.0)[:, None]
    for degenerate in (place * 0 + [[3.0, 7.0]], place * [[0.1, 0.7]] + 2000):
        matches = (degenerate, spread) if swapped else (spread, degenerate)
        fit = affine_ransac(*matches)
        assert fit.matrix is None
        assert not fit.inliers.any()


# ---- Matches


def test_matches_are_those_of_a_loop():
    rng = np.random.default_rng(0)
    queries, images = rng.standard_normal((40, 3)).astype(np.float32), rng.standard_normal((50, 3)).astype(np.float32)
    plain, strict = [], []
    for i, query in enumerate(queries.astype(np.float64)):
        distances = np.sqrt(((images - query) ** 2).sum(1))
        first, second = np.argsort(distances)[:2]
        if distances[first] < 0.6:
            plain.append([i, first])
            if distances[first] < 0.8 * distances[second]:
                strict.append([i, first])
    assert 0 < len(strict) < len(plain) < 40
    assert match_features(queries, images, distance=0.6).tolist() == plain
    assert match_features(queries, images, distance=0.6, ratio=0.8).tolist() == strict


def test_an_image_of_one_feature_or_none():
    queries = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert match_features(queries, queries[:1], ratio=0.8).tolist() == [[0, 0]]
    assert match_features(queries, queries[:0]).shape == (0, 2)
    assert match_features(queries[:0], queries).shape == (0, 2)


# ---- Ranking


def test_the_best_are_ordered_by_inliers_and_the_rest_follows():
    counts = {4: 5, 1: 0, 0: 9, 6: 5, 3: 99}
    asked = []

    def count(image):
        asked.append(image)
        return counts[image]

    found = rerank(np.array([4, 2, 1, 0, 6, 3, 5]), count, best=4, junk=[2, 5])
    assert asked == [4, 1, 0, 6]  # neither junk nor those behind the best four
    assert found.tolist() == [0, 4, 6, 2, 1, 3, 5]  # 4 before 6, and without inliers as they were


def test_by_default_the_best_100_are_verified():
    asked = []
    rerank(np.arange(300)[::-1], lambda image: asked.append(image) or 0)
    assert asked == list(range(299, 199, -1))


def test_without_inliers_a_ranking_stays():
    ranking = np.random.default_rng(0).permutation(150)
    assert_array_equal(rerank(ranking, lambda image: 0), ranking)


def test_equal_counts_stay_in_order():
    ranking = np.random.default_rng(0).permutation(150)
    by_count = [[image for image in ranking[:100] if image % 3 == rest] for rest in (2, 1, 0)]
    assert rerank(ranking, lambda image: image % 3).tolist() == [
        *by_count[0],
        *by_count[1],
        *by_count[2],
        *ranking[100:],
    ]


# ---- Photographs

OPENCV = Path("/usr/share/doc/opencv-doc/examples/data")
SPEC = importlib.util.find_spec("imm")  # the package image-matching-models
PAIRS = Path((SPEC and SPEC.origin) or "nowhere").parent / "assets" / "example_pairs"


def sift(path):
    """Places and descriptors of length 1 of the 1,000 strongest features."""
    points, descriptors = cv2.SIFT_create(1000).detectAndCompute(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), None)
    return np.array([point.pt for point in points]), descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)


def verified(first, second, **options):
    """The places of the inliers in both images."""
    (places, descriptors), (others, other_descriptors) = sift(first), sift(second)
    matches = match_features(descriptors, other_descriptors, **options)
    source, target = places[matches[:, 0]], others[matches[:, 1]]
    inliers = affine_ransac(source, target).inliers
    return source[inliers], target[inliers]


@pytest.mark.slow
@pytest.mark.skipif(not (OPENCV / "graf1.png").is_file(), reason="Debian's package opencv-doc is not installed")
@pytest.mark.parametrize("options", [{}, {"ratio": 0.8}], ids=["distance", "ratio"])
def test_inliers_of_a_photographed_wall_are_where_its_homography_says(options):
    source, target = verified(OPENCV / "graf1.png", OPENCV / "graf3.png", **options)
    numbers = xml.etree.ElementTree.parse(OPENCV / "H1to3p.xml").findtext("H13/data").split()
    true = np.append(source, np.ones((len(source), 1)), axis=1) @ np.array(numbers, float).reshape(3, 3).T
    distances = np.linalg.norm(true[:, :2] / true[:, 2:] - target, axis=1)
    assert len(distances) > 100
    assert (distances < 20).mean() >= 0.6
    unrelated, _ = verified(OPENCV / "graf1.png", OPENCV / "building.jpg", **options)
    assert len(distances) > 5 * len(unrelated)


@pytest.mark.skipif(not PAIRS.is_dir(), reason="the package image-matching-models is not installed")
@pytest.mark.skipif(not (OPENCV / "graf1.png").is_file(), reason="Debian's package opencv-doc is not installed")
@pytest.mark.parametrize("options", [{}, {"ratio": 0.8}], ids=["distance", "ratio"])
def test_two_cathedrals_are_not_taken_for_one(options):
    wall, _ = verified(OPENCV / "graf1.png", OPENCV / "graf3.png", **options)
    false = PAIRS / "false_positive"
    unrelated, _ = verified(false / "notre_dame.jpg", false / "chartres.jpg", **options)
    assert len(wall) > 5 * len(unrelated)


# ---- Bad input

POINTS = np.random.default_rng(0).uniform(0, 9, (6, 2))
RANKING = np.arange(5)
BAD = {
    "coordinates xyz": (lambda: affine_ransac(np.ones((6, 3)), POINTS), "source must have 2 numbers a row, not 3"),
    "whole coordinates": (lambda: affine_ransac(POINTS, POINTS.astype(int)), "target must be floating point"),
    "unmatched": (lambda: affine_ransac(POINTS, POINTS[:5]), "target must have a place for each of 6 matches, not 5"),
    "infinite": (lambda: affine_ransac(POINTS / 0, POINTS), "source must be finite, but row 0 is not"),
    "threshold 0": (lambda: affine_ransac(POINTS, POINTS, threshold=0), "threshold must be above 0"),
    "trials 0": (lambda: affine_ransac(POINTS, POINTS, trials=0), "trials must be a whole number of at least 1"),
    "sizes": (lambda: match_features(np.eye(3), np.eye(4)), "images must have 3 numbers a row, not 4"),
    "distance": (lambda: match_features(np.eye(3), np.eye(3), distance=-1), "distance must be above 0"),
    "ratio": (lambda: match_features(np.eye(3), np.eye(3), ratio=0), "ratio must be above 0"),
    "twice": (lambda: rerank(np.array([0, 1, 1]), int), "ranking must hold each image once"),
    "rankings": (lambda: rerank(np.ones((2, 3), int), int), "ranking must be a list of whole numbers"),
    "best": (lambda: rerank(RANKING, int, best=0), "best must be a whole number of at least 1"),
    "count": (lambda: rerank(RANKING, lambda image: -1), "count_inliers must give at least 0, but gave -1 for image 0"),
}


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_get_a_sentence(name):
    call, sentence = BAD[name]
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=sentence):
        call()
