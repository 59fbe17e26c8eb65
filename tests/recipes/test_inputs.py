import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from vtnjax import data, distort
from vtnjax.recipes import Images, Photographs, Volumes, to_float
from vtnjax.recipes.inputs import make_as_input, make_prepare


@functools.cache
def source():
    return data.Generated("train", count=20)


@pytest.mark.slow
def test_the_test_set_is_distorted_once_and_always_the_same():
    once, again = (Images("RTS").to_test(source()) for _ in range(2))
    assert once[3]["image"].shape == (42, 42, 1)
    assert once[3]["image"].dtype == "float32"
    assert (once[3]["image"] == again[3]["image"]).all()
    assert [once[i]["label"] for i in range(20)] == [source()[i]["label"] for i in range(20)]
    assert Images().to_test(source()) is source()


def test_volumes_are_made_when_they_are_asked_for_and_always_the_same():
    test = Volumes().to_test(source())
    assert isinstance(test, data.Source)
    assert (len(test), test.classes) == (20, source().classes)
    record, again = test[3], test[3]
    assert record["image"].shape == (60, 60, 60, 1)
    assert record["image"].dtype == "float32"
    assert (record["image"] == again["image"]).all()
    assert record["label"] == source()[3]["label"]
    assert np.abs(record["image"] - test[13]["image"]).max() > 0.5  # the same digit elsewhere


def test_bytes_become_floats_from_zero_to_one_and_floats_stay():
    assert to_float(jnp.array([0, 255], jnp.uint8).reshape(1, 2, 1, 1)).ravel().tolist() == [0, 1]
    images = jnp.full((1, 2, 2, 1), 0.25)
    assert to_float(images) is images


@pytest.mark.slow
def test_images_are_distorted_before_they_are_rounded():
    images = jnp.stack([source()[i]["image"] for i in range(8)])
    key = jax.random.key(0)
    prepared = jax.jit(make_prepare(Images("RTS"), "bfloat16"))(key, images)
    assert prepared.dtype == jnp.bfloat16
    exact = jax.jit(lambda k, x: distort.distort_batch("RTS", k, to_float(x)))(key, images)
    # Half of the last of bfloat16's 8 bits below 1; two programs may round another way what lies between two numbers.
    assert_allclose(prepared.astype(jnp.float32), exact, rtol=0, atol=2**-9 + 1e-5)


def test_photographs_are_normalised_as_imagenets_and_shown_as_they_were():
    photographs = Photographs(size=8, crop=4)
    found = make_as_input(photographs, "float32")(jnp.full((1, 2, 2, 3), 255, jnp.uint8))
    assert_allclose(found[0, 0, 0], [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225], rtol=1e-5)
    assert_allclose(photographs.as_picture(np.asarray(found)), 1, rtol=1e-5)


def test_tests_see_whole_photographs_where_they_should():
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :30] = 255
    image[:2] = 255
    source = data.Mapped(data.Arrays(image[None], np.zeros(1, int), ("a",)), lambda record: record)
    whole = Photographs(size=30, crop=20, keep_aspect=True, whole=True)
    seen = whole.to_test(source)[0]["image"]
    np.testing.assert_array_equal(seen, whole.fit(image, image.shape))
    expected = np.zeros((20, 20, 3), np.uint8)
    expected[:, :10] = expected[:1] = 255
    np.testing.assert_array_equal(seen, expected)
    assert Photographs(size=30, crop=20).to_test(source)[0]["image"][0].min() == 0  # its first row is cut off
    assert whole.explain(image.shape) == "Resize the photograph to 20 x 20 pixels."


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: Images("RST"), "distortion must be one of .*, not 'RST'; did you mean 'RTS'"),
        (lambda: Photographs(size=72, crop=80), "crop must be from 1 to size, 72, not 80"),
        (lambda: Photographs(rotation=-1.0), "rotation must be at least 0 and finite, not -1.0"),
    ],
)
def test_inputs_that_cannot_be_are_refused(made, said):
    with pytest.raises(ValueError, match=said):
        made()
