"""ASMK and ASMK* against known scores, most of them by the program asmk of Jenicek, and against a plain loop."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax.retrieval import ASMKIndex, asmk, build_index, nearest_words

CODEBOOK = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1]])


def features(count, factor, shift):
    rows = (((np.arange(4 * count) * factor + shift) % 13) - 4.0).reshape(count, 4)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


IMAGES = [features(4, 5, 2), features(3, 7, 1), features(5, 11, 6)]
QUERY = features(3, 5, 2)

# binary, options of the search, scores. The second image has only a word of all images: with idf, asmk gives NaN.
KNOWN = [
    (False, {"assignments": 1}, [0.996991, 0.074734, 0.071288]),
    (False, {"assignments": 2}, [0.241211, 0.286975, 0.303581]),
    (False, {"assignments": 2, "threshold": 0.5}, [0.233258, 0.286975, 0.295640]),
    (False, {"assignments": 2, "alpha": 1.0}, [0.563628, 0.457342, 0.603560]),
    (False, {"assignments": 2, "idf": True}, [0.349886, 0, 0.258937]),
    (True, {"assignments": 1}, [1, 0.577350, 0.083333]),
    (True, {"assignments": 2}, [0.083333, 0.072169, 0.375]),
]


@pytest.mark.parametrize(("binary", "options", "scores"), KNOWN)
def test_scores_are_the_known_ones(binary, options, scores):
    assert_allclose(build_index(CODEBOOK, IMAGES, binary=binary).search(QUERY, **options), scores, atol=6e-7)


def test_words_are_the_known_ones():
    words = [nearest_words(image, CODEBOOK)[:, 0].tolist() for image in (*IMAGES, QUERY)]
    assert words == [[2, 0, 1, 0], [1, 1, 1], [0, 0, 2, 0, 1], [2, 0, 1]]
    assert nearest_words(QUERY, CODEBOOK, count=2).tolist() == [[2, 1], [0, 2], [1, 0]]


# ---- A plain loop


def described(descriptors, codebook, assignments, binary):
    """The aggregated residual of each word, by word."""
    sums = {}
    for each in descriptors:
        for word in np.argsort(((codebook - each) ** 2).sum(1))[:assignments]:
            sums[word] = sums.get(word, 0) + each - codebook[word]
    return {word: each > 0 if binary else each / (np.linalg.norm(each) + 1e-6) for word, each in sums.items()}


def score(query, image, binary, idf, alpha, threshold):
    total = 0
    for word in query.keys() & image.keys():
        u = np.where(query[word] == image[word], 1, -1).mean() if binary else query[word] @ image[word]
        total += idf[word] * np.sign(u) * abs(u) ** alpha * (u >= threshold)
    length = sum(idf[word] for word in query) * sum(idf[word] for word in image)
    return total / np.sqrt(length) if length else 0


def drawn(seed, size, dtype=np.float64):
    """A codebook, images of 0 to 30 descriptors, and a query."""
    rng = np.random.default_rng(seed)
    codebook = rng.standard_normal((25, size)).astype(dtype)
    images = [rng.standard_normal((count, size)).astype(dtype) for count in (12, 0, 30, 1, 7, 22)]
    query = images[2] + 0.3 * rng.standard_normal(images[2].shape).astype(dtype)
    return codebook, images, query


@pytest.mark.parametrize("size", [5, 64, 70])
@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("assignments", [(1, 1), (1, 5), (3, 2)])  # of the index, of the query
def test_scores_are_those_of_a_loop(size, binary, assignments, monkeypatch):
    monkeypatch.setattr(asmk, "BLOCK", 7)
    codebook, images, query = drawn(size, size)
    own = [described(each, codebook, assignments[0], binary) for each in images]
    asked = described(query, codebook, assignments[1], binary)
    index = build_index(codebook, images, binary=binary, assignments=assignments[0])
    for options in ({}, {"alpha": 1.5, "threshold": -0.1}, {"threshold": 0.2}, {"idf": True}):
        weights = dict.fromkeys(range(25), 1.0)
        if options.get("idf"):
            counts = [max(1, sum(word in each for each in own)) for word in range(25)]
            weights = {word: np.log(len(images) / count) ** 2 for word, count in enumerate(counts)}
        limits = {"alpha": options.get("alpha", 3.0), "threshold": options.get("threshold", 0.0)}
        expected = [score(asked, each, binary, weights, **limits) for each in own]
        assert np.count_nonzero(expected) >= 4
        assert_allclose(index.search(query, assignments=assignments[1], **options), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("binary", [False, True])
def test_single_precision_is_near_and_stays(binary):
    codebook, images, query = drawn(0, 40, np.float32)
    index = build_index(codebook, images, binary=binary)
    assert index.vectors.dtype == (np.uint64 if binary else np.float32)
    wide = build_index(codebook.astype(np.float64), [each.astype(np.float64) for each in images], binary=binary)
    assert_allclose(index.search(query), wide.search(query.astype(np.float64)), atol=1e-6)


def test_an_image_finds_itself_and_nothing_finds_nothing():
    codebook, images, _ = drawn(1, 16)
    for binary in (False, True):
        index = build_index(codebook, iter(images), binary=binary, assignments=2)
        for number in (0, 2, 3, 4, 5):
            scores = index.search(images[number], assignments=2)
            assert scores.argmax() == number
            assert scores[number] == pytest.approx(1, abs=1e-5)
        assert_array_equal(index.search(np.zeros((0, 16))), np.zeros(6))
        assert index.search(images[0])[1] == 0  # an image without features
        assert build_index(codebook, [], binary=binary).search(images[0], idf=True).shape == (0,)


def test_entries_are_ordered_by_word_and_image():
    codebook, images, _ = drawn(2, 16)
    index = build_index(codebook, images)
    words = np.repeat(np.arange(25), np.diff(index.starts))
    pairs = list(zip(words, index.images, strict=True))
    assert pairs == sorted(set(pairs))
    assert_array_equal(index.words, np.bincount(index.images, minlength=6))
    assert index.words[1] == 0


def test_a_bit_a_number():
    index = build_index(np.repeat([[0.0], [5.0]], 130, axis=1), [np.linspace(-1, 1, 130)[None]])
    assert index.vectors.shape == (1, 3)
    assert np.bitwise_count(index.vectors).sum() == 65


def test_a_residual_of_zero_is_no_positive_sign():
    assert_array_equal(build_index(CODEBOOK, [CODEBOOK[1:2]]).vectors, [[0]])


# ---- In a file


@pytest.mark.parametrize("binary", [False, True])
def test_a_file_brings_an_index_back(binary, tmp_path):
    codebook, images, query = drawn(3, 40, np.float32)
    index = build_index(codebook, images, binary=binary)
    index.save(tmp_path / "index")
    loaded = ASMKIndex.load(tmp_path / "index", codebook.copy())
    assert loaded.binary is binary
    assert loaded.vectors.dtype == index.vectors.dtype
    assert_array_equal(loaded.search(query, idf=True), index.search(query, idf=True))


@pytest.mark.parametrize("change", ["a number", "the order", "the dtype", "the shape"])
def test_an_index_of_another_codebook_is_refused(change, tmp_path):
    codebook, images, _ = drawn(4, 8, np.float32)
    build_index(codebook, images).save(tmp_path / "index")
    others = {
        "the order": codebook[::-1],
        "the dtype": codebook.astype(np.float64),
        "the shape": codebook.reshape(-1, 4),
    }
    other = others.get(change, codebook.copy())
    if change == "a number":
        other[3, 2] += 1e-6
    with pytest.raises(ValueError, match=r"codebook must be the one that the index '.*index' was built with"):
        ASMKIndex.load(tmp_path / "index", other)


def test_a_file_of_something_else_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", mean=np.ones(3))
    with pytest.raises(ValueError, match=r"path must be a file of an ASMK index, which '.*other.npz' is not"):
        ASMKIndex.load(tmp_path / "other.npz", CODEBOOK)


# ---- Bad input

INDEX = build_index(CODEBOOK, IMAGES)
BAD = {
    "codebook": (lambda: build_index(CODEBOOK[0], IMAGES), r"codebook must have the shape \(n, d\)"),
    "an image": (lambda: build_index(CODEBOOK, [QUERY, QUERY[:, :3]]), "image 1 must have 4 numbers a row, not 3"),
    "whole numbers": (lambda: INDEX.search(np.ones((3, 4), int)), "descriptors must be floating point"),
    "a NaN": (lambda: INDEX.search(np.full((3, 4), np.nan)), "descriptors must be finite, but row 0 is not"),
    "many assignments": (lambda: INDEX.search(QUERY), "assignments must be at most 3, the number of words, not 5"),
    "no assignments": (lambda: build_index(CODEBOOK, IMAGES, assignments=0), "assignments must be a whole number"),
    "alpha": (lambda: INDEX.search(QUERY, assignments=1, alpha=0), "alpha must be above 0 and finite, not 0"),
    "threshold": (lambda: INDEX.search(QUERY, assignments=1, threshold=np.nan), "threshold must be finite, not nan"),
}


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_get_a_sentence(name):
    call, sentence = BAD[name]
    with pytest.raises(ValueError, match=sentence):
        call()
