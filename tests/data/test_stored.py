"""Features that are kept as files."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from vtnjax import data
from vtnjax.data.stored import write_stored

FEATURES = np.random.default_rng(0).normal(size=(7, 2, 3, 4)).astype(np.float32)
LABELS, CLASSES = np.array([0, 1, 0, 1, 1, 0, 1]), ("a", "b")


def write(folder, **changes):
    batches = [(FEATURES[:4], LABELS[:4]), (FEATURES[4:], LABELS[4:])]
    options = {"count": 7, "shape": (2, 3, 4), "classes": CLASSES, **changes}
    write_stored(folder, batches, **options)


def test_what_was_written_is_read(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / split)
    source = data.load_source("stored", "test", data_dir=str(tmp_path))
    assert len(source) == 7
    assert source.classes == CLASSES
    assert_array_equal(source.labels, LABELS)
    for index in range(7):
        record = source[index]
        assert_array_equal(record["image"], FEATURES[index].astype(np.float16))
        assert record["label"] == LABELS[index]
    with pytest.raises(IndexError):
        source[7]
    batch = next(data.train_batches(source, batch_size=4, seed=0))
    assert batch["image"].shape == (4, 2, 3, 4)


def test_a_split_is_written_whole_or_not_at_all(tmp_path):
    with pytest.raises(ValueError, match="count must be the number of feature maps, 7, not 8"):
        write(tmp_path / "train", count=8)
    assert not (tmp_path / "train").exists()
    write(tmp_path / "train")
    assert [path.name for path in tmp_path.iterdir()] == ["train"]


def test_what_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must hold test/classes.json of stored features.*store_features"):
        data.Stored(tmp_path, "test")
    with pytest.raises(
        ValueError, match="split must be one of 'train', 'validation', 'test', not 'tset'; did you mean 'test'"
    ):
        data.Stored(tmp_path, "tset")
    write(tmp_path / "test")
    whole = (tmp_path / "test" / "features.npy").read_bytes()
    (tmp_path / "test" / "features.npy").write_bytes(whole[:200])
    with pytest.raises(ValueError, match="test must hold stored features, but they are damaged"):
        data.Stored(tmp_path, "test")
