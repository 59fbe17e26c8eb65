"""The tags of a TIFF file about its pixels that OpenCV does not heed."""

import struct
from typing import NamedTuple

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_KINDS = {1: "uint", 2: "int", 3: "float", 4: "uint"}
_GREY_FROM_WHITE, _LAB = 0, (8, 9, 10)
_MULTIPLIED_LATER = 2  # alpha that the colours are not multiplied by yet


class _Tag(NamedTuple):
    values: tuple[int, ...]
    at: int  # of the first value, in the file


def readable(data: bytes) -> tuple[bytes, bool]:
    """A TIFF file that OpenCV shows as it is, or a sentence that says why there is none.

    Args:
        data: The bytes of the file.

    Returns:
        The file, changed so that the colours are not multiplied by their alpha, and whether white is its 0 and OpenCV
        leaves that to the caller. A file without a directory of tags is returned unchanged, for OpenCV to refuse.

    Raises:
        ValueError: If OpenCV would give other pixels than the file has.
    """
    try:
        tags = _tags(data)
    except (struct.error, OverflowError):
        return data, False
    bits, samples = max(_values(tags, 258, 1)), _values(tags, 277, 1)[0]
    kind, photometric = _KINDS.get(_values(tags, 339, 1)[0], "unknown"), _values(tags, 262, 1)[0]
    if kind != "uint" or bits > 16:
        raise ValueError(f"the pixels of an image must be integers of 8 or 16 bits, not {kind}{bits}")
    if photometric in _LAB:
        raise ValueError("the colours of a TIFF image must be grey, RGB or CMYK, not CIELab")
    if bits > 8 and samples > 1 and _values(tags, 284, 1)[0] == 2:
        raise ValueError(
            f"the {samples} channels of a TIFF image of {bits} bits must be stored pixel by pixel, not one after the "
            "other: save it again with the planar configuration 1"
        )
    return _without_multiplying(data, tags), photometric == _GREY_FROM_WHITE and bits > 8


def _without_multiplying(data: bytes, tags: dict[int, _Tag]) -> bytes:
    """The same file, its extra channels of no stated meaning, so that OpenCV reads the colours as they are."""
    extra = tags.get(338)
    if extra is None or _MULTIPLIED_LATER not in extra.values:
        return data
    size = 2 * len(extra.values)
    return data[: extra.at] + bytes(size) + data[extra.at + size :]


def _values(tags: dict[int, _Tag], tag: int, default: int) -> tuple[int, ...]:
    return tags[tag].values if tag in tags else (default,)


def _tags(data: bytes) -> dict[int, _Tag]:
    """The tags of the first picture whose values are 16 bit integers, of which there are few."""
    order, is_big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    (at,) = struct.unpack_from(order + ("Q" if is_big else "I"), data, 8 if is_big else 4)
    (count,) = struct.unpack_from(order + ("Q" if is_big else "H"), data, at)
    entry, first = struct.Struct(order + ("HHQQ" if is_big else "HHII")), at + (8 if is_big else 2)
    inline = 8 if is_big else 4
    tags = {}
    for start in range(first, first + count * entry.size, entry.size):
        tag, kind, number, offset = entry.unpack_from(data, start)
        if kind == 3 and number:
            where = start + entry.size - inline if 2 * number <= inline else offset
            tags[tag] = _Tag(struct.unpack_from(f"{order}{number}H", data, where), where)
    return tags
