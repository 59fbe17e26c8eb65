"""Pictures in the formats that a folder of photographs holds, encoded by Pillow."""

import io
import struct

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


def tiff(pixels, *, photometric=None, planar=False, extra=(), order="<", kind=1):
    """An uncompressed TIFF file of one strip, or of one a channel if planar; `pixels` (h, w, c) of any dtype."""
    height, width, samples = pixels.shape
    bits, long = 8 * pixels.itemsize, 4
    planes = [pixels[..., c] for c in range(samples)] if planar else [pixels]
    strips = [plane.astype(pixels.dtype.newbyteorder(order)).tobytes() for plane in planes]
    starts = [8 + sum(map(len, strips[:k])) for k in range(len(strips))]
    tags = {256: (long, [width]), 257: (long, [height]), 258: (3, [bits] * samples), 259: (3, [1])}
    tags[262] = (3, [(2 if samples > 2 else 1) if photometric is None else photometric])
    tags |= {273: (long, starts), 277: (3, [samples]), 278: (long, [height]), 279: (long, [len(s) for s in strips])}
    tags |= {284: (3, [2 if planar else 1]), 339: (3, [kind] * samples)} | ({338: (3, list(extra))} if extra else {})
    values, entries, end = b"", b"", 8 + sum(map(len, strips))
    for tag, (size, numbers) in sorted(tags.items()):
        value = struct.pack(f"{order}{len(numbers)}{'I' if size == long else 'H'}", *numbers)
        if len(value) > 4:
            value, values = struct.pack(order + "I", end + len(values)), values + value
        entries += struct.pack(order + "HHI", tag, size, len(numbers)) + value.ljust(4, b"\0")
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", end + len(values))
    return header + b"".join(strips) + values + struct.pack(order + "H", len(tags)) + entries + bytes(4)
