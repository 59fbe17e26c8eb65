"""SVHN's full numbers: digits, crops, splits, and folders that are not as they should be."""

import cv2
import h5py
import numpy as np
import pytest

from vtnjax.data import HouseNumbers, load_source, train_batches, write_house_numbers
from vtnjax.data.drawn_numbers import store


def write(folder, pictures, images=None):
    """A part of the set; `pictures` are lists of (label, left, top, width, height), pixels counted from 1."""
    folder.mkdir(parents=True)
    fields = ("label", "left", "top", "width", "height")
    for number in range(1, len(pictures) + 1):
        image = np.zeros((40, 60, 3), np.uint8) if images is None else images[number - 1]
        (folder / f"{number}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
    with h5py.File(folder / "digitStruct.mat", "w") as file:
        store(h5py, file, [[dict(zip(fields, box, strict=True)) for box in boxes] for boxes in pictures])


def digit(label):
    return (label, 10, 10, 5, 8)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("svhn")
    write_house_numbers(folder, counts={"train": 24, "extra": 6, "test": 5})
    return folder


def test_labels_are_five_digits_from_the_left(tmp_path):
    write(tmp_path / "test", [[digit(1), digit(10), digit(9)], [digit(10)], [digit(5)] * 5])
    source = HouseNumbers(tmp_path, "test")
    assert source.labels.tolist() == [[1, 0, 9, 10, 10], [0, 10, 10, 10, 10], [5] * 5]
    assert source.labels.dtype == np.int32
    assert source.classes[0] == "0"
    assert source.classes[10] == "none"
    assert source[0]["label"].tolist() == [1, 0, 9, 10, 10]


def test_longer_numbers_are_left_out_and_counted(tmp_path):
    write(tmp_path / "test", [[digit(1)] * 6, [digit(2)]])
    source = HouseNumbers(tmp_path, "test")
    assert (len(source), source.skipped) == (1, 1)
    assert source.labels[0, 0] == 2


@pytest.mark.parametrize(("size", "margin"), [(64, 1.3), (128, 2.6)])
def test_the_crop_is_the_enlarged_box_of_all_digits(tmp_path, size, margin):
    image = np.zeros((100, 120, 3), np.uint8)
    image[30:50, 40:80] = 200  # the box of both digits: columns 40 to 79, rows 30 to 49
    write(tmp_path / "test", [[(1, 41, 31, 15, 20), (2, 61, 35, 20, 16)]], [image])
    crop = HouseNumbers(tmp_path, "test", size=size)[0]["image"]
    assert crop.shape == (size, size, 3)
    assert crop.dtype == np.uint8
    inside = crop[..., 0] > 100
    for axis in (0, 1):
        covered = np.flatnonzero(inside.any(axis))
        assert len(covered) == pytest.approx(size / margin, abs=1.5)
        assert covered.mean() == pytest.approx((size - 1) / 2, abs=1)


def test_pixels_of_the_crop_are_pixels_of_the_photograph(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    width = 80 / 1.3
    write(tmp_path / "test", [[(1, 1 + 100 - width / 2, 1 + 100 - width / 2, width, width)]], [image])
    crop = HouseNumbers(tmp_path, "test")[0]["image"]
    # 80 pixels of the photograph, from 60 on, become 64: 1.25 each, after a blur of half of that.
    blurred = cv2.GaussianBlur(image[..., ::-1], (0, 0), 0.5, 0.5)
    at = np.array([60 + 1.25 * (i + 0.5) - 0.5 for i in (3, 31, 60)])
    low, t = np.floor(at).astype(int), at % 1
    for (row, y, ty), (column, x, tx) in zip(
        zip((3, 31, 60), low, t, strict=True), zip((60, 31, 3), low[::-1], t[::-1], strict=True), strict=True
    ):
        corners = blurred[y : y + 2, x : x + 2].astype(float)
        wanted = (corners * np.outer([1 - ty, ty], [1 - tx, tx])[..., None]).sum((0, 1))
        assert np.abs(crop[row, column] - wanted).max() < 5


@pytest.mark.slow
def test_splits_share_nothing_and_extra_may_be_left_out(drawn):
    train, held_out = HouseNumbers(drawn, "train", extra=False), HouseNumbers(drawn, "validation")
    assert (len(train), len(held_out)) == (20, 4)
    everything = {number.path for number in train._numbers} | {number.path for number in held_out._numbers}
    assert len(everything) == 24
    assert len(HouseNumbers(drawn, "train")) == 26
    assert [n.path for n in HouseNumbers(drawn, "validation")._numbers] == [n.path for n in held_out._numbers]


def test_batches_have_five_labels(drawn):
    source = load_source("svhn", "train", data_dir=str(drawn), size=128)
    batch = next(train_batches(source, batch_size=4, seed=0))
    assert batch["image"].shape == (4, 128, 128, 3)
    assert batch["label"].shape == (4, 5)
    assert batch["label"].dtype == np.int32


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda folder: (folder / "digitStruct.mat").unlink(), FileNotFoundError, "must hold test/digitStruct.mat"),
        (lambda folder: (folder / "2.png").unlink(), FileNotFoundError, "all 2 pictures, but 1 are missing"),
        (lambda folder: (folder / "digitStruct.mat").write_bytes(b"MATLAB 5.0"), ValueError, "digitStruct.mat cannot"),
    ],
)
def test_a_folder_that_is_not_whole_is_named(tmp_path, spoil, error, words):
    write(tmp_path / "test", [[digit(1)], [digit(2)]])
    spoil(tmp_path / "test")
    with pytest.raises(error, match=words):
        HouseNumbers(tmp_path, "test")


def test_a_broken_picture_is_named(tmp_path):
    write(tmp_path / "test", [[digit(1)]])
    (tmp_path / "test" / "1.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"1\.png cannot be read"):
        HouseNumbers(tmp_path, "test")[0]


def test_size_and_split_are_checked(drawn):
    with pytest.raises(ValueError, match="size must be 64 or 128, not 32"):
        HouseNumbers(drawn, "test", size=32)
    with pytest.raises(ValueError, match=r"split must be one of .*, not 'dev'"):
        HouseNumbers(drawn, "dev")


def test_without_h5py_the_extra_is_named(drawn, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(ImportError, match=r"vtnjax\[svhn\]"):
        HouseNumbers(drawn, "test")
    with pytest.raises(ImportError, match=r"vtnjax\[svhn\]"):
        write_house_numbers(drawn / "more")


@pytest.mark.parametrize(
    ("pictures", "sentence"),
    [
        ([[digit(1)], [digit(11)]], r"digitStruct\.mat: the digits of 2\.png must be from 0 to 10, not 11\.0"),
        ([[digit(1)], [digit(1.5)]], r"the digits of 2\.png must be from 0 to 10, not 1\.5"),
        ([[digit(1)], [digit(float("nan"))]], r"the digits of 2\.png must be from 0 to 10, not nan"),
        (
            [[digit(1)], [(1, 10, 10, 0, 8)]],
            r"digitStruct\.mat: the box of '2\.png' .* not \[9\.0, 9\.0, 9\.0, 17\.0\]",
        ),
        ([[digit(1)], [(1, 10, float("inf"), 5, 8)]], r"digitStruct\.mat: the box of '2\.png' .* not \[9\.0, inf"),
        ([[digit(1)], [digit(1), (1, float("nan"), 10, 5, 8)]], r"digitStruct\.mat: the box of '2\.png' .* not \[nan"),
    ],
)
def test_numbers_that_make_no_sense_are_named(tmp_path, pictures, sentence):
    write(tmp_path / "test", pictures)
    with pytest.raises(ValueError, match=sentence):
        HouseNumbers(tmp_path, "test")


def test_a_picture_listed_twice_is_named(tmp_path):
    write(tmp_path / "test", [[digit(1)], [digit(2)]])
    with h5py.File(tmp_path / "test" / "digitStruct.mat", "r+") as file:
        names = file["digitStruct/name"]
        names[1] = names[0]
    with pytest.raises(ValueError, match=r"digitStruct\.mat: each picture must come once, but '1\.png' comes twice"):
        HouseNumbers(tmp_path, "test")


def test_lists_of_unequal_lengths_are_refused(tmp_path):
    write(tmp_path / "test", [[digit(1)], [digit(2)]])
    with h5py.File(tmp_path / "test" / "digitStruct.mat", "r+") as file:
        kept = file["digitStruct/bbox"][:1]
        del file["digitStruct/bbox"]
        file["digitStruct"].create_dataset("bbox", data=kept, dtype=h5py.ref_dtype)
    with pytest.raises(ValueError, match=r"digitStruct\.mat must have the boxes of its 2 pictures, not of 1"):
        HouseNumbers(tmp_path, "test")


def test_digits_without_all_their_fields_are_refused(tmp_path):
    write(tmp_path / "test", [[digit(1)], [digit(2), digit(3)]])
    with h5py.File(tmp_path / "test" / "digitStruct.mat", "r+") as file:
        group = file[file["digitStruct/bbox"][1, 0]]
        kept = group["width"][:1]
        del group["width"]
        group.create_dataset("width", data=kept, dtype=h5py.ref_dtype)
    with pytest.raises(ValueError, match=r"the fields of 2\.png must have as many digits each, not 1 to 2"):
        HouseNumbers(tmp_path, "test")


def test_a_picture_without_digits_is_named(tmp_path):
    write(tmp_path / "test", [[digit(1)], [digit(2)]])
    with h5py.File(tmp_path / "test" / "digitStruct.mat", "r+") as file:
        group = file[file["digitStruct/bbox"][1, 0]]
        for field in list(group):
            del group[field]
            group.create_dataset(field, data=np.zeros((0, 0)))
    with pytest.raises(ValueError, match=r"digitStruct\.mat: 2\.png must have at least one digit, not none"):
        HouseNumbers(tmp_path, "test")
