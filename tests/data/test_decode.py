import io

import cv2
import numpy as np
import pytest
from pictures import as_seen, encode, photo, tiff, with_orientation
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
    "packed tiff": encode(RGB, "TIFF", compression="tiff_lzw"),
    "palette tiff": encode(PILLOW.quantize(16), "TIFF"),
    "planar tiff": tiff(RGB, planar=True),
    "gif": encode(PILLOW.quantize(16), "GIF"),
    "avif": encode(RGB, "AVIF"),
    "avif sequence": encode(PILLOW, "AVIF", save_all=True, append_images=[Image.fromarray(photo(seed=1))]),
    "jpeg 2000": encode(RGB, "JPEG2000"),
    "jpeg 2000 codestream": encode(RGB, "JPEG2000", no_jp2=True),
    "ppm": encode(RGB, "PPM"),
    "pgm": encode(PILLOW.convert("L"), "PPM"),
    "pbm": encode(PILLOW.convert("1"), "PPM"),
}
WHOLE = [name for name in PICTURES if "tiff" not in name]
DEEP = np.random.default_rng(0).integers(0, 65536, (20, 30, 4), dtype=np.uint16)


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


RAMP = np.linspace(0, 255, RGB.shape[0] * RGB.shape[1]).astype(np.uint8).reshape(RGB.shape[:2])


@pytest.mark.parametrize("letters", [b"P1 3 2 1 0 0 0 1 1", b"P2 3 2 255 0 255 255 255 0 0"])
def test_pnm_files_in_letters_are_read(letters):
    np.testing.assert_array_equal(decode_image(letters + b"\n", channels=1)[..., 0], [[0, 255, 255], [255, 0, 0]])


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("TIFF", {}), ("TIFF", {"big_tiff": True})],
)
def test_alpha_is_dropped(kind, options):
    data = encode(np.dstack([RGB, RAMP]), kind, **options)
    np.testing.assert_array_equal(decode_image(data), RGB)


def test_alpha_of_avif_is_dropped():
    image = decode_image(encode(np.dstack([RGB, RAMP]), "AVIF", quality=100, subsampling="4:4:4"))
    assert np.abs(image.astype(int) - RGB).max() < 16


@pytest.mark.parametrize("extension", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_scaled_to_8(extension, channels):
    values = np.arange(0, 65536, 13, dtype=np.uint16)[:5040].reshape(60, 84)
    data = cv2.imencode(extension, values)[1].tobytes()
    image = decode_image(data, channels=channels)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.repeat(np.round(values / 257)[..., None], channels, axis=-1))


@pytest.mark.parametrize("extension", [".png", ".tiff", ".ppm"])
def test_16_bit_colours_are_scaled_to_8(extension):
    data = cv2.imencode(extension, DEEP[..., 2::-1])[1].tobytes()
    np.testing.assert_array_equal(decode_image(data), np.round(DEEP[..., :3] / 257))
    grey = decode_image(data, channels=1)
    assert np.abs(grey[..., 0] - DEEP[..., :3] / 257 @ [0.299, 0.587, 0.114]).max() < 1


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            tiff(DEEP[..., :3], planar=True),
            "the 3 channels of a TIFF image of 16 bits must be stored pixel by pixel, not",
        ),
        (tiff(DEEP[..., :2], planar=True, extra=[2]), "the 2 channels of a TIFF image of 16 bits must be stored"),
        (tiff(RGB, photometric=8), "must be grey, RGB or CMYK, not CIELab"),
        (tiff(RGB.astype(np.uint32)), "must be integers of 8 or 16 bits, not uint32"),
        (tiff(RGB.astype(np.int16), kind=2), "must be integers of 8 or 16 bits, not int16"),
        (tiff(RGB.astype(np.float64), kind=3), "must be integers of 8 or 16 bits, not float64"),
        (encode(PILLOW.convert("YCbCr"), "JPEG2000"), "colours of a JPEG 2000 image must be grey or RGB, not YCC"),
        (b"P5\n# made by hand\n3 2\n100\n" + bytes(6), "largest value of a PNM image must be 255 or 65535, not 100"),
        (cv2.imencode(".ras", RGB)[1].tobytes(), r"data must be a whole JPEG, PNG, .* or PNM file, not"),
        (cv2.imencode(".hdr", RGB.astype(np.float32))[1].tobytes(), "data must be a whole JPEG, PNG, "),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_would_be_read_wrong_is_refused(data, sentence, channels):
    with pytest.raises(ValueError, match=sentence):
        decode_image(data, channels=channels)


def _turned(orientation, image):
    """The picture that a camera stored as `image`, by the eight rows of the EXIF standard's table."""
    if orientation > 4:
        image = image.swapaxes(0, 1)
    flips = {1: (), 2: (1,), 3: (0, 1), 4: (0,), 5: (), 6: (1,), 7: (0, 1), 8: (0,)}
    return np.flip(image, flips[orientation])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_avif_is_applied(orientation):
    data = encode(RGB, "AVIF", quality=100, subsampling="4:4:4", exif=with_orientation(orientation))
    image, expected = decode_image(data), _turned(orientation, RGB)
    assert image.shape == expected.shape
    assert np.abs(image.astype(int) - expected).max() < 16


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
    with pytest.raises(ValueError, match=r"data must be a whole "):
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
    with pytest.raises(ValueError, match="must be integers of 8 or 16 bits, not float32"):
        decode_image(data)


def test_two_channels_are_refused():
    with pytest.raises(ValueError, match=r"channels must be 3 \(RGB\) or 1 \(grey\), not 2"):
        decode_image(PICTURES["png"], channels=2)


RGB_OF_JPEG = np.asarray(Image.open(io.BytesIO(PICTURES["jpeg"])))
