"""Local features of many images: kept, gone on with, never those of another network."""

import importlib

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from vtnjax.retrieval import LocalFeatures

module = importlib.import_module("vtnjax.evaluate.all_features")
COUNT = 70


class Images:
    """Images of which each read is noted."""

    sizes = ((4, 4),) * COUNT

    def __init__(self):
        self.read = []

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        self.read.append(index)
        return np.full((4, 4, 3), index, np.uint8)


def network(seed=0):
    """What reads features as a network does: of none, image 0, to four in an image."""

    def read(images, sizes):
        assert sizes == Images.sizes
        for image in images:
            index = int(image[0, 0, 0])
            rows = np.random.default_rng((seed, index)).standard_normal((index % 5, 6))
            rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
            yield LocalFeatures(rows[:, 4:], rows, rows[:, 0], rows[:, 1])

    return read


def found(folder=None, read=None):
    images = Images()
    return list(module.all_features(read or network(), images, "database", folder)), images.read


def assert_equal(some, others):
    assert len(some) == len(others) == COUNT
    for one, other in zip(some, others, strict=True):
        for each, again in zip(one, other, strict=True):
            assert each.dtype == np.float32
            assert_array_equal(each, again)


def test_without_a_folder_all_are_made():
    features, read = found()
    assert read == list(range(COUNT))
    assert_equal(features, list(network()(map(Images().__getitem__, range(COUNT)), sizes=Images.sizes)))


def test_what_is_kept_is_read_and_not_made_again(tmp_path):
    first, _ = found(tmp_path / "new")
    assert [path.name for path in sorted((tmp_path / "new").iterdir())] == [
        f"database-{start:08}.npz" for start in (0, 32, 64)
    ]
    again, read = found(tmp_path / "new")
    assert read == [4]  # to be compared
    assert_equal(first, again)
    assert_equal(first, found()[0])


def test_a_search_that_failed_goes_on_where_it_was(tmp_path):
    def failing(images, sizes):
        if int(images[0][0, 0, 0]) == 64:
            raise ValueError("cat.jpg is cut off")
        return network()(images, sizes)

    with pytest.raises(ValueError, match=r"cat\.jpg is cut off"):
        found(tmp_path, failing)
    features, read = found(tmp_path)
    assert read == [4, *range(64, COUNT)]
    assert_equal(features, found()[0])


@pytest.mark.parametrize("damage", [lambda data: data[:200], lambda data: b"", lambda data: data[:-9]])
def test_a_damaged_file_is_made_again(damage, tmp_path):
    found(tmp_path)
    path = tmp_path / "database-00000032.npz"
    path.write_bytes(damage(path.read_bytes()))
    features, read = found(tmp_path)
    assert read == [4, *range(32, 64)]
    assert_equal(features, found()[0])


def test_features_of_fewer_images_are_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 16)
    found(tmp_path)
    monkeypatch.undo()
    features, _ = found(tmp_path)
    assert_equal(features, found()[0])


def test_what_the_name_of_a_folder_cannot_know_is_seen(tmp_path):
    """A function that prepares images is told by what comes out; an image that has features is compared."""
    found(tmp_path)
    with pytest.raises(ValueError, match=r"database-00000000\.npz must hold local features by this network, but those"):
        found(tmp_path, network(seed=1))
