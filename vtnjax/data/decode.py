"""Picture files to arrays."""

import io
import re

import cv2
import numpy as np
from PIL import Image, ImageOps

from vtnjax.data import tiff

_KINDS = "JPEG, PNG, BMP, WebP, TIFF, GIF, AVIF, JPEG 2000 or PNM"
_SIGNATURES = (
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"BM",
    *tiff.SIGNATURES,
    b"GIF8",
    b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51",
    *(b"P%d" % number for number in range(1, 7)),
)

_PNM_HEADER = re.compile(rb"P[2356](?:\s+(?:#[^\n]*\n\s*)*(\d+)){3}\s")


def is_picture(data: bytes) -> bool:
    """Whether a file's first 16 bytes or more are those of a kind of picture that `decode_image` takes."""
    return data.startswith(_SIGNATURES) or _is_avif(data) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def decode_image(data: bytes, *, channels: int = 3) -> np.ndarray:
    """Decodes an image file as a person sees it.

    The EXIF orientation is applied; grey, palette and CMYK pictures are converted, 16 bits are scaled to 8 and alpha is
    dropped. Of several pictures in a file it is the first.

    Args:
        data: The bytes of a whole JPEG, PNG, BMP, WebP, TIFF, GIF, AVIF, JPEG 2000 or PNM file.
        channels: The number of channels, 3 for RGB or 1 for grey.

    Returns:
        uint8 pixels (h, w, channels), 0 to 255.

    Raises:
        ValueError: If `channels` is neither 1 nor 3, or `data` is not an image, is cut short, has pixels of another
            kind than 8 or 16 bit integers, or is of a rare variety that would be read wrong: a TIFF file in CIELab or
            with 16 bits and its channels one after the other, a JPEG 2000 file in YCC, a PNM file whose largest value
            is neither 255 nor 65535.
    """
    check_channels(channels)
    if _is_cut_jpeg(data):
        raise ValueError(
            f"data must be a whole JPEG file, not {len(data)} bytes that are cut short: no end-of-image marker"
        )
    image = _by_pillow(data, channels) if _is_avif(data) else _by_opencv(data, channels)
    if image is None:
        raise ValueError(f"data must be a whole {_KINDS} file, not {len(data)} bytes that start with {data[:8]!r}")
    image = _to_8_bits(image)
    return image if channels == 3 else image[..., None]


def check_channels(channels: int) -> None:
    """Raise a ValueError unless a number of channels is one that pictures are decoded to."""
    if channels not in (1, 3):
        raise ValueError(f"channels must be 3 (RGB) or 1 (grey), not {channels}")


def _by_opencv(data: bytes, channels: int) -> np.ndarray | None:
    if not is_picture(data):
        return None
    _check_variety(data)
    data, from_white = tiff.readable(data) if data.startswith(tiff.SIGNATURES) else (data, False)
    # ANYDEPTH, because OpenCV's own conversion keeps only the high byte of 16 bits, which darkens. BGR, because asked
    # for RGB several of its decoders leave the pixels of some files unwritten, or in another order.
    flags = (cv2.IMREAD_COLOR_BGR if channels == 3 else cv2.IMREAD_GRAYSCALE) | cv2.IMREAD_ANYDEPTH
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    if image is None:
        return None
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if channels == 3 else image
    return np.invert(image) if from_white else image


def _by_pillow(data: bytes, channels: int) -> np.ndarray | None:
    """AVIF, whose orientation OpenCV does not heed."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB" if channels == 3 else "L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # Pillow's for damaged data
        return None


def _is_avif(data: bytes) -> bool:
    return data[4:8] == b"ftyp" and data[8:12] in (b"avif", b"avis")


def _check_variety(data: bytes) -> None:
    if data.startswith(b"\0\0\0\x0cjP  ") and b"colr\x01\0\0\0\0\0\x12" in data[:4096]:
        raise ValueError("the colours of a JPEG 2000 image must be grey or RGB, not YCC")
    header = _PNM_HEADER.match(data)
    if header and header[1] not in (b"255", b"65535"):
        raise ValueError(f"the largest value of a PNM image must be 255 or 65535, not {int(header[1])}")


def _is_cut_jpeg(data: bytes) -> bool:
    """Whether a JPEG has no end-of-image marker, which some versions of OpenCV fill with grey and do not report.

    The segments before the picture are skipped by their lengths, because an embedded thumbnail has an end marker too.
    """
    if not data.startswith(b"\xff\xd8"):
        return False
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        is_fill = data[at + 1 : at + 2] == b"\xff"
        at += 1 if is_fill else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return data.find(b"\xff\xd9", at) < 0


def _to_8_bits(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    raise ValueError(f"the pixels of an image must be integers of 8 or 16 bits, not {image.dtype}")
