import gzip
import struct

import numpy as np
import pytest

from vtnjax.data import Idx

IMAGES = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)
LABELS = np.array([3, 1, 4, 1, 9], np.uint8)


def idx_bytes(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(directory, images=IMAGES, labels=LABELS, *, split="train", separator="-", gzipped=True):
    for name, array in (("images", images), ("labels", labels)):
        path = directory / f"{split}-{name}{separator}idx{array.ndim}-ubyte"
        if gzipped:
            path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(idx_bytes(array)))
        else:
            path.write_bytes(idx_bytes(array))
    return directory


@pytest.mark.parametrize("separator", ["-", "."])
@pytest.mark.parametrize("gzipped", [True, False])
def test_every_spelling_is_read(tmp_path, separator, gzipped):
    source = Idx(write(tmp_path, separator=separator, gzipped=gzipped), "train")
    assert len(source) == 5
    np.testing.assert_array_equal(source[2]["image"], IMAGES[2][..., None])
    assert [record["label"] for record in source] == LABELS.tolist()
    assert source.classes == tuple("0123456789")


def test_the_test_split_is_called_t10k(tmp_path):
    write(tmp_path)
    write(tmp_path, IMAGES[:2], LABELS[:2], split="t10k")
    assert len(Idx(tmp_path, "test")) == 2
    assert repr(Idx(str(tmp_path), "test")) == f"Idx({str(tmp_path)!r}, 'test')"


def test_a_missing_file_is_named_with_where_to_get_it(tmp_path):
    write(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"must hold train-labels-idx1-ubyte or .*\.gz, .* published at https://"
    ):
        Idx(tmp_path, "train")


def test_another_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"split must be one of 'train', 'test'.*, not 'val'"):
        Idx(tmp_path, "val")


def test_labels_in_place_of_images_are_refused(tmp_path):
    write(tmp_path, gzipped=False)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(LABELS))
    with pytest.raises(
        ValueError, match=r"train-images-idx3-ubyte must start with the bytes 00 00 08 03 .*, not 00 00 08 01"
    ):
        Idx(tmp_path, "train")


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"\0", lambda data: data[:10]])
def test_a_size_other_than_the_headers_is_refused(tmp_path, change):
    write(tmp_path, gzipped=False)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(
        ValueError, match=rf"{path.name} must hold \d+ bytes, as its header .*, not \d+: download it again"
    ):
        Idx(tmp_path, "train")


@pytest.mark.parametrize(
    "change", [lambda data: data[:-9], lambda data: b"<" + data, lambda data: data[:10] + b"\xff" * 9 + data[19:]]
)
def test_a_damaged_gzip_file_is_refused(tmp_path, change):
    path = write(tmp_path) / "train-images-idx3-ubyte.gz"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=r"train-images-idx3-ubyte\.gz must be a whole gzip file"):
        Idx(tmp_path, "train")


def test_as_many_labels_as_images_are_needed(tmp_path):
    write(tmp_path, labels=LABELS[:4])
    with pytest.raises(ValueError, match=r"must hold as many images as labels, not 5 and 4"):
        Idx(tmp_path, "train")


def test_a_label_out_of_range_is_named(tmp_path):
    write(tmp_path, labels=np.array([0, 1, 10, 3, 4], np.uint8))
    with pytest.raises(ValueError, match=r"label of record 2 must be from 0 to 9, .*, not 10"):
        Idx(tmp_path, "train")
