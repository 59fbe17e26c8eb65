"""Whitening against SciPy's generalised eigenvalues, NumPy's covariance and a plain loop, and by what it is for."""

import numpy as np
import pytest
import scipy.linalg
from numpy.testing import assert_allclose

from vtnjax.retrieval import Whitening, learned_whitening, pca_whitening, principal_components

RNG = np.random.default_rng(0)
MIXED = RNG.standard_normal((200, 6)) @ RNG.standard_normal((6, 6)) + RNG.standard_normal(6)
QUERIES, POSITIVES = RNG.integers(0, 100, 150), RNG.integers(100, 200, 150)


def projected(whitening, descriptors):
    return (descriptors - whitening.mean) @ whitening.projection.T


def unit(rows):
    return rows / (np.sqrt((rows**2).sum(1, keepdims=True)) + 1e-6)


def same_but_for_signs(found, expected):
    signs = np.sign((found * expected).sum(1, keepdims=True))
    assert_allclose(found * signs, expected, rtol=1e-9, atol=1e-12)


# ---- By principal components


@pytest.mark.parametrize("size", [6, 4])
def test_principal_components_are_those_of_the_singular_values(size):
    whitening = pca_whitening(MIXED, size=size)
    centred = MIXED - MIXED.mean(0)
    _, values, directions = scipy.linalg.svd(centred, full_matrices=False)
    assert_allclose(whitening.mean, MIXED.mean(0))
    same_but_for_signs(whitening.projection, (directions * np.sqrt(len(MIXED)) / values[:, None])[:size])


def test_the_covariance_of_the_whitened_is_the_identity():
    assert_allclose(np.cov(projected(pca_whitening(MIXED), MIXED).T, bias=True), np.eye(6), atol=1e-12)


def test_fewer_dimensions_are_the_first():
    whole, cut = pca_whitening(MIXED), pca_whitening(MIXED, size=2)
    assert_allclose(cut.projection, whole.projection[:2], rtol=1e-12)
    whole, cut = (learned_whitening(MIXED, QUERIES, POSITIVES, size=size) for size in (None, 2))
    assert_allclose(cut.projection, whole.projection[:2], rtol=1e-12)


def test_a_constant_dimension_is_cut_off_or_named():
    flat = np.insert(MIXED, 3, 0.7, axis=1)
    same_but_for_signs(projected(pca_whitening(flat, size=6), flat).T, projected(pca_whitening(MIXED), MIXED).T)
    with pytest.raises(ValueError, match="size must be at most 6, the dimensions in which the 200 descriptors vary"):
        pca_whitening(flat)


def test_principal_components_keep_their_variances():
    components = principal_components(MIXED, size=4)
    centred = MIXED - MIXED.mean(0)
    _, values, directions = scipy.linalg.svd(centred, full_matrices=False)
    assert_allclose(components.mean, MIXED.mean(0))
    same_but_for_signs(components.projection, directions[:4])
    assert_allclose(projected(components, MIXED).var(0), values[:4] ** 2 / len(MIXED))
    assert_allclose(components.apply(MIXED), unit(projected(components, MIXED)), rtol=1e-9)
    with pytest.raises(ValueError, match="size must be at most 2, the dimensions in which the 3 descriptors vary"):
        principal_components(MIXED[:3])


# ---- From matching pairs


def test_differences_of_matching_pairs_get_the_covariance_1():
    whitening = learned_whitening(MIXED, QUERIES, POSITIVES)
    differences = projected(whitening, MIXED)[QUERIES] - projected(whitening, MIXED)[POSITIVES]
    assert_allclose(differences.T @ differences / len(differences), np.eye(6), atol=1e-12)


def test_directions_solve_the_generalised_eigenvalue_problem():
    whitening = learned_whitening(MIXED, QUERIES, POSITIVES)
    differences = MIXED[QUERIES] - MIXED[POSITIVES]
    centred = MIXED - MIXED[QUERIES].mean(0)
    within, between = differences.T @ differences / len(differences), centred.T @ centred
    _, directions = scipy.linalg.eigh(between, within)  # V' within V = 1, variances rise
    assert_allclose(whitening.mean, MIXED[QUERIES].mean(0))
    same_but_for_signs(whitening.projection, directions.T[::-1])


def test_it_brings_matching_descriptors_together():
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((8, 8)) * [30, 10, 1, 1, 1, 1, 1, 1]
    places = rng.standard_normal((300, 8))
    images = np.concatenate([places + rng.standard_normal(places.shape) @ noise for _ in range(2)])
    whitening = learned_whitening(images, np.arange(200), np.arange(300, 500))

    def found(descriptors):  # of the last 100 places, which no pair was of
        first, second = unit(descriptors)[200:300], unit(descriptors)[500:]
        return np.mean((first @ second.T).argmax(1) == np.arange(100))

    assert found(whitening.apply(images)) > 2 * found(images)


# ---- Applied, saved, loaded


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_whitened_has_length_1_and_its_dtype(dtype):
    whitening = pca_whitening(MIXED.astype(dtype), size=3)
    found = whitening.apply(MIXED.astype(dtype))
    assert (found.shape, found.dtype) == ((200, 3), dtype)
    assert whitening.projection.dtype == np.float64
    expected = [whitening.projection @ (row - whitening.mean) for row in MIXED.astype(dtype).astype(np.float64)]
    assert_allclose(found, unit(np.stack(expected)), rtol=1e-6 if dtype == np.float32 else 1e-12)


def test_the_mean_itself_gives_zeros():
    whitening = Whitening(np.array([1.0, 2.0]), np.eye(2))
    assert whitening.apply(np.array([[1.0, 2.0], [1.0, 5.0]])) == pytest.approx(np.array([[0, 0], [0, 3 / 3.000001]]))


def test_a_file_brings_it_back(tmp_path):
    whitening = learned_whitening(MIXED, QUERIES, POSITIVES, size=4)
    path = tmp_path / "whitening"  # the name is kept as it is
    whitening.save(path)
    assert [each.name for each in tmp_path.iterdir()] == ["whitening"]
    loaded = Whitening.load(path)
    assert_allclose(loaded.mean, whitening.mean, rtol=0)
    assert_allclose(loaded.projection, whitening.projection, rtol=0)


def test_a_file_of_something_else_gets_a_sentence(tmp_path):
    with pytest.raises(FileNotFoundError):
        Whitening.load(tmp_path / "nothing")
    path = tmp_path / "other"
    for write in (
        lambda file: file.write(b""),
        lambda file: file.write(b"not an archive"),
        lambda file: np.save(file, np.ones(3)),
        lambda file: np.savez(file, mean=np.ones(3)),
        lambda file: np.savez(file, mean=np.array([{}], object), projection=np.ones(3)),  # a pickle
    ):
        with path.open("wb") as file:
            write(file)
        with pytest.raises(ValueError, match=r"path must be a file of a whitening, which '.*other' is not"):
            Whitening.load(path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "whitening"
    pca_whitening(MIXED).save(path)
    before = path.read_bytes()

    def full(file, **arrays):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space left"):
        pca_whitening(MIXED, size=2).save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


# ---- Bad input

FEW = [0, 1, 2, 3, 4], [5, 6, 7, 8, 9]
BAD = {
    "one descriptor": (lambda: pca_whitening(MIXED[0]), r"descriptors must have the shape \(n, d\).*\(6,\)"),
    "whole numbers": (lambda: pca_whitening(np.ones((4, 3), int)), "descriptors must be floating point.*int64"),
    "a NaN": (lambda: pca_whitening(np.where(np.eye(7, 6), np.nan, 1)), "descriptors must be finite, but row 0 is not"),
    "no descriptors": (lambda: pca_whitening(MIXED[:0]), "size must be at most 0"),
    "few descriptors": (lambda: pca_whitening(MIXED[:4]), "size must be at most 3.*the 4 descriptors vary, not 6"),
    "size 0": (lambda: pca_whitening(MIXED, size=0), "size must be a whole number of at least 1, not 0"),
    "size 7": (lambda: pca_whitening(MIXED, size=7), "size must be at most 6, the numbers of a descriptor, not 7"),
    "few pairs": (lambda: learned_whitening(MIXED, *FEW), "the 5 pairs must differ in all 6 dimensions, not only in 5"),
    "no pairs": (lambda: learned_whitening(MIXED, [], []), "the 0 pairs must differ in all 6 dimensions"),
    "unpaired": (lambda: learned_whitening(MIXED, [0, 1], [2]), "positives must have one for each of 2 queries, not 1"),
    "no index": (lambda: learned_whitening(MIXED, [0], [200]), "positives must be indices of the 200 descriptors.*200"),
    "a negative index": (lambda: learned_whitening(MIXED, [-1], [0]), "queries must be indices of the 200.*-1"),
    "an index of 1.5": (lambda: learned_whitening(MIXED, [1.5], [0]), "queries must be a list of whole numbers"),
    "another size": (lambda: pca_whitening(MIXED).apply(MIXED[:, :5]), "descriptors must have 6 numbers a row, not 5"),
}


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_get_a_sentence(name):
    call, sentence = BAD[name]
    with pytest.raises(ValueError, match=sentence):
        call()
