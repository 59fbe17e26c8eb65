import logging

import cv2
import numpy as np
import pytest
from pictures import as_seen, encode, photo, with_orientation

from vtnjax.data import Folder

JPEG, PNG = encode(photo(seed=1), "JPEG"), encode(photo(20, 30, seed=2), "PNG")


@pytest.fixture
def birds(tmp_path):
    """Two classes, whose order by name is not the order they are written in."""
    for name, data in {
        "wren/b.PNG": PNG,
        "wren/a.jpg": JPEG,
        "auk/1.jpeg": JPEG,
        "auk/notes.txt": b"seen at sea",
    }.items():
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path


def test_classes_and_files_come_by_name(birds):
    source = Folder(birds, "train")
    assert source.classes == ("auk", "wren")
    assert [record["label"] for record in source] == [0, 1, 1]
    np.testing.assert_array_equal(source[0]["image"], as_seen(JPEG))
    np.testing.assert_array_equal(source[2]["image"], as_seen(PNG))
    assert len(source) == 3
    assert source.labels.tolist() == [0, 1, 1]
    assert source.labels.dtype == np.int32
    assert source.skipped == ()
    with pytest.raises(IndexError):
        source[3]


@pytest.mark.parametrize(
    "suffix", ["jpg", "JPG", "jpeg", "jpe", "jfif", "png", "bmp", "webp", "tif", "tiff", "gif", "avif", "jp2", "ppm"]
)
def test_every_suffix_is_listed(birds, suffix):
    (birds / "train" / "auk" / f"2.{suffix}").write_bytes(PNG)
    assert len(Folder(birds, "train")) == 4


@pytest.mark.parametrize(("kind", "suffix"), [("JPEG", ".jfif"), ("GIF", ".gif"), ("AVIF", ".AVIF"), ("PNG", "")])
def test_rarer_kinds_are_read(birds, kind, suffix):
    data = encode(photo(seed=3), kind)
    (birds / "train" / "auk" / f"2{suffix}").write_bytes(data)
    source = Folder(birds, "train")
    assert len(source) == 4
    assert np.abs(source[1]["image"].astype(int) - as_seen(data)).max() <= 1
    assert source.left_out == (birds / "train" / "auk" / "notes.txt",)


def test_what_is_no_picture_by_name_is_named(birds, caplog):
    auk = birds / "train" / "auk"
    (auk / "young").mkdir()
    (auk / "young" / "1.jpg").write_bytes(JPEG)
    (auk / "README").write_text("seen at sea")
    (auk / "1.jpg.bak").write_bytes(JPEG)
    with caplog.at_level(logging.INFO):
        source = Folder(birds, "train")
    expected = [auk / name for name in ("1.jpg.bak", "README", "notes.txt", "young")]
    assert source.left_out == tuple(expected)
    assert len(source) == 3
    assert [record.getMessage() for record in caplog.records] == [
        f"Left out 4 of 7 files and folders, which are no pictures by their names: {', '.join(map(str, expected))}"
    ]


def test_hidden_files_are_left_out(birds):
    (birds / "train" / "auk" / "._1.jpg").write_bytes(b"leftover")
    (birds / "train" / ".cache").mkdir()
    assert len(Folder(birds, "train")) == 3


def test_one_channel(birds):
    image = Folder(birds, "train", channels=1)[0]["image"]
    assert image.shape == (48, 64, 1)
    assert np.abs(image - as_seen(JPEG, "L")).mean() < 0.5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "shape"), [(16, (16, 16)), ((10, 15), (10, 15)), ((90, 100), (90, 100))])
def test_size_makes_every_picture_the_same(birds, channels, size, shape):
    source = Folder(birds, "train", size=size, channels=channels)
    assert {record["image"].shape for record in source} == {(*shape, channels)}
    assert {record["image"].dtype for record in source} == {np.dtype(np.uint8)}


def test_shrinking_averages_and_growing_interpolates(birds):
    picture = as_seen(PNG).astype(np.uint8)
    means = picture.reshape(5, 4, 10, 3, 3).mean(axis=(1, 3))
    assert np.abs(Folder(birds, "train", size=(5, 10))[2]["image"] - means).max() <= 0.5
    grown = cv2.resize(picture, (45, 40), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(Folder(birds, "train", size=(40, 45))[2]["image"], grown)


def test_size_is_that_of_the_turned_picture(birds):
    data = encode(photo(), "JPEG", exif=with_orientation(6))
    (birds / "train" / "auk" / "1.jpeg").write_bytes(data)
    np.testing.assert_array_equal(Folder(birds, "train", size=(64, 48))[0]["image"], as_seen(data))


@pytest.mark.parametrize("data", [JPEG[:-200], PNG[:-20], b"<html>", b""])
def test_a_bad_file_is_named_when_read(birds, data):
    path = birds / "train" / "wren" / "a.jpg"
    path.write_bytes(data)
    source = Folder(birds, "train")
    assert len(source) == 3
    with pytest.raises(ValueError, match=rf"{path} cannot be read \(.*\); remove it or use on_error='skip'"):
        source[1]


def test_bad_files_are_skipped_by_name(birds, caplog):
    bad = (birds / "train" / "auk" / "0.jpg", birds / "train" / "wren" / "a.jpg")
    for path in bad:
        path.write_bytes(JPEG[:-200])
    with caplog.at_level(logging.WARNING):
        source = Folder(birds, "train", on_error="skip")
    assert source.skipped == bad
    assert [record["label"] for record in source] == [0, 1]
    assert [record.getMessage() for record in caplog.records] == [
        f"Skipped 2 of 4 files that do not decode: {bad[0]}, {bad[1]}"
    ]


def test_nothing_is_logged_when_all_files_are_whole(birds, caplog):
    assert len(Folder(birds, "train", on_error="skip")) == 3
    assert not caplog.records


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_class_without_pictures_is_named(birds, on_error):
    (birds / "train" / "crow").mkdir()
    (birds / "train" / "crow" / "1.txt").write_bytes(b"caw")
    with pytest.raises(ValueError, match=r"train must hold a readable picture .* has none of crow: remove the class"):
        Folder(birds, "train", on_error=on_error)


def test_a_class_that_loses_every_picture_is_named(birds):
    (birds / "train" / "auk" / "1.jpeg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a readable picture .* has none of auk: remove the class"):
        Folder(birds, "train", on_error="skip")


def test_classes_must_be_those_of_the_train_split(birds):
    (birds / "test" / "wren").mkdir(parents=True)
    (birds / "test" / "wren" / "1.jpg").write_bytes(JPEG)
    with pytest.raises(ValueError, match="must hold the same classes, but only one of them has auk"):
        Folder(birds, "test")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"data_dir must be a folder, but there is none at .*nowhere: .*/CLASS/IMAGE"
    ):
        Folder(tmp_path / "nowhere", "train")


def test_a_missing_split_is_named_with_what_is_there(birds):
    with pytest.raises(
        FileNotFoundError, match=r"split must be a folder of .*, which holds train, not 'val': the layout must be"
    ):
        Folder(birds, "val")


def test_an_empty_split_is_refused(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=r"train must hold a folder for each class, not none: the layout must be"):
        Folder(tmp_path, "train")


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"channels": 2}, r"channels must be 3 .*, not 2"),
        ({"on_error": "ignore"}, "on_error must be one of 'raise', 'skip', not 'ignore'"),
        ({"size": 0}, r"size must be .*, not 0"),
        ({"size": (3, 4, 3)}, r"size must be .*, not \(3, 4, 3\)"),
    ],
)
def test_bad_options_are_refused(birds, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Folder(birds, "train", **options)


def test_repr_is_stable(birds):
    expected = f"Folder({str(birds / 'train')!r}, records=3, channels=1, size=(8, 8))"
    assert repr(Folder(birds, "train", channels=1, size=8)) == expected
