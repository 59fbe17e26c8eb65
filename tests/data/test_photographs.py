import fine_grained_trees as trees
import numpy as np
import pytest

from vtnjax.data import LabelledSource, load_source

WRITERS = {
    "cub": trees.write_cub,
    "cars": trees.write_cars,
    "aircraft": trees.write_aircraft,
    "inat2017": trees.write_inat2017,
}


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


@pytest.mark.parametrize(
    ("dataset", "file"),
    [
        ("cub", "classes.txt"),
        ("cub", "image_class_labels.txt"),
        ("cub", "train_test_split.txt"),
        ("cub", "bounding_boxes.txt"),
        ("aircraft", "images_variant_trainval.txt"),
        ("aircraft", "images_box.txt"),
    ],
)
def test_a_missing_list_is_named(tmp_path, dataset, file):
    root = WRITERS[dataset](tmp_path)
    (root / file).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{root.name} must hold {file}, but there is none: unpack"):
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


@pytest.mark.parametrize("dataset", ["cub", "cars", "aircraft"])
def test_records_have_the_box_of_what_is_drawn(dataset):
    source = load_source(f"drawn:{dataset}", "test")
    for index in range(len(source)):
        record = source[index]
        left, top, right, bottom = record["box"].astype(int)
        assert record["box"].dtype == np.float32
        np.testing.assert_array_equal(record["box"], source.boxes[index])
        # The polygon is of one colour, and its edges touch those of its box.
        polygon = record["image"][(top + bottom) // 2, (left + right) // 2].astype(int)
        rows, columns = np.nonzero(np.abs(record["image"].astype(int) - polygon).max(-1) < 60)
        edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        np.testing.assert_allclose(record["box"], edges, atol=2)
    assert "box" not in load_source("drawn:inat2017", "test")[0]
