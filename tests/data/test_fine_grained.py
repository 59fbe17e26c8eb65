import json

import fine_grained_trees as trees
import numpy as np
import pytest
import scipy.io
from pictures import as_seen, encode

from vtnjax.data import Aircraft, Cars, Cub, INaturalist2017, LabelledSource, load_source

WRITERS = {
    "cub": trees.write_cub,
    "cars": trees.write_cars,
    "aircraft": trees.write_aircraft,
    "inat2017": trees.write_inat2017,
}


def assert_shows(record, number, rows=None):
    """The record is the picture of that number, but for what JPEG loses."""
    assert record["image"].dtype == np.uint8
    expected = as_seen(encode(trees.image(number), "JPEG", quality=95))[:rows]
    np.testing.assert_array_equal(record["image"], expected)


@pytest.mark.parametrize("dataset", WRITERS)
def test_sources_tell_their_labels_without_decoding(tmp_path, dataset):
    root = WRITERS[dataset](tmp_path)
    for path in root.rglob("*.jpg"):
        path.write_bytes(b"never looked at")
    source = load_source(dataset, "train", data_dir=str(tmp_path))
    assert isinstance(source, LabelledSource)
    assert source.labels.dtype == np.int32
    assert source.labels.shape == (len(source),)
    with pytest.raises(ValueError, match=r"\.jpg cannot be read \(data must be .*\): unpack its archive again"):
        source[0]
    with pytest.raises(IndexError):
        source[len(source)]


@pytest.mark.parametrize("dataset", WRITERS)
def test_a_missing_picture_is_named(tmp_path, dataset):
    root = WRITERS[dataset](tmp_path)
    source = load_source(dataset, "train", data_dir=str(tmp_path))
    last = source.names[-1]
    (source._root / last).unlink()
    with pytest.raises(
        FileNotFoundError, match=rf"must hold all 2 pictures, but 1 are missing, the first {last}: unpack .* http"
    ):
        load_source(dataset, "train", data_dir=str(tmp_path))
    for folder in {path.parent for path in root.rglob("*.jpg")}:
        for path in folder.glob("*"):
            path.unlink()
        folder.rmdir()
    with pytest.raises(FileNotFoundError, match="all 2 pictures, but 2 are missing"):
        load_source(dataset, "train", data_dir=str(tmp_path))


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        (
            "cub",
            r"must hold CUB_200_2011/images\.txt, but there is none: unpack CUB_200_2011\.tgz there \(published at https://www\.vision",
        ),
        (
            "cars",
            r"must hold devkit/cars_meta\.mat, but there is none: unpack cars_train\.tgz, .* https://ai\.stanford\.edu",
        ),
        (
            "aircraft",
            r"must hold fgvc-aircraft-2013b/data/variants\.txt, but there is none: unpack fgvc-.*\.tar\.gz there .* https://www\.",
        ),
        (
            "inat2017",
            r"must hold train2017\.json, but there is none: unpack train_val_images\.tar\.gz and .* https://github\.com/visipedia",
        ),
    ],
)
def test_an_empty_folder_comes_with_what_to_unpack(tmp_path, dataset, sentence):
    with pytest.raises(FileNotFoundError, match=sentence):
        load_source(dataset, "train", data_dir=str(tmp_path))


@pytest.mark.parametrize("dataset", WRITERS)
def test_another_split_is_refused(tmp_path, dataset):
    WRITERS[dataset](tmp_path)
    with pytest.raises(ValueError, match=r"split must be one of 'train'.*, not 'extra'"):
        load_source(dataset, "extra", data_dir=str(tmp_path))


@pytest.mark.parametrize("dataset", WRITERS)
def test_repr_is_stable(tmp_path, dataset):
    WRITERS[dataset](tmp_path)
    source = load_source(dataset, "train", data_dir=str(tmp_path))
    name, classes = type(source).__name__, len(source.classes)
    assert repr(source) == f"{name}({str(source._root)!r}, records=2, classes={classes})"


# ---- CUB-200-2011


def test_cub(tmp_path):
    root = trees.write_cub(tmp_path)
    source = Cub(tmp_path, "train")
    assert source.classes == ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    assert source.labels.tolist() == [0, 1] == [record["label"] for record in source]
    assert_shows(source[0], 2)
    assert_shows(source[1], 3)
    np.testing.assert_array_equal(source.boxes, [[139, 30, 292, 294], [14.5, 112, 402.5, 298]])
    assert source.boxes.dtype == np.float32
    test = Cub(str(root), "test")
    assert_shows(test[1], 10)
    assert test.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(test.boxes[1], [1, 2, 4, 6])


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("images.txt", "1 a.jpg\n1 b.jpg\n", r"images\.txt: each key must come once, but '1' comes twice: unpack"),
        ("images.txt", "1\n", r"images\.txt: each line must hold a key and a value, not '1': unpack"),
        ("train_test_split.txt", "1 1\n2 1\n3 1\n", r"train_test_split\.txt and .* only one of them has image 10"),
        (
            "bounding_boxes.txt",
            "1 1 2 3 4\n2 1 2 x 4\n3 1 2 3 4\n10 1 2 3 4\n",
            r"the box of image 2 must be four numbers, .*, not '1 2 x 4'",
        ),
        (
            "bounding_boxes.txt",
            "1 1 2 3 4\n2 1 2 3\n3 1 2 3 4\n10 1 2 3 4\n",
            r"the box of image 2 must be four numbers, .*, not '1 2 3'",
        ),
        (
            "bounding_boxes.txt",
            "1 1 2 3 4\n2 1 2 0 4\n3 1 2 3 4\n10 1 2 3 4\n",
            r"the box of '2' .* not \[1\.0, 2\.0, 1\.0, ",
        ),
        (
            "train_test_split.txt",
            "1 0\n2 0\n3 0\n10 0\n",
            "the lists must name a picture of this split, not none: unpack",
        ),
    ],
)
def test_cub_lists_that_do_not_fit_are_refused(tmp_path, file, content, sentence):
    (trees.write_cub(tmp_path) / file).write_text(content)
    with pytest.raises(ValueError, match=sentence):
        Cub(tmp_path, "train")


@pytest.mark.parametrize(
    "file", ["classes.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt"]
)
def test_a_missing_cub_list_is_named(tmp_path, file):
    (trees.write_cub(tmp_path) / file).unlink()
    with pytest.raises(FileNotFoundError, match=rf"CUB_200_2011 must hold {file}, but there is none: unpack"):
        Cub(tmp_path, "train")


# ---- Stanford Cars


def test_cars(tmp_path):
    trees.write_cars(tmp_path)
    source = Cars(tmp_path, "train")
    assert source.classes == trees.MODELS
    assert source.labels.tolist() == [1, 0] == [record["label"] for record in source]
    assert_shows(source[0], 39)
    assert_shows(source[1], 36)
    np.testing.assert_array_equal(source.boxes, [[38, 115, 569, 375], [35, 115, 868, 587]])
    assert source.boxes.dtype == np.float32


@pytest.mark.parametrize("folder", ["", "devkit"])
def test_the_cars_test_labels_lie_in_either_place(tmp_path, folder):
    trees.write_cars(tmp_path)
    name = "cars_test_annos_withlabels.mat"
    (tmp_path / name).rename(tmp_path / folder / name)
    source = Cars(tmp_path, "test")  # a single record, which Matlab's format hands back without an axis
    assert source.labels.tolist() == [1]
    assert_shows(source[0], 30)
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


# ---- FGVC-Aircraft


def test_aircraft(tmp_path):
    root = trees.write_aircraft(tmp_path)
    source = Aircraft(tmp_path, "train")
    assert source.classes == ("707-320", "F-16A/B")
    assert source.labels.tolist() == [0, 1] == [record["label"] for record in source]
    assert_shows(source[0], 1025794, rows=-20)  # the banner is gone
    assert_shows(source[1], 1340192, rows=-20)
    np.testing.assert_array_equal(source.boxes, [[2, 143, 998, 431], [5, 154, 1015, 435]])
    test = Aircraft(root.parent, "test")
    assert test.labels.tolist() == [0]
    np.testing.assert_array_equal(test.boxes, [[0, 0, 900, 500]])


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("images_box.txt", "1025794 1 2 3 4\n", r"the box of image 1340192 must be four numbers, .*, not '': unpack"),
        ("images_box.txt", "1025794 1 2 3 4\n1340192 1 2 3 x\n", r"the box of image 1340192 must be .*, not '1 2 3 x'"),
        ("images_variant_trainval.txt", "1025794\n", r"each line must hold a key and a value, not '1025794'"),
    ],
)
def test_aircraft_lists_that_do_not_fit_are_refused(tmp_path, file, content, sentence):
    (trees.write_aircraft(tmp_path) / file).write_text(content)
    with pytest.raises(ValueError, match=sentence):
        Aircraft(tmp_path, "train")


@pytest.mark.parametrize("file", ["images_variant_trainval.txt", "images_box.txt"])
def test_a_missing_aircraft_list_is_named(tmp_path, file):
    (trees.write_aircraft(tmp_path) / file).unlink()
    with pytest.raises(FileNotFoundError, match=rf"data must hold {file}, but there is none: unpack"):
        Aircraft(tmp_path, "train")


# ---- iNaturalist 2017


def test_inaturalist(tmp_path):
    trees.write_inat2017(tmp_path)
    source = INaturalist2017(tmp_path, "train")
    assert source.classes == ("Passer domesticus", "Bellis perennis", "Larus fuscus")
    assert source.super_classes == ("Aves", "Plantae")
    assert source.super_labels.tolist() == [0, 1, 0]
    assert source.super_labels.dtype == np.int32
    assert source.labels.tolist() == [2, 0] == [record["label"] for record in source]
    assert_shows(source[0], 7)
    assert_shows(source[1], 3)
    for split in ("val", "test"):
        assert_shows(INaturalist2017(tmp_path, split)[0], 5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda c: c.pop("annotations"),
            r"train2017\.json must hold a list 'annotations' of objects with category_id, ",
        ),
        (lambda c: c["images"][0].pop("file_name"), "must hold a list 'images' of objects with file_name, id: unpack"),
        (lambda c: c["categories"].append(3), "must hold a list 'categories' of objects with id, name, supercategory"),
        (lambda c: c["images"].clear(), "the lists must name a picture of this split, not none"),
    ],
)
def test_inaturalist_lists_of_another_format_are_refused(tmp_path, change, sentence):
    path = trees.write_inat2017(tmp_path) / "train2017.json"
    contents = json.loads(path.read_text())
    change(contents)
    path.write_text(json.dumps(contents))
    with pytest.raises(ValueError, match=sentence):
        INaturalist2017(tmp_path, "train")


@pytest.mark.parametrize("content", ['{"images": [', "[]"])
def test_inaturalist_lists_that_are_damaged_are_refused(tmp_path, content):
    (trees.write_inat2017(tmp_path) / "train2017.json").write_text(content)
    with pytest.raises(ValueError, match=r"train2017\.json must (be a whole JSON file|hold a list 'images')"):
        INaturalist2017(tmp_path, "train")
