"""Picture files to arrays."""

import cv2
import numpy as np


def decode_image(data: bytes, *, channels: int = 3) -> np.ndarray:
    """Decodes an image file as a person sees it.

    The EXIF orientation is applied; grey, palette and CMYK pictures are converted, 16 bits are scaled to 8 and alpha is
    dropped. (OpenCV multiplies the colours of a TIFF by its alpha instead.)

    Args:
        data: The bytes of a whole JPEG, PNG, BMP, WebP or TIFF file.
        channels: 3 for RGB, 1 for grey.

    Returns:
        uint8 pixels (h, w, channels), 0 to 255.

    Raises:
        ValueError: If `channels` is neither 1 nor 3, or `data` is not an image, is cut short, or has pixels of another
            kind than 8 or 16 bit integers.
    """
    if channels not in (1, 3):
        raise ValueError(f"channels is {channels}, but it must be 3 (RGB) or 1 (grey).")
    if _is_cut_jpeg(data):
        raise ValueError(f"The JPEG data are cut short: no end-of-image marker in {len(data)} bytes.")
    # ANYDEPTH, because OpenCV's own conversion keeps only the high byte of 16 bits, which darkens.
    flags = (cv2.IMREAD_COLOR_RGB if channels == 3 else cv2.IMREAD_GRAYSCALE) | cv2.IMREAD_ANYDEPTH
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError(
            f"The data ({len(data)} bytes that start with {data[:8]!r}) are not a whole image, but must be a JPEG, "
            f"PNG, BMP, WebP or TIFF file."
        )
    image = _to_8_bits(image)
    return image if channels == 3 else image[..., None]


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
    raise ValueError(f"The image has {image.dtype} pixels, but they must be integers of 8 or 16 bits.")
