"""The images and pairs of retrieval-SfM-120k, and what is said of a folder that is not as published."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from vtnjax.data import LandmarkTuples, check_source, load_source, write_landmark_tuples

FILE = "retrieval-SfM-120k.pkl"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with four landmarks to train on and two others, three images of each."""
    folder = tmp_path_factory.mktemp("landmarks")
    write_landmark_tuples(folder, train=4, val=2, images=3)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    """One like it, whose pickle may be changed; the images are those of the other."""
    (tmp_path / FILE).write_bytes((whole / FILE).read_bytes())
    (tmp_path / "ims").symlink_to(whole / "ims")
    return tmp_path


def test_the_splits_have_the_same_classes_and_no_common_one(whole):
    train, val = LandmarkTuples(whole, "train"), LandmarkTuples(whole, "val")
    assert train.classes == val.classes == tuple("012345")
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert val.labels.tolist() == [4, 4, 4, 5, 5, 5]
    assert train.pairs.tolist() == [[0, 1], [1, 2], [3, 4], [4, 5], [6, 7], [7, 8], [9, 10], [10, 11]]
    assert (val.labels[val.pairs[:, 0]] == val.labels[val.pairs[:, 1]]).all()
    record = train[4]
    assert (record["image"].shape, record["label"]) == ((90, 120, 3), 1)
    assert check_source(train) == []


def test_an_image_lies_in_folders_of_the_ends_of_its_name(whole):
    name = pickle.loads((whole / FILE).read_bytes())["val"]["cids"][2]
    path = LandmarkTuples(whole, "val").path(2)
    assert path == whole / "ims" / name[-2:] / name[-4:-2] / name[-6:-4] / name
    assert path.is_file()


def test_the_set_is_loaded_by_its_name(whole):
    assert len(load_source("landmark_tuples", "train", data_dir=str(whole))) == 12
    assert len(load_source("drawn:landmark_tuples", "val").pairs) == 15


class Hostile:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize("where", ["at the top", "inside", "an array"])
def test_no_class_is_read_and_no_function_called(folder, where):
    touched = folder / "touched"
    found = pickle.loads((folder / FILE).read_bytes())
    harmful = np.arange(12) if where == "an array" else Hostile(touched)
    found["train"]["cluster"] = harmful
    (folder / FILE).write_bytes(pickle.dumps(harmful if where == "at the top" else found))
    with pytest.raises(ValueError, match=r"retrieval-SfM-120k.pkl cannot be read .*no class is read"):
        LandmarkTuples(folder, "train")
    assert not touched.exists()


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("cids", ["a/../../bcdefg"], "the cids of 'train' must be texts of 6 letters or more, not 'a/../../bcdefg'"),
        ("cids", ["short"], "the cids of 'train' must be texts of 6 letters or more, not 'short'"),
        ("cluster", [1.5], "the cluster of 'train' must be whole numbers, not 1.5"),
        ("qidxs", [1], "the qidxs of 'train' must be whole numbers from 0 to 0, not 1"),
        ("pidxs", [-1], "the pidxs of 'train' must be whole numbers from 0 to 0, not -1"),
        ("pidxs", [0, 0], "must have as many qidxs as pidxs of 'train', not 1 and 2"),
        ("cluster", [], "must have as many cids as cluster of 'train', not 1 and 0"),
        ("cids", None, "must hold the lists cids, cluster, qidxs, pidxs of 'train'"),
    ],
)
def test_what_makes_no_sense_is_named(tmp_path, part, value, said):
    good = {"cids": ["abcdef"], "cluster": [3], "qidxs": [0], "pidxs": [0]}
    (tmp_path / FILE).write_bytes(pickle.dumps({"train": {**good, part: value}, "val": good}))
    with pytest.raises(ValueError, match=said):
        LandmarkTuples(tmp_path, "val")


@pytest.mark.parametrize("found", [[], {"train": {}}, {"val": 3}])
def test_another_pickle_is_refused(tmp_path, found):
    (tmp_path / FILE).write_bytes(pickle.dumps(found))
    with pytest.raises(ValueError, match="must hold the lists cids, cluster, qidxs, pidxs of 'train'"):
        LandmarkTuples(tmp_path, "train")


def test_half_a_pickle_is_refused(folder):
    (folder / FILE).write_bytes((folder / FILE).read_bytes()[:100])
    with pytest.raises(ValueError, match="cannot be read"):
        LandmarkTuples(folder, "train")


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must hold retrieval-SfM-120k\.pkl, but there is none: "):
        LandmarkTuples(tmp_path, "train")
    write_landmark_tuples(tmp_path, train=2, val=1, images=2)
    train = LandmarkTuples(tmp_path, "train")
    train.path(1).write_bytes(b"")
    with pytest.raises(ValueError, match=f"{train.names[1]} cannot be read"):
        train[1]
    train.path(1).unlink()
    with pytest.raises(FileNotFoundError, match=f"all 4 pictures, but 1 are missing, the first {train.names[1]}"):
        LandmarkTuples(tmp_path, "train")


def test_the_split_is_one_of_two(whole):
    with pytest.raises(ValueError, match="split must be one of 'train', 'val', not 'test'"):
        LandmarkTuples(whole, "test")
