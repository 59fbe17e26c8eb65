"""Lists and annotations that are empty, cut short, altered, or saved by an editor of another system."""

import gzip
import json

import numpy as np
import pytest

from vtnjax.data import load_source, write_drawn, write_house_numbers

LISTS = {
    "cub": ["images.txt", "classes.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt"],
    "aircraft": ["data/variants.txt", "data/images_variant_trainval.txt", "data/images_box.txt"],
    "cars": ["devkit/cars_meta.mat", "devkit/cars_train_annos.mat"],
    "inat2017": ["train2017.json"],
    "svhn": ["train/digitStruct.mat"],
    "idx": ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"],
}
FILES = [(dataset, file) for dataset, files in LISTS.items() for file in files]
TEXTS = [(dataset, file) for dataset, file in FILES if file.endswith(".txt")]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    for name in ("cub", "aircraft", "cars", "inat2017"):
        write_drawn(name, root / name, classes=2, train=2, test=1)
    write_house_numbers(root / "svhn", counts={"train": 6, "extra": 2, "test": 2})
    (root / "idx").mkdir()
    for name, header, values in (
        ("train-images-idx3-ubyte", [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 4], 32),
        ("train-labels-idx1-ubyte", [0, 0, 8, 1, 0, 0, 0, 2], 2),
    ):
        (root / "idx" / f"{name}.gz").write_bytes(gzip.compress(bytes(header) + bytes(values)))
    return root


def find(root, dataset, file):
    (path,) = [path for path in (root / dataset).rglob("*") if str(path).endswith("/" + file)]
    return path


def opened(root, dataset):
    return load_source(dataset, "train", data_dir=str(root / dataset))


@pytest.fixture
def changed(sets):
    """Opens a set with other bytes in one of its files."""
    before = {}

    def change(dataset, file, data):
        path = find(sets, dataset, file)
        before.setdefault(path, path.read_bytes())
        path.write_bytes(data)
        return opened(sets, dataset)

    yield change
    for path, data in before.items():
        path.write_bytes(data)


@pytest.mark.parametrize(("dataset", "file"), FILES)
def test_an_empty_file_is_named(sets, changed, dataset, file):
    with pytest.raises((ValueError, FileNotFoundError), match=file.rpartition("/")[2].partition(".")[0]):
        changed(dataset, file, b"")


def sentence(attempt):
    """What an attempt raises, if it is an error that ends a run with a sentence."""
    try:
        attempt()
    except (ValueError, FileNotFoundError) as error:
        return str(error)
    return None


@pytest.mark.parametrize(("dataset", "file"), FILES)
def test_a_file_cut_anywhere_is_named(sets, changed, dataset, file):
    data = find(sets, dataset, file).read_bytes()
    lengths = np.linspace(1, len(data) - 2, 25).astype(int).tolist()
    said = [sentence(lambda kept=kept: changed(dataset, file, data[:kept])) for kept in lengths]
    # The beginning of a number or of a class's name is a number or a name too.
    assert sum(each is not None for each in said) >= 12
    assert all(each is None or str(sets / dataset) in each for each in said)


# Not of Matlab's files: SciPy's own reader, given wrong sizes, may end the process.
@pytest.mark.parametrize(("dataset", "file"), [each for each in FILES if not each[1].endswith(".mat")])
def test_altered_bytes_end_in_a_sentence(sets, changed, dataset, file):
    data = np.frombuffer(find(sets, dataset, file).read_bytes(), np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(25):
        altered = data.copy()
        altered[rng.integers(len(data), size=8)] = rng.integers(256, size=8)
        said = sentence(lambda altered=altered: changed(dataset, file, altered.tobytes()))
        assert said is None or str(sets / dataset) in said


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("dataset", "file"), TEXTS)
def test_lists_saved_by_other_editors_are_read(sets, changed, dataset, file, encoding, end):
    expected = opened(sets, dataset)
    text = find(sets, dataset, file).read_text()
    source = changed(dataset, file, text.replace("\n", end).encode(encoding))
    assert (source.classes, source.names) == (expected.classes, expected.names)
    np.testing.assert_array_equal(source.labels, expected.labels)
    np.testing.assert_array_equal(source.boxes, expected.boxes)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_json_saved_by_other_editors_is_read(sets, changed, encoding):
    expected = opened(sets, "inat2017")
    text = find(sets, "inat2017", "train2017.json").read_text()
    source = changed("inat2017", "train2017.json", text.replace("\n", "\r\n").encode(encoding))
    assert (source.classes, source.names) == (expected.classes, expected.names)


@pytest.mark.parametrize(("dataset", "file"), TEXTS)
def test_other_encodings_are_refused_by_name(sets, changed, dataset, file):
    data = find(sets, dataset, file).read_bytes()
    with pytest.raises(ValueError, match=rf"{file.rpartition('/')[2]} must be UTF-8 text, .*: unpack"):
        changed(dataset, file, data.rstrip() + "é\n".encode("latin-1"))


def test_json_too_deep_is_refused_by_name(sets, changed):
    with pytest.raises(ValueError, match=r"train2017\.json must be a whole JSON file"):
        changed("inat2017", "train2017.json", b"[" * 200_000)
    with pytest.raises(ValueError, match=r"train2017\.json must hold a list 'images'"):
        changed("inat2017", "train2017.json", json.dumps(None).encode())
