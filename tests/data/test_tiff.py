"""TIFF files that OpenCV alone would show otherwise."""

import numpy as np
import pytest
from pictures import photo, tiff

from vtnjax.data import decode_image

RGB = photo()
RAMP = np.linspace(0, 255, RGB.shape[0] * RGB.shape[1]).astype(np.uint8).reshape(RGB.shape[:2])
DEEP = np.random.default_rng(0).integers(0, 65536, (20, 30, 4), dtype=np.uint16)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("meaning", [0, 1, 2])
def test_a_tiff_files_alpha_leaves_its_colours_alone(order, planar, meaning):
    options = {"planar": planar, "extra": [meaning], "order": order}
    np.testing.assert_array_equal(decode_image(tiff(np.dstack([RGB, RAMP]), **options)), RGB)
    grey = decode_image(tiff(np.dstack([RGB[..., 0], RAMP]), **options), channels=1)
    np.testing.assert_array_equal(grey, RGB[..., :1])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("count", "extra"), [(1, []), (2, [2]), (2, [0]), (3, []), (4, [2]), (4, [1])])
def test_16_bit_tiff_files_of_every_number_of_channels(order, count, extra):
    image = decode_image(tiff(DEEP[..., :count], extra=extra, order=order))
    colours = DEEP[..., :3] if count > 2 else np.repeat(DEEP[..., :1], 3, axis=-1)
    # Grey with alpha is scaled by libtiff, which rounds otherwise.
    assert np.abs(image - np.round(colours / 257)).max() <= (count == 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_file_whose_zero_is_white_is_not_a_negative(dtype):
    most = np.iinfo(dtype).max
    values = np.linspace(0, most, 600).astype(dtype).reshape(20, 30, 1)
    image = decode_image(tiff(values, photometric=0), channels=1)
    np.testing.assert_array_equal(image, np.round((most - values) / (most / 255)))
