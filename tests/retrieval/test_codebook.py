"""Visual words: the nearest by a loop, and clusters that k-means finds again."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax.retrieval import codebook, nearest_words, train_codebook

RNG = np.random.default_rng(0)
CENTRES = 10 * RNG.standard_normal((12, 5))
POINTS = (CENTRES[:, None] + 0.1 * RNG.standard_normal((12, 50, 5))).reshape(-1, 5).astype(np.float32)


@pytest.mark.parametrize("block", [1, 100, 2**21])  # distances held at a time
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_nearest_words_are_those_of_a_loop(block, dtype, monkeypatch):
    monkeypatch.setattr(codebook, "BLOCK", block)
    words, descriptors = RNG.standard_normal((30, 6)).astype(dtype), RNG.standard_normal((40, 6)).astype(dtype)
    expected = [np.argsort(((words - each) ** 2).sum(1))[:3] for each in descriptors]
    assert_array_equal(nearest_words(descriptors, words, count=3), expected)
    assert_array_equal(nearest_words(descriptors, words), np.array(expected)[:, :1])


def test_of_equally_near_words_the_first_is_taken():
    assert nearest_words(np.zeros((1, 2)), np.eye(2)[[0, 1, 0]], count=2).tolist() == [[0, 1]]


def test_every_word_and_no_descriptor():
    assert nearest_words(np.ones((1, 2)), np.eye(2), count=2).shape == (1, 2)
    assert nearest_words(np.ones((0, 2)), np.eye(2)).shape == (0, 1)


def test_clusters_are_found_again():
    pytest.importorskip("faiss")
    words = train_codebook(POINTS, 12, iterations=30, seed=1)
    assert (words.shape, words.dtype) == ((12, 5), np.float32)
    cost = np.square(POINTS - words[nearest_words(POINTS, words)[:, 0]]).sum(1).mean()
    means = POINTS.reshape(12, 50, 5).mean(1)
    best = np.square(POINTS - means.repeat(50, axis=0)).sum(1).mean()
    assert cost < 0.3 * np.square(POINTS - POINTS.mean(0)).sum(1).mean()
    # Where a word is the only one of its cluster, it is the mean of all of its points, of which none is left out.
    alone = [word for word in words if (np.linalg.norm(words - word, axis=1) < 3).sum() == 1]
    nearest = nearest_words(np.array(alone), means)[:, 0]
    single = [(word, mean) for word, mean in zip(alone, means[nearest], strict=True) if np.linalg.norm(word - mean) < 1]
    assert len(single) >= 6
    assert_allclose(*zip(*single, strict=True), atol=1e-4)
    assert cost >= best


def test_no_descriptor_is_left_out_and_a_seed_repeats_its_words():
    pytest.importorskip("faiss")
    many = RNG.standard_normal((2000, 2)).astype(np.float32)  # faiss would take 256 of them
    assert_allclose(train_codebook(many, 1), many.mean(0, keepdims=True), atol=1e-5)
    first, same, other = (train_codebook(many, 8, iterations=2, seed=seed) for seed in (0, 0, 1))
    assert_array_equal(first, same)
    assert not np.array_equal(first, other)


def test_faiss_does_not_complain_of_few_descriptors(capfd):
    pytest.importorskip("faiss")
    assert train_codebook(POINTS[:20], 2).shape == (2, 5)
    assert capfd.readouterr() == ("", "")


def test_without_faiss_the_extra_is_named():
    code = """
import sys
sys.modules["faiss"] = None
import numpy as np
from vtnjax import retrieval
try:
    retrieval.train_codebook(np.ones((3, 2)), 2)
except ModuleNotFoundError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == 'vtnjax.retrieval.train_codebook needs the extra "retrieval": pip install "vtnjax[retrieval]"\n'


BAD = {
    "few": (lambda: train_codebook(POINTS[:4], 5), "descriptors must be at least as many as the 5 words, not 4"),
    "words": (lambda: train_codebook(POINTS, 0), "words must be a whole number of at least 1, not 0"),
    "iterations": (lambda: train_codebook(POINTS, 2, iterations=0), "iterations must be a whole number"),
    "a descriptor": (lambda: train_codebook(POINTS[0], 2), r"descriptors must have the shape \(n, d\)"),
    "size": (lambda: nearest_words(POINTS, np.eye(4)), "descriptors must have 4 numbers a row, not 5"),
    "count": (lambda: nearest_words(POINTS, np.eye(5), count=6), "count must be at most 5, the number of words, not 6"),
    "infinite": (lambda: nearest_words(POINTS, np.eye(5) * np.inf), "codebook must be finite, but row 0 is not"),
}


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_get_a_sentence(name):
    call, sentence = BAD[name]
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=sentence):
        call()
