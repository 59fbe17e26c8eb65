import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from pictures import as_seen, encode, photo, with_orientation

from vtnjax.data import Catalogue, LabelledSource, load_source

PICTURES = [encode(photo(10 + i, 20, seed=i), "JPEG", exif=with_orientation(6)) for i in range(6)]
GREY = encode(photo()[..., 0], "PNG")


class _Small(tfds.core.GeneratorBasedBuilder):
    """A few pictures handed over as bytes, which needs no TensorFlow."""

    VERSION = tfds.core.Version("1.0.0")
    FEATURES = ()

    def _info(self):
        features = tfds.features.FeaturesDict({name: make() for name, make in self.FEATURES})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, 4), "test": self._generate_examples(4, 6)}

    def _generate_examples(self, start, stop):
        for index in range(start, stop):
            yield index, self.example(index)


class SmallBirds(_Small):
    FEATURES = (
        ("image", lambda: tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg")),
        ("label", lambda: tfds.features.ClassLabel(names=["auk", "crow", "wren"])),
        ("mask", lambda: tfds.features.Image(shape=(None, None, 1), encoding_format="png")),
    )

    def example(self, index):
        # The last of the test split has no label, which the catalogue writes as -1.
        return {"image": PICTURES[index], "label": index % 3 if index < 5 else -1, "mask": b"never looked at"}


class SmallGrey(_Small):
    FEATURES = (
        ("image", lambda: tfds.features.Image(shape=(None, None, 1), encoding_format="png")),
        ("label", lambda: tfds.features.ClassLabel(num_classes=2)),
    )

    def example(self, index):
        return {"image": GREY, "label": index % 2}


class SmallText(_Small):
    FEATURES = (("text", tfds.features.Text), ("label", lambda: tfds.features.ClassLabel(num_classes=2)))

    def example(self, index):
        return {"text": "a wren", "label": 0}


def prepare(builder_class, data_dir):
    builder = builder_class(data_dir=data_dir, file_format="array_record")
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("catalogue"))
    for builder_class in (SmallBirds, SmallGrey, SmallText):
        prepare(builder_class, directory)
    return directory


def test_records_are_as_a_person_sees_them(data_dir):
    source = Catalogue("small_birds", data_dir, "train")
    assert len(source) == 4
    assert source.classes == ("auk", "crow", "wren")
    # tensorflow_datasets stores the records in an order of its own.
    expected = {as_seen(data).astype(np.uint8).tobytes(): index % 3 for index, data in enumerate(PICTURES[:4])}
    assert {record["image"].tobytes(): record["label"] for record in source} == expected
    assert set(source[0]) == {"image", "label"}
    assert source[0]["image"].dtype == np.uint8
    assert source[0]["image"].ndim == 3
    assert type(source[0]["label"]) is int


def test_a_slice_of_a_split(data_dir):
    assert len(Catalogue("small_birds", data_dir, "train[:50%]")) == 2


def test_one_channel_stays_one(data_dir):
    source = Catalogue("small_grey", data_dir, "test")
    assert source.classes == ("0", "1")
    np.testing.assert_array_equal(source[0]["image"], photo()[..., :1])


def test_an_index_out_of_range_is_refused(data_dir):
    source = Catalogue("small_birds", data_dir, "train")
    np.testing.assert_array_equal(source[-1]["image"], source[3]["image"])
    for index in (4, -5):
        with pytest.raises(
            IndexError, match=rf"index must be from -\d to \d in Catalogue\('small_birds', 'train'\), not {index}"
        ):
            source[index]


def test_a_label_out_of_range_is_named(data_dir):
    source = Catalogue("small_birds", data_dir, "test")
    with pytest.raises(ValueError, match=r"label of record \d must be from 0 to 2, .*, not -1"):
        list(source)


def test_a_record_that_does_not_decode_is_named(data_dir, monkeypatch):
    source = Catalogue("small_birds", data_dir, "train")
    monkeypatch.setattr(source, "_records", [{"image": PICTURES[0][:-9], "label": 0}])
    with pytest.raises(ValueError, match=r"record 0 of Catalogue\('small_birds', 'train'\) cannot be decoded \(.* cut"):
        source[0]


def test_an_unprepared_set_comes_with_its_command(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        Catalogue("mnist", str(tmp_path), "train")
    assert str(caught.value) == (
        f"'mnist' must be prepared in {tmp_path}/mnist/3.0.1, but is not: run pip install "
        f'"vtnjax[prepare]" && python -c "import tensorflow_datasets as tfds; '
        f"tfds.builder('mnist', data_dir='{tmp_path}', "
        f"file_format='array_record').download_and_prepare()\""
    )


def test_without_data_dir_the_default_one_is_meant(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds.core.constants, "DATA_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"tfds\.builder\('mnist', file_format='array_record'\)"):
        Catalogue("mnist", None, "train")


def test_another_format_is_refused(tmp_path):
    prepare(SmallGrey, str(tmp_path))
    path = tmp_path / "small_grey" / "1.0.0" / "dataset_info.json"
    info = json.loads(path.read_text())
    info["fileFormat"] = "tfrecord"
    path.write_text(json.dumps(info))
    with pytest.raises(
        ValueError, match=r"1\.0\.0 must be in the array_record format, .*, not tfrecord: .* tfds\.builder"
    ):
        Catalogue("small_grey", str(tmp_path), "train")


def test_a_set_without_images_is_refused(data_dir):
    with pytest.raises(ValueError, match=r"'small_text' must have .*, not .*text \(Text\)"):
        Catalogue("small_text", data_dir, "train")


def test_an_unknown_set_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"name must be a set .*, not 'caltech_bird2011'; did you mean 'caltech_birds2011'\?"
    ):
        Catalogue("caltech_bird2011", str(tmp_path), "train")


def test_an_unknown_split_is_refused(data_dir):
    with pytest.raises(ValueError, match=r"Unknown split 'val'"):
        Catalogue("small_birds", data_dir, "val")


def test_repr_is_stable(data_dir):
    assert repr(Catalogue("small_birds", data_dir, "train")) == "Catalogue('small_birds', 'train')"


def test_labels_are_told_without_decoding(data_dir, monkeypatch):
    expected = [record["label"] for record in Catalogue("small_birds", data_dir, "train")]
    monkeypatch.setattr("vtnjax.data.catalogue.decode_image", None)
    source = Catalogue("small_birds", data_dir, "train")
    assert isinstance(source, LabelledSource)
    assert source.labels.tolist() == expected
    assert source.labels.dtype == np.int32
    assert source.boxes is None


FINE_GRAINED = {  # What the catalogue's own builders of these names yield beside image and label.
    "caltech_birds2011": {"image/filename": "a", "label_name": "b", "segmentation_mask": GREY},
    "cars196": {"id": "a"},
    "i_naturalist2017": {"id": "a", "supercategory": 3},
}


@pytest.mark.parametrize("name", FINE_GRAINED)
def test_the_fine_grained_sets_of_the_catalogue(name, tmp_path, monkeypatch):
    """The catalogue's builders with pictures handed over, because its archives are large and need TensorFlow."""
    builder_class = type(tfds.builder(name, data_dir=str(tmp_path), try_gcs=False))
    with_boxes = {} if name == "i_naturalist2017" else {"bbox": tfds.features.BBox(0.125, 0.25, 0.5, 0.75)}

    def examples(self, start, stop):
        for index in range(start, stop):
            yield str(index), {"image": PICTURES[index], "label": index, **FINE_GRAINED[name], **with_boxes}

    def splits(self, manager):
        return {"train": self._generate_examples(0, 6)}

    monkeypatch.setattr(builder_class, "_generate_examples", examples)
    monkeypatch.setattr(builder_class, "_split_generators", splits)
    prepare(builder_class, str(tmp_path))
    source = load_source(f"tfds:{name}", "train", data_dir=str(tmp_path))
    assert len(source.classes) == {"caltech_birds2011": 200, "cars196": 196, "i_naturalist2017": 5089}[name]
    expected = {as_seen(data).astype(np.uint8).tobytes(): index for index, data in enumerate(PICTURES)}
    assert {record["image"].tobytes(): record["label"] for record in source} == expected
    assert source.labels.tolist() == [record["label"] for record in source]
    if not with_boxes:
        assert source.boxes is None
        return
    # Picture i is 20 high and 10 + i wide, as a person sees it.
    edges = [[(10 + label) * 0.25, 2.5, (10 + label) * 0.75, 10] for label in source.labels]
    np.testing.assert_allclose(source.boxes, edges)
    assert source.boxes.dtype == np.float32


@pytest.mark.slow
def test_tensorflow_is_never_imported(data_dir, tmp_path):
    """In a process of its own, which does not know the builder's class, as a user's."""
    (tmp_path / "tensorflow").mkdir()
    (tmp_path / "tensorflow" / "__init__.py").write_text("raise AssertionError('TensorFlow was imported')")
    program = (
        "import sys, vtnjax.data\n"
        "assert 'tensorflow_datasets' not in sys.modules\n"
        f"source = vtnjax.data.load_source('tfds:small_birds', 'train', data_dir={data_dir!r})\n"
        "batch = next(vtnjax.data.train_batches(vtnjax.data.Digits('test'), batch_size=8, seed=0))\n"
        "assert 'tensorflow' not in sys.modules\n"
        "print(len(source), source[0]['image'].shape[1:], source.classes)\n"
    )
    path = os.pathsep.join([str(tmp_path), *sys.path])
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[0].startswith("4 (")
    assert "('auk', 'crow', 'wren')" in result.stdout
