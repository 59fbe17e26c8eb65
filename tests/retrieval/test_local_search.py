"""From local features to a ranking: the search, the verification of its best, and what is kept in a file."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from vtnjax.retrieval import ASMKIndex, LocalFeatures, LocalSearch, build_index, build_local_search
from vtnjax.retrieval.local_search import matched

RNG = np.random.default_rng(0)
CODEBOOK = RNG.standard_normal((32, 16)).astype(np.float32)
TURN = np.array([[0.9, 0.4], [-0.4, 0.9]])


def features(keypoints, descriptors):
    descriptors = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    ones = np.ones(len(keypoints), np.float32)
    return LocalFeatures(keypoints.astype(np.float32), descriptors.astype(np.float32), ones, ones)


def drawn(count):
    return features(RNG.uniform(0, 500, (count, 2)), RNG.standard_normal((count, 16)))


QUERY = drawn(60)
# The same descriptors at other places, in another order; at the places that a map gives them, some of them; and others.
SHUFFLED = features(RNG.uniform(0, 500, (60, 2)), RNG.permutation(QUERY.descriptors))
TURNED = features(QUERY.keypoints[:40] @ TURN + [30, -20], QUERY.descriptors[:40] + 0.1 * RNG.standard_normal((40, 16)))
IMAGES = [drawn(50), SHUFFLED, features(np.zeros((0, 2)), np.zeros((0, 16))), drawn(70), TURNED, drawn(3)]


@pytest.fixture(scope="module")
def search():
    return build_local_search(CODEBOOK, iter(IMAGES))


def test_without_verification_the_ranking_is_that_of_the_index(search):
    index = build_index(CODEBOOK, [image.descriptors for image in IMAGES])
    for assignments in (1, 5):
        scores = index.search(QUERY.descriptors, assignments=assignments)
        found = search.rank(QUERY, best=0, assignments=assignments)
        assert_array_equal(found, np.argsort(-scores, kind="stable"))
    assert search.rank(QUERY, best=0)[0] == 1  # which has all descriptors


def test_an_image_with_the_features_in_place_overtakes_one_that_only_has_them(search):
    before, after = search.rank(QUERY, best=0).tolist(), search.rank(QUERY).tolist()
    assert after[0] == 4
    assert sorted(after) == list(range(6))
    counts = {}
    for image in range(6):
        matches, fit = search.verify(QUERY, image)
        counts[image] = len(
            {target for (_, target), inlier in zip(matches.tolist(), fit.inliers, strict=True) if inlier}
        )
    assert after == sorted(before, key=lambda image: (-counts[image], before.index(image)))
    assert counts[4] == 40 > counts[1]


def test_features_that_fall_on_one_of_the_image_count_once():
    """A map that shrinks a query to a corner has many inliers, and finds little."""
    corner, one = np.array([[7, 7], [8, 7], [7, 8]], np.float32), np.ones(39, np.float32)
    image = LocalFeatures(corner, QUERY.descriptors[:3], one[:3], one[:3])
    alike = LocalFeatures(QUERY.keypoints[:39], np.tile(QUERY.descriptors[:3], (13, 1)), one, one)
    matches, fit = build_local_search(CODEBOOK, [image]).verify(alike, 0)
    assert fit.inliers.sum() == len(matches) == 39
    assert matched(matches, fit) == 3


def test_matches_and_fit_are_those_of_the_image(search):
    matches, fit = search.verify(QUERY, 4, threshold=3.0)
    inliers = matches[fit.inliers]
    assert_array_equal(inliers, np.stack([np.arange(40)] * 2, axis=1))
    np.testing.assert_allclose(fit.matrix, np.column_stack([TURN.T, [30, -20]]), atol=1e-3)
    assert search.verify(QUERY, 4, distance=1e-3)[0].shape == (0, 2)


def test_junk_and_what_is_behind_the_best_are_not_verified(search):
    assert search.rank(QUERY, junk=[4]).tolist()[0] != 4
    assert search.rank(QUERY, best=1).tolist() == search.rank(QUERY, best=0).tolist()  # only image 1 was looked at


def test_what_was_saved_ranks_as_before(search, tmp_path):
    path = tmp_path / "search.npz"
    search.save(path)
    loaded = LocalSearch.load(path, CODEBOOK)
    assert_array_equal(loaded.rank(QUERY), search.rank(QUERY))
    assert_array_equal(loaded.verify(QUERY, 4)[1].inliers, search.verify(QUERY, 4)[1].inliers)
    scores = ASMKIndex.load(path, CODEBOOK).search(QUERY.descriptors)
    assert_array_equal(scores, search.index.search(QUERY.descriptors))


def test_another_codebook_and_another_file_are_refused(search, tmp_path):
    path = tmp_path / "search.npz"
    search.save(path)
    with pytest.raises(
        ValueError, match=r"codebook must be the one that the index '.*' was built with, but is another"
    ):
        LocalSearch.load(path, CODEBOOK + 1)
    search.index.save(path)
    with pytest.raises(ValueError, match=r"path must be a file of local features, which '.*' is not"):
        LocalSearch.load(path, CODEBOOK)


def test_a_query_of_nothing_has_a_ranking(search):
    assert_array_equal(search.rank(IMAGES[2]), np.arange(6))


BAD = {
    "sizes": (
        lambda search: search.rank(QUERY._replace(descriptors=np.ones((60, 4)))),
        "the descriptors of the query must have 16 numbers a row, not 4",
    ),
    "keypoints": (
        lambda search: search.rank(QUERY._replace(keypoints=QUERY.keypoints[1:])),
        "the query must have a keypoint for each of 60 descriptors, not 59",
    ),
    "best": (lambda search: search.rank(QUERY, best=-1), "best must be a whole number of at least 0, not -1"),
    "junk": (lambda search: search.rank(QUERY, junk=[6]), "junk must be indices of the 6 images, but has 6"),
    "image": (lambda search: search.verify(QUERY, 6), "image must be indices of the 6 images, but has 6"),
    "images": (
        lambda search: build_local_search(CODEBOOK, [QUERY, QUERY._replace(keypoints=np.full((60, 2), np.nan))]),
        "the keypoints of image 1 must be finite, but row 0 is not",
    ),
    "distance": (lambda search: search.rank(QUERY, distance=0.0), "distance must be above 0"),
}


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_get_a_sentence(name, search):
    call, sentence = BAD[name]
    with pytest.raises(ValueError, match=sentence):
        call(search)
