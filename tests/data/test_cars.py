import shutil

import fine_grained_trees as trees
import numpy as np
import pytest
import scipy.io

from vtnjax.data import Cars


def test_cars(tmp_path):
    trees.write_cars(tmp_path)
    source = Cars(tmp_path, "train")
    assert source.classes == trees.MODELS
    assert source.labels.tolist() == [1, 0] == [record["label"] for record in source]
    trees.assert_shows(source[0], 39)
    trees.assert_shows(source[1], 36)
    np.testing.assert_array_equal(source.boxes, [[38, 115, 569, 375], [35, 115, 868, 587]])
    assert source.boxes.dtype == np.float32


@pytest.mark.parametrize("folder", ["", "devkit"])
def test_the_cars_test_labels_lie_in_either_place(tmp_path, folder):
    trees.write_cars(tmp_path)
    name = "cars_test_annos_withlabels.mat"
    (tmp_path / name).rename(tmp_path / folder / name)
    source = Cars(tmp_path, "test")  # a single record, which Matlab's format hands back without an axis
    assert source.labels.tolist() == [1]
    trees.assert_shows(source[0], 30)
    np.testing.assert_array_equal(source.boxes, [[29, 51, 246, 147]])


def test_cars_without_the_test_labels_are_refused(tmp_path):
    trees.write_cars(tmp_path)
    (tmp_path / "cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"must hold cars_test_annos_withlabels\.mat, .* put cars_test_annos_with"
    ):
        Cars(tmp_path, "test")


def test_other_matlab_files_are_refused(tmp_path):
    path = trees.write_cars(tmp_path) / "devkit" / "cars_train_annos.mat"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"cars_train_annos\.mat must be a whole Matlab file, .*: unpack"):
        Cars(tmp_path, "train")
    scipy.io.savemat(path, {"rows": 1})
    with pytest.raises(
        ValueError, match=r"cars_train_annos\.mat must hold a variable 'annotations', but has none: unpack"
    ):
        Cars(tmp_path, "train")
    path.write_bytes((path.parent / "cars_test_annos.mat").read_bytes())
    with pytest.raises(
        ValueError, match=r"cars_train_annos\.mat: annotations must have a field class, but lack it: unpack"
    ):
        Cars(tmp_path, "train")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            [(39, 116, 569, 375, 2, "00001.jpg"), (36, 116, 868, 587, 1, "00001.jpg")],
            r"'cars_train/00001\.jpg' comes twice",
        ),
        (
            [(39, 116, 569, 375, 0, "00001.jpg")],
            r"train_annos\.mat: the class of '00001\.jpg' must be .* from 1 to 2, not 0",
        ),
        (
            [(39, 116, 569, 375, 3, "00001.jpg")],
            r"train_annos\.mat: the class of '00001\.jpg' must be .* from 1 to 2, not 3",
        ),
        (
            [(39, 116, 569, 375, 1.5, "00001.jpg")],
            r"train_annos\.mat: the class of '00001\.jpg' must be a whole number .*, not 1\.5",
        ),
        (
            [(39, 116, 569, 375, "x", "00001.jpg")],
            r"train_annos\.mat: the class of '00001\.jpg' must be a whole number .*, not .*",
        ),
        (
            [(39, 116, 569, 375, [], "00001.jpg")],
            r"train_annos\.mat: the class of '00001\.jpg' must be a whole number .*, not .*",
        ),
        ([("x", 116, 569, 375, 1, "00001.jpg")], r"train_annos\.mat: the bbox_x1 of .* must be a number, not 'x'"),
        ([([], 116, 569, 375, 1, "00001.jpg")], r"train_annos\.mat: the bbox_x1 of .* must be a number, not .*"),
        ([(39, 116, np.nan, 375, 1, "00001.jpg")], r"train_annos\.mat: the box of '00001\.jpg' .*nan"),
        ([(39, 116, 569, 375, 1, 7)], r"train_annos\.mat: fname must be text, not 7"),
    ],
)
def test_cars_rows(tmp_path, rows, sentence):
    path = trees.write_cars(tmp_path) / "devkit" / "cars_train_annos.mat"
    names = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]
    records = np.empty((1, len(rows)), [(name, object) for name in names])
    for column, row in enumerate(rows):
        records[0, column] = row
    scipy.io.savemat(path, {"annotations": records})
    with pytest.raises(ValueError, match=sentence):
        Cars(tmp_path, "train")


# ---- As Kaggle serves it


@pytest.fixture
def kaggle(tmp_path):
    trees.write_cars(tmp_path)
    for split in ("train", "test"):
        inner = tmp_path / f"cars_{split}" / f"cars_{split}"
        shutil.move(tmp_path / f"cars_{split}", tmp_path / "moved")
        inner.parent.mkdir()
        shutil.move(tmp_path / "moved", inner)
    (tmp_path / "car_devkit").mkdir()
    (tmp_path / "devkit").rename(tmp_path / "car_devkit" / "devkit")
    return tmp_path


@pytest.mark.parametrize("beside", ["", "car_devkit", "car_devkit/devkit"])
def test_cars_are_read_in_kaggles_layout(kaggle, beside):
    name = "cars_test_annos_withlabels.mat"
    (kaggle / name).rename(kaggle / beside / name)
    train, test = Cars(kaggle, "train"), Cars(kaggle, "test")
    assert train.classes == trees.MODELS
    assert train.labels.tolist() == [1, 0]
    assert test.labels.tolist() == [1]
    for source, number in ((train, 39), (test, 30)):
        assert np.abs(source[0]["image"].astype(int) - trees.image(number)).mean() < 5
    np.testing.assert_array_equal(test.boxes, [[29, 51, 246, 147]])


def test_cars_without_test_labels_can_be_trained_on(kaggle):
    (kaggle / "cars_test_annos_withlabels.mat").unlink()
    assert len(Cars(kaggle, "train")) == 2
    with pytest.raises(
        FileNotFoundError,
        match=r"must hold cars_test_annos_withlabels\.mat, .* https://ai\.stanford\.edu/~jkrause/car196/cars_test_annos_with"
        r"labels\.mat; without it only the split 'train' can be read",
    ):
        Cars(kaggle, "test")


def test_an_empty_list_of_cars_is_refused(kaggle):
    path = kaggle / "car_devkit" / "devkit" / "cars_train_annos.mat"
    names = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]
    scipy.io.savemat(path, {"annotations": np.empty((1, 0), [(name, object) for name in names])})
    with pytest.raises(ValueError, match="the lists must name a picture of this split, not none: unpack"):
        Cars(kaggle, "train")
