import numpy as np
import pytest

from vtnjax.data import Arrays, LabelledSource, Mapped, check_labels

CLASSES = ("cat", "dog")


def arrays(labels=(0, 1, 1)):
    images = np.arange(len(labels) * 12, dtype=np.uint8).reshape(len(labels), 2, 3, 2)
    return Arrays(images, np.array(labels), CLASSES)


def test_a_record_is_an_image_and_an_int():
    record = arrays()[1]
    np.testing.assert_array_equal(record["image"], np.arange(12, 24).reshape(2, 3, 2))
    assert record["image"].dtype == np.uint8
    assert record["label"] == 1
    assert type(record["label"]) is int
    assert arrays().classes == CLASSES


def test_iteration_ends_at_the_last_record():
    assert [record["label"] for record in arrays()] == [0, 1, 1]
    with pytest.raises(IndexError):
        arrays()[3]


def test_records_cannot_be_written_into():
    with pytest.raises(ValueError, match="read-only"):
        arrays()[0]["image"][0] = 1


def test_the_callers_array_stays_writeable():
    images = np.zeros((1, 2, 2, 1), np.uint8)
    Arrays(images, np.zeros(1, int), CLASSES)
    images[0] = 1
    assert (images[0] == 1).all()


def test_labels_are_told_without_the_images():
    assert isinstance(arrays(), LabelledSource)
    assert arrays().labels.tolist() == [0, 1, 1]
    assert arrays().labels.dtype == np.int32


def test_a_mapped_source_changes_its_records():
    source = Mapped(arrays(), lambda record: {**record, "image": record["image"][:1] + 1})
    assert len(source) == 3
    assert source.classes == CLASSES
    assert [record["label"] for record in source] == [0, 1, 1]
    np.testing.assert_array_equal(source[1]["image"], np.arange(13, 19).reshape(1, 3, 2))
    # Boxes, for one, would no longer fit.
    assert not isinstance(source, LabelledSource)
    assert repr(source) == "Mapped(Arrays(images=(3, 2, 3, 2), classes=2))"


def test_repr_is_stable():
    assert repr(arrays()) == repr(arrays()) == "Arrays(images=(3, 2, 3, 2), classes=2)"


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_out_of_range_is_named(label):
    with pytest.raises(ValueError, match=rf"label of record 1 must be from 0 to 1, .* 2 classes, not {label}"):
        arrays((0, label, 5))


def test_check_labels_counts_from_first():
    check_labels(np.array([0, 1]), CLASSES)
    with pytest.raises(ValueError, match=r"label of record 8 must be .*, not 2"):
        check_labels(np.array([0, 2]), CLASSES, first=7)


@pytest.mark.parametrize(
    ("images", "labels", "sentence"),
    [
        (np.zeros((3, 2, 2), np.uint8), np.zeros(3, int), r"images must be .*, not uint8 of shape \(3, 2, 2\)"),
        (np.zeros((3, 2, 2, 1), np.float64), np.zeros(3, int), r"images must be .*, not float64"),
        (
            np.zeros((3, 2, 2, 1), np.uint8),
            np.zeros(2, int),
            r"labels must have the shape \(3,\) of 3 images, not \(2,\)",
        ),
    ],
)
def test_other_arrays_are_refused(images, labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        Arrays(images, labels, CLASSES)
