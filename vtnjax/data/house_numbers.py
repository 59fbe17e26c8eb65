"""SVHN's full house numbers (Format 1), as its archives unpack."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np

from vtnjax._checks import check_choice
from vtnjax.data.lists import as_boxes, check_files, check_once, lacking
from vtnjax.data.records import Record
from vtnjax.data.unreadable import ON_ERROR, read_picture, without_unreadable

_ORIGIN = (
    "unpack train.tar.gz, test.tar.gz and extra.tar.gz there (published at http://ufldl.stanford.edu/housenumbers/)"
)
_REMEDY = ": unpack its archive again"
_VALIDATION = 5000
_LONGEST, _NONE = 5, 10
_MARGINS = {64: 1.3, 128: 2.6}


class _Number(NamedTuple):
    path: Path
    digits: tuple[int, ...]
    box: Sequence[float]  # left, top, right, bottom


class HouseNumbers:
    """Photographs of house numbers, cropped around the number, and its digits: STN section 4.2 and A.5.

    A label is five digits from the left, 10 where there are fewer. Numbers of more than five digits, one in the
    training files, are left out and counted in `skipped`. The crop is the box of all digits, 1.3 times as wide and high
    for 64 pixels (Goodfellow et al. 2014 enlarge it by 30 %) and 2.6 times for the looser 128, stretched to a square;
    beyond the photograph its border is repeated.

    Attributes:
        classes: "0" to "9" and "none".
        labels: int32 (n, 5).
        skipped: The number of longer numbers that were left out.
        unreadable: The photographs left out because they cannot be read, with on_error="skip".
    """

    classes = (*map(str, range(10)), "none")

    def __init__(
        self,
        data_dir: str | Path,
        split: str,
        *,
        size: int = 64,
        extra: bool = True,
        on_error: Literal["raise", "skip"] = "raise",
    ):
        """Reads the digits' boxes; the photographs are read when asked for.

        Args:
            data_dir: The folder with `train/`, `test/` and `extra/`, each with digitStruct.mat and its pictures.
            split: "train", the training files and, if wanted, the extra ones; "validation", 5,000 of the training files
                (a sixth of them if there are fewer than 30,000), which are not in "train"; or "test".
            size: The side of the crops in pixels, 64 or 128.
            extra: True adds the 202,353 extra numbers to "train", as the paper's 200,000 images do.
            on_error: "raise", or "skip": decode every photograph now and leave out those that are missing or cannot be
                read, with a warning in the log.

        Raises:
            ValueError: If an argument is another one than those above, or a digitStruct.mat is damaged or makes no
                sense.
            FileNotFoundError: If a file is missing.
            ImportError: If h5py, which reads digitStruct.mat, is not installed.
        """
        check_choice("split", split, ("train", "validation", "test"))
        if size not in _MARGINS:
            raise ValueError(f"size must be 64 or 128, not {size!r}")
        if not isinstance(extra, bool):
            raise ValueError(f"extra must be True or False, not {extra!r}")
        check_choice("on_error", on_error, ON_ERROR)
        self._size, self._split, all_there = size, split, on_error == "raise"
        numbers = _read(Path(data_dir), "test" if split == "test" else "train", all_there=all_there)
        if split != "test":
            order = np.random.default_rng(0).permutation(len(numbers))
            held_out = min(_VALIDATION, max(1, len(numbers) // 6))
            chosen = order[:held_out] if split == "validation" else np.sort(order[held_out:])
            numbers = [numbers[index] for index in chosen]
        if split == "train" and extra:
            numbers += _read(Path(data_dir), "extra", all_there=all_there)
        kept = [number for number in numbers if len(number.digits) <= _LONGEST]
        self.skipped = len(numbers) - len(kept)
        if not kept:
            raise ValueError(f"{data_dir} must hold a number for the split {split!r}, but has none: {_ORIGIN}")
        self._numbers, self.unreadable = kept, ()
        if on_error == "skip":
            whole, self.unreadable = without_unreadable(self)
            self._numbers = kept = [kept[index] for index in whole]
        self.labels = np.array([_label(number.digits) for number in kept], np.int32)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Record:
        number = self._numbers[index]
        image = read_picture(number.path, remedy=_REMEDY)
        crop = _crop(image, number.box, _MARGINS[self._size], self._size)
        return {"image": crop, "label": np.array(_label(number.digits), np.int32)}

    def path(self, index: int) -> Path:
        """The file of a record."""
        return self._numbers[index].path

    def __repr__(self) -> str:
        return f"HouseNumbers({self._split!r}, records={len(self)}, size={self._size})"


def _label(digits: Sequence[int]) -> list[int]:
    return [*digits, *[_NONE] * (_LONGEST - len(digits))]


def _crop(image: np.ndarray, box: Sequence[float], margin: float, size: int) -> np.ndarray:
    """The enlarged box as a square of `size` pixels."""
    left, top, right, bottom = box
    width, height = margin * (right - left), margin * (bottom - top)
    x, y = (left + right - width) / 2, (top + bottom - height) / 2
    # The matrix maps pixel centres to pixel centres, and the edges of the box are edges of pixels.
    scale = np.array([width, height]) / size
    matrix = np.array([[scale[0], 0, x + scale[0] / 2 - 0.5], [0, scale[1], y + scale[1] / 2 - 0.5]])
    # A crop much larger than `size` is blurred first, as much as each of its pixels is to stand for.
    if scale.max() > 1:
        image = cv2.GaussianBlur(image, (0, 0), *np.maximum(0.4 * scale, 1e-3))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _read(root: Path, part: str, *, all_there: bool) -> list[_Number]:
    """The numbers of a part, in the order of its digitStruct.mat."""
    path = root / part / "digitStruct.mat"
    if not path.is_file():
        raise lacking(root, f"{part}/digitStruct.mat", _ORIGIN)
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError as error:
        raise ImportError('the numbers of "svhn" need h5py: pip install "vtnjax[svhn]"') from error
    try:
        with h5py.File(path, "r") as file:
            names = [_text(file[ref]) for ref in file["digitStruct/name"][:, 0]]
            boxes = [_boxes(file, file[ref]) for ref in file["digitStruct/bbox"][:, 0]]
    except Exception as error:  # a damaged file makes h5py raise errors of many kinds
        raise ValueError(f"{path} cannot be read ({error}): {_ORIGIN}") from error
    if len(names) != len(boxes):
        raise ValueError(f"{path} must have the boxes of its {len(names)} pictures, not of {len(boxes)}: {_ORIGIN}")
    check_once(names, path, "picture", origin=_ORIGIN)
    if all_there:
        check_files(root / part, names, origin=_ORIGIN)
    digits = [_digits(path, name, each) for name, each in zip(names, boxes, strict=True)]
    edges = as_boxes([_union(each) for each in boxes], names, path, origin=_ORIGIN).tolist()
    return [_Number(root / part / name, *each) for name, *each in zip(names, digits, edges, strict=True)]


def _text(codes: Any) -> str:
    return "".join(map(chr, np.asarray(codes).ravel()))


def _boxes(file: Any, group: Any) -> dict[str, list[float]]:
    """A picture's boxes: MATLAB stores one digit's numbers as they are, and several as references."""

    def values(field):
        stored = np.asarray(group[field]).ravel()
        return [float(file[each][0, 0] if stored.dtype == object else each) for each in stored]

    return {field: values(field) for field in ("label", "left", "top", "width", "height")}


def _digits(path: Path, name: str, boxes: dict[str, list[float]]) -> tuple[int, ...]:
    counts = sorted({len(values) for values in boxes.values()})
    if counts[0] < counts[-1]:
        raise ValueError(
            f"{path}: the fields of {name} must have as many digits each, not {counts[0]} to {counts[-1]}: {_ORIGIN}"
        )
    if not counts[0]:
        raise ValueError(f"{path}: {name} must have at least one digit, not none: {_ORIGIN}")
    for label in boxes["label"]:
        if label not in range(11):
            raise ValueError(f"{path}: the digits of {name} must be from 0 to 10, not {label}: {_ORIGIN}")
    return tuple(int(label) % 10 for label in boxes["label"])  # 10 stands for 0


def _union(boxes: dict[str, list[float]]) -> tuple[float, ...]:
    """The left, top, right and bottom edge of all digits; the file counts pixels from 1."""
    left, top = np.array(boxes["left"]) - 1, np.array(boxes["top"]) - 1
    right, bottom = left + boxes["width"], top + boxes["height"]
    return left.min(), top.min(), right.max(), bottom.max()
