import numpy as np
import pytest
from pictures import encode, photo

from vtnjax.data import Digits, Folder, Generated, load_source


def test_packaged_sources_need_no_folder():
    assert repr(load_source("digits", "test", seed=2)) == repr(Digits("test", seed=2))
    source = load_source("generated", "train", data_dir="unused", count=7)
    assert isinstance(source, Generated)
    assert len(source) == 7


def test_options_reach_a_folder(tmp_path):
    path = tmp_path / "train" / "wren" / "1.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(encode(photo(), "JPEG"))
    source = load_source("folder", "train", data_dir=str(tmp_path), size=8)
    assert isinstance(source, Folder)
    assert source[0]["image"].shape == (8, 8, 3)


def test_idx_reads_its_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold train-images-idx3-ubyte"):
        load_source("idx", "train", data_dir=str(tmp_path))


def test_the_rest_of_a_tfds_name_is_the_catalogues(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'emnist/letters' must be prepared"):
        load_source("tfds:emnist/letters", "train", data_dir=str(tmp_path))


@pytest.mark.parametrize("dataset", ["idx", "folder", "cub", "cars", "aircraft", "inat2017"])
@pytest.mark.parametrize("data_dir", [None, ""])
def test_a_missing_data_dir_is_named(dataset, data_dir):
    with pytest.raises(
        ValueError, match=f"data_dir must be the folder with the files of dataset '{dataset}', not {data_dir!r}"
    ):
        load_source(dataset, "train", data_dir=data_dir)


def test_an_unknown_name_lists_the_choices():
    with pytest.raises(
        ValueError,
        match=r"dataset must be one of 'digits', 'two_digits', 'hidden_digits', 'solar', 'generated', 'composites', "
        r"'idx', 'folder', 'cub', 'cars', 'aircraft', 'inat2017', 'stored', 'svhn', 'stamps', 'scenes', "
        r"'landmark_tuples', 'tfds:NAME', 'drawn:NAME', not "
        r"'digit'; did you mean 'digits'\?",
    ):
        load_source("digit", "train")
    with pytest.raises(ValueError, match=r"'drawn:NAME', not 'zzz'$"):
        load_source("zzz", "train")


@pytest.mark.parametrize("name", ["cub", "cars", "aircraft", "inat2017"])
def test_drawn_sets_are_read_by_the_readers_of_the_real_ones(name):
    train, test = (load_source(f"drawn:{name}", split) for split in ("train", "test"))
    assert (len(train), len(test), len(train.classes)) == (48, 24, 6)
    assert train.classes == test.classes
    assert train[0]["image"].shape[-1] == 3
    with pytest.raises(ValueError, match=r"dataset must be one of .*, not 'cup'"):
        load_source("drawn:cup", "train")


def test_labels_are_ints_everywhere():
    assert all(type(load_source(name, "test")[0]["label"]) is int for name in ("digits", "generated"))
    assert load_source("digits", "test")[0]["image"].dtype == np.uint8


@pytest.mark.parametrize(
    ("dataset", "options", "sentence"),
    [
        ("digits", {"on_error": "skip"}, "options of dataset 'digits' must be among seed, not on_error='skip'"),
        ("drawn:cub", {"size": 8}, "options of dataset 'cub' must be among on_error, not size=8"),
        ("composites", {"extra": True}, "options of dataset 'composites' must be among count, drawn, not extra=True"),
        ("tfds:mnist", {"size": 8}, "options of dataset 'tfds:mnist' must be none, not size=8"),
        ("drawn:svhn", {"extra": "yes"}, "extra must be True or False, not 'yes'"),
        ("drawn:svhn", {"on_error": "ignore"}, "on_error must be one of 'raise', 'skip', not 'ignore'"),
    ],
)
@pytest.mark.usefixtures("untyped")
@pytest.mark.daily("drawn:cub-*", "drawn:svhn-options4-*")
def test_options_that_a_source_has_not_are_refused(dataset, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_source(dataset, "train", **options)


def test_every_source_may_be_told_to_raise():
    assert len(load_source("generated", "test", count=3, on_error="raise")) == 3


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    path = tmp_path / "birds" / "train" / "wren" / "1.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(encode(photo(), "JPEG"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load_source("folder", "train", data_dir="~/birds")) == 1
