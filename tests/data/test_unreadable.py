"""Pictures that cannot be read, in every source of picture files: named when read, listed by a check, skipped."""

import logging
import os
import shutil

import numpy as np
import pytest
from pictures import encode, photo

from vtnjax.data import check_source, load_source, photo_test, write_drawn, write_house_numbers
from vtnjax.data.records import Mapped

DATASETS = ["cub", "cars", "aircraft", "inat2017", "svhn", "folder"]


def write_folder(directory):
    for name in ("auk", "crow"):
        for number in range(3):
            path = directory / "train" / name / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encode(photo(seed=number), "JPEG"))


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    for name in DATASETS[:4]:
        write_drawn(name, root / name, classes=2, train=4, test=2)
    write_house_numbers(root / "svhn", counts={"train": 9, "extra": 3, "test": 3})
    write_folder(root / "folder")
    return root


@pytest.fixture
def directory(originals, tmp_path):
    return shutil.copytree(originals, tmp_path / "sets")


def cut(path):
    path.write_bytes(path.read_bytes()[:-60])


def empty(path):
    path.write_bytes(b"")


def dangle(path):
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def become_a_folder(path):
    path.unlink()
    path.mkdir()


def opened(directory, dataset, **options):
    return load_source(dataset, "train", data_dir=str(directory / dataset), **options)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("spoil", [cut, empty, dangle, become_a_folder])
@pytest.mark.daily("become_a_folder-folder")
def test_a_bad_picture_is_named_listed_and_skipped(directory, dataset, spoil, caplog):
    source = opened(directory, dataset)
    labels, boxes, count = source.labels, getattr(source, "boxes", None), len(source)
    bad, last = source.path(1), source.path(count - 1)
    spoil(bad)
    with pytest.raises(ValueError, match=rf"{bad} cannot be read"):
        source[1]
    ((name, reason),) = check_source(source)
    assert name == str(bad)
    assert str(bad) not in reason
    with caplog.at_level(logging.WARNING):
        kept = opened(directory, dataset, on_error="skip")
    assert [r.getMessage() for r in caplog.records] == [f"Skipped 1 of {count} files that do not decode: {bad}"]
    assert len(kept) == count - 1
    np.testing.assert_array_equal(kept.labels, np.delete(labels, 1, axis=0))
    assert kept.path(count - 2) == last
    assert not check_source(kept)
    np.testing.assert_array_equal(kept[count - 2]["label"], labels[-1])
    if boxes is not None:
        np.testing.assert_array_equal(kept.boxes, np.delete(boxes, 1, axis=0))
    assert (kept.unreadable if dataset == "svhn" else kept.skipped) == (bad,)


@pytest.mark.parametrize("dataset", DATASETS[:5])
def test_a_missing_picture_is_skipped_too(directory, dataset):
    source = opened(directory, dataset)
    source.path(0).unlink()
    with pytest.raises(FileNotFoundError, match="but 1 are missing"):
        opened(directory, dataset)
    assert len(opened(directory, dataset, on_error="skip")) == len(source) - 1


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_set_without_a_whole_picture_is_refused(directory, dataset):
    for path in [path for path in (directory / dataset).rglob("*") if path.suffix in (".jpg", ".png")]:
        cut(path)
    with pytest.raises(ValueError, match=r"must have a readable picture, but none of \d+ is, the first .*\.(jpg|png)"):
        opened(directory, dataset, on_error="skip")


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.usefixtures("untyped")
def test_another_word_than_raise_or_skip_is_refused(directory, dataset):
    with pytest.raises(ValueError, match="on_error must be one of 'raise', 'skip', not 'ignore'"):
        opened(directory, dataset, on_error="ignore")


def test_an_aircraft_without_more_than_its_banner_is_named(directory):
    source = opened(directory, "aircraft")
    source.path(1).write_bytes(encode(photo(20, 30), "JPEG"))
    with pytest.raises(ValueError, match=rf"{source.path(1)} must be higher than its banner of 20 pixels, not 20"):
        source[1]
    assert [name for name, _ in check_source(source)] == [str(source.path(1))]


def test_ten_of_many_names_are_said(tmp_path, caplog):
    write_folder(tmp_path)
    for number in range(10, 23):
        (tmp_path / "train" / "auk" / f"{number}.jpg").write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        load_source("folder", "train", data_dir=str(tmp_path), on_error="skip")
    (record,) = caplog.records
    assert record.getMessage().startswith("Skipped 13 of 19 files that do not decode: ")
    assert record.getMessage().count(".jpg") == 10
    assert record.getMessage().endswith(f"{os.sep}19.jpg and 3 more")


def test_the_splits_of_house_numbers_do_not_depend_on_what_is_skipped(directory):
    validation = opened(directory, "svhn", extra=False)
    cut(validation.path(0))
    held_out = [
        load_source("svhn", "validation", data_dir=str(directory / "svhn"), on_error=on_error)
        for on_error in ("raise", "skip")
    ]
    assert held_out[0].path(0) == held_out[1].path(0)


def test_records_without_files_are_listed_by_their_numbers(directory):
    source = opened(directory, "cub")
    cut(source.path(2))
    ((name, reason),) = check_source(Mapped(source, photo_test(size=32, crop=24)))
    assert name == "record 2"
    assert "cut short" in reason


def test_a_whole_set_is_clean(directory):
    assert check_source(opened(directory, "cub")) == []
