import colorsys
import hashlib

import numpy as np
import pytest

from vtnjax.data import load_source, write_drawn

DATASETS = ("cub", "cars", "aircraft", "inat2017")


def digest(directory):
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.suffix != ".mat")
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def is_coloured(image):
    return np.ptp(image.astype(int), axis=-1) > 100


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_source_of_that_name_reads_it(tmp_path, dataset):
    write_drawn(dataset, tmp_path, classes=5, train=3, test=2)
    for split, count in (("train", 3), ("test", 2)):
        source = load_source(dataset, split, data_dir=str(tmp_path))
        assert len(source.classes) == 5
        assert sorted(source.labels) == sorted(list(range(5)) * count)
        assert {record["image"].shape for record in source} == {(90, 120, 3)}


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_class_is_the_colour(tmp_path, dataset):
    write_drawn(dataset, tmp_path)
    for record in load_source(dataset, "test", data_dir=str(tmp_path)):
        colour = np.median(record["image"][is_coloured(record["image"])], axis=0)
        hue = colorsys.rgb_to_hsv(*colour / 255)[0]
        assert min(abs(hue - record["label"] / 6), 1 - abs(hue - record["label"] / 6)) < 0.03


@pytest.mark.parametrize("dataset", ["cub", "cars", "aircraft"])
def test_the_box_holds_the_polygon(tmp_path, dataset):
    write_drawn(dataset, tmp_path)
    source = load_source(dataset, "train", data_dir=str(tmp_path))
    for record, box in zip(source, source.boxes, strict=True):
        rows, columns = np.nonzero(is_coloured(record["image"]))
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        # A sharp corner may be pale in the file.
        assert np.abs(box - found).max() <= 6
        assert np.abs(box - found).mean() <= 2.5


def test_the_seed_fixes_the_files(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_drawn("inat2017", tmp_path / name, seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")
    pictures = [value for name, value in digest(tmp_path / "a").items() if name.endswith(".jpg")]
    assert len(pictures) == len(set(pictures)) == 6 * 12


@pytest.mark.parametrize(
    ("dataset", "options", "sentence"),
    [
        ("birds", {}, "dataset must be one of 'cub', 'cars', 'aircraft', 'inat2017', not 'birds'"),
        ("cub", {"classes": 0}, "classes must be a whole number of at least 1, not 0"),
        ("cub", {"train": 0}, "train must be a whole number of at least 1, not 0"),
        ("cub", {"test": -1}, "test must be a whole number of at least 1, not -1"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, dataset, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        write_drawn(dataset, tmp_path, **options)


def test_a_drawn_set_of_another_name_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match=r"dataset must be one of .*'svhn', .*, not 'svhm'; did you mean 'svhn'"):
        load_source("drawn:svhm", "train")
