"""Pictures in the formats that a folder of photographs holds, encoded by Pillow."""

import io

import numpy as np
from PIL import Image, ImageOps


def photo(height=48, width=64, seed=0):
    """A smooth picture without symmetry, uint8 (height, width, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encode(image, kind, **options):
    buffer = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(buffer, kind, **options)
    return buffer.getvalue()


def with_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def as_seen(data, mode="RGB"):
    """What Pillow shows, int (h, w, c)."""
    seen = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert(mode)).astype(int)
    return seen if seen.ndim == 3 else seen[..., None]
