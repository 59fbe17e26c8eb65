import numpy as np
import pytest

from vtnjax.data import Generated


def test_records():
    source = Generated("train", count=25)
    assert len(source) == 25
    assert source[0]["image"].shape == (28, 28, 1)
    assert source[0]["image"].dtype == np.uint8
    assert [record["label"] for record in source] == [i % 10 for i in range(25)]
    assert source.classes == tuple("0123456789")


def test_the_same_arguments_give_the_same_images():
    np.testing.assert_array_equal(Generated("train", count=20).images, Generated("train", count=20).images)
    assert repr(Generated("train", count=20)) == "Generated('train', count=20)"


def test_no_image_appears_twice():
    images = np.concatenate([Generated("train", count=200).images, Generated("test", count=200).images])
    assert len({image.tobytes() for image in images}) == 400


@pytest.mark.slow
def test_the_digits_can_be_told_apart():
    train, test = Generated("train", count=500), Generated("test", count=100)
    distances = np.linalg.norm(
        test.images.reshape(100, 1, -1).astype(float) - train.images.reshape(1, 500, -1), axis=-1
    )
    assert (train.labels[distances.argmin(axis=1)] == test.labels).mean() > 0.9


def test_the_digits_stay_inside_the_picture():
    images = Generated("train", count=200).images
    assert max(images[:, [0, -1]].max(), images[:, :, [0, -1]].max()) < 128


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"split must be one of 'train', 'test'.*, not 'val'"):
        Generated("val")
    with pytest.raises(ValueError, match="count must be a whole number of at least 1, not 0"):
        Generated("train", count=0)
