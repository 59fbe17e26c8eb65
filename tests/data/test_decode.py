import io

import cv2
import numpy as np
import pytest
from pictures import as_seen, encode, photo, with_orientation
from PIL import Image

from vtnjax.data import decode_image

RGB = photo()
PILLOW = Image.fromarray(RGB)
PICTURES = {
    "jpeg": encode(RGB, "JPEG"),
    "progressive jpeg": encode(RGB, "JPEG", progressive=True),
    "grey jpeg": encode(PILLOW.convert("L"), "JPEG"),
    "cmyk jpeg": encode(PILLOW.convert("CMYK"), "JPEG", quality=95),
    "png": encode(RGB, "PNG"),
    "palette png": encode(PILLOW.quantize(16), "PNG"),
    "one bit png": encode(PILLOW.convert("1"), "PNG"),
    "grey and alpha png": encode(PILLOW.convert("LA"), "PNG"),
    "bmp": encode(RGB, "BMP"),
    "webp": encode(RGB, "WEBP"),
    "tiff": encode(RGB, "TIFF"),
    "cmyk tiff": encode(PILLOW.convert("CMYK"), "TIFF"),
}
WHOLE = [name for name in PICTURES if "tiff" not in name]


@pytest.mark.parametrize("name", PICTURES)
def test_colours_are_pillows(name):
    image = decode_image(PICTURES[name])
    assert image.dtype == np.uint8
    assert image.shape == (48, 64, 3)
    # CMYK is converted with one step of rounding less.
    assert np.abs(image - as_seen(PICTURES[name])).max() <= ("cmyk" in name)


@pytest.mark.parametrize("name", PICTURES)
def test_one_channel_is_grey(name):
    image = decode_image(PICTURES[name], channels=1)
    assert image.dtype == np.uint8
    assert image.shape == (48, 64, 1)
    difference = np.abs(image - as_seen(PICTURES[name], "L"))
    # JPEG keeps the brightness itself; Pillow takes it from colours that may have been clipped.
    assert difference.mean() < 1
    assert difference.max() <= 4


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_is_dropped(kind):
    ramp = np.linspace(0, 255, RGB.shape[0] * RGB.shape[1]).astype(np.uint8).reshape(RGB.shape[:2])
    data = encode(np.dstack([RGB, ramp]), kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(decode_image(data), RGB)


@pytest.mark.parametrize("extension", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_scaled_to_8(extension, channels):
    values = np.arange(0, 65536, 13, dtype=np.uint16)[:5040].reshape(60, 84)
    data = cv2.imencode(extension, values)[1].tobytes()
    image = decode_image(data, channels=channels)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.repeat(np.round(values / 257)[..., None], channels, axis=-1))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (1, "L")])
def test_exif_orientation_is_applied(orientation, kind, channels, mode):
    data = encode(PILLOW.convert(mode), kind, exif=with_orientation(orientation))
    np.testing.assert_array_equal(decode_image(data, channels=channels), as_seen(data, mode))


@pytest.mark.parametrize("name", WHOLE)
def test_trailing_bytes_are_harmless(name):
    np.testing.assert_array_equal(decode_image(PICTURES[name] + b"\0trailer\xff\xda"), decode_image(PICTURES[name]))


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.98])
def test_cut_files_are_refused(name, kept):
    data = PICTURES[name]
    with pytest.raises(ValueError, match=r"cut short|not a whole image"):
        decode_image(data[: int(len(data) * kept)])


def test_a_cut_jpeg_with_a_whole_thumbnail_is_refused():
    thumbnail = encode(photo(12, 16), "JPEG")
    # An APP1 segment behind the start marker, as cameras write it.
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    data = PICTURES["jpeg"][:2] + segment + PICTURES["jpeg"][2:]
    np.testing.assert_array_equal(decode_image(data), RGB_OF_JPEG)
    with pytest.raises(ValueError, match="cut short: no end-of-image marker"):
        decode_image(data[:-2])


def test_fill_bytes_before_a_jpeg_marker_are_skipped():
    data = PICTURES["jpeg"][:2] + b"\xff\xff" + PICTURES["jpeg"][2:]
    np.testing.assert_array_equal(decode_image(data), RGB_OF_JPEG)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe1\x00", b"<html>not found</html>"])
def test_what_is_no_image_is_refused(data):
    with pytest.raises(ValueError, match=rf"{len(data)} bytes"):
        decode_image(data)


def test_float_pixels_are_refused():
    data = cv2.imencode(".tiff", np.ones((4, 5, 3), np.float32))[1].tobytes()
    with pytest.raises(ValueError, match="float32 pixels, but they must be integers of 8 or 16 bits"):
        decode_image(data)


def test_two_channels_are_refused():
    with pytest.raises(ValueError, match=r"channels is 2, but it must be 3 \(RGB\) or 1 \(grey\)"):
        decode_image(PICTURES["png"], channels=2)


RGB_OF_JPEG = np.asarray(Image.open(io.BytesIO(PICTURES["jpeg"])))
