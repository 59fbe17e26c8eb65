"""SVHN's full house numbers (Format 1), as its archives unpack."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from vtnjax.data.decode import decode_image
from vtnjax.data.records import Record, check_split

_ORIGIN = (
    "unpack train.tar.gz, test.tar.gz and extra.tar.gz there (published at http://ufldl.stanford.edu/housenumbers/)"
)
_VALIDATION = 5000
_LONGEST, _NONE = 5, 10
_MARGINS = {64: 1.3, 128: 2.6}


class _Number(NamedTuple):
    path: Path
    digits: tuple[int, ...]
    box: tuple[float, float, float, float]  # left, top, right, bottom


class HouseNumbers:
    """Photographs of house numbers, cropped around the number, and its digits: STN section 4.2 and A.5.

    A label is five digits from the left, 10 where there are fewer. Numbers of more than five digits, one in the
    training files, are left out and counted in `skipped`. The crop is the box of all digits, 1.3 times as wide and high
    for 64 pixels (Goodfellow et al. 2014 enlarge it by 30 %) and 2.6 times for the looser 128, stretched to a square;
    beyond the photograph its border is repeated.

    Attributes:
        classes: "0" to "9" and "none".
        labels: int32 (n, 5).
        skipped: How many longer numbers were left out.
    """

    classes = (*map(str, range(10)), "none")

    def __init__(self, data_dir: str | Path, split: str, *, size: int = 64, extra: bool = True):
        """Reads the digits' boxes; the photographs are read when asked for.

        Args:
            data_dir: The folder with `train/`, `test/` and `extra/`, each with digitStruct.mat and its pictures.
            split: "train", the training files and, if wanted, the extra ones; "validation", 5,000 of the training files
                (a sixth of them if there are fewer than 30,000), which are not in "train"; or "test".
            size: Of the crops, 64 or 128 pixels.
            extra: Whether "train" has the 202,353 extra numbers too, as the paper's 200,000 images do.

        Raises:
            ValueError: If `split` or `size` is another one, or a digitStruct.mat cannot be read.
            FileNotFoundError: If a file is missing.
            ImportError: If h5py, which reads digitStruct.mat, is not installed.
        """
        check_split(split, ("train", "validation", "test"))
        if size not in _MARGINS:
            raise ValueError(f"size is {size!r}, but it must be 64 or 128.")
        self._size, self._split = size, split
        numbers = _read(Path(data_dir), "test" if split == "test" else "train")
        if split != "test":
            order = np.random.default_rng(0).permutation(len(numbers))
            held_out = min(_VALIDATION, max(1, len(numbers) // 6))
            chosen = order[:held_out] if split == "validation" else np.sort(order[held_out:])
            numbers = [numbers[index] for index in chosen]
        if split == "train" and extra:
            numbers += _read(Path(data_dir), "extra")
        kept = [number for number in numbers if len(number.digits) <= _LONGEST]
        self.skipped = len(numbers) - len(kept)
        if not kept:
            raise ValueError(f"{data_dir} holds no number for the split {split!r}: {_ORIGIN}.")
        self._numbers = kept
        self.labels = np.array([_label(number.digits) for number in kept], np.int32)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Record:
        number = self._numbers[index]
        try:
            image = decode_image(number.path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{number.path} cannot be read: unpack its archive again. {error}") from error
        return {"image": _crop(image, number.box, _MARGINS[self._size], self._size), "label": self.labels[index]}

    def __repr__(self) -> str:
        return f"HouseNumbers({self._split!r}, records={len(self)}, size={self._size})"


def _label(digits: Sequence[int]) -> list[int]:
    return [*digits, *[_NONE] * (_LONGEST - len(digits))]


def _crop(image: np.ndarray, box: tuple[float, ...], margin: float, size: int) -> np.ndarray:
    """The enlarged box as a square of `size` pixels."""
    left, top, right, bottom = box
    width, height = margin * (right - left), margin * (bottom - top)
    x, y = (left + right - width) / 2, (top + bottom - height) / 2
    # Of pixel centres to pixel centres, the edges of the box being those of pixels.
    scale = np.array([width, height]) / size
    matrix = np.array([[scale[0], 0, x + scale[0] / 2 - 0.5], [0, scale[1], y + scale[1] / 2 - 0.5]])
    # A crop much larger than `size` is blurred first, as much as each of its pixels is to stand for.
    if scale.max() > 1:
        image = cv2.GaussianBlur(image, (0, 0), *np.maximum(0.4 * scale, 1e-3))
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _read(root: Path, part: str) -> list[_Number]:
    """The numbers of a part, in the order of its digitStruct.mat."""
    path = root / part / "digitStruct.mat"
    if not path.is_file():
        raise FileNotFoundError(f"There is no {part}/digitStruct.mat in {root}: {_ORIGIN}.")
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError as error:
        raise ImportError("SVHN's digitStruct.mat needs h5py: pip install 'vtnjax[svhn]'") from error
    try:
        with h5py.File(path, "r") as file:
            names = [_text(file[ref]) for ref in file["digitStruct/name"][:, 0]]
            boxes = [_boxes(file, file[ref]) for ref in file["digitStruct/bbox"][:, 0]]
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error}): {_ORIGIN}.") from error
    missing = [name for name in names if not (root / part / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(names)} pictures are missing in {root / part}, the first {missing[0]}: {_ORIGIN}."
        )
    return [_number(root / part / name, box) for name, box in zip(names, boxes, strict=True)]


def _text(codes: Any) -> str:
    return "".join(map(chr, np.asarray(codes).ravel()))


def _boxes(file: Any, group: Any) -> dict[str, list[float]]:
    """A picture's boxes: MATLAB stores one digit's numbers as they are, and several as references."""

    def values(field):
        stored = np.asarray(group[field]).ravel()
        return [float(file[each][0, 0] if stored.dtype == object else each) for each in stored]

    return {field: values(field) for field in ("label", "left", "top", "width", "height")}


def _number(path: Path, boxes: dict[str, list[float]]) -> _Number:
    digits = tuple(int(label) % 10 for label in boxes["label"])  # 10 stands for 0
    left, top = np.array(boxes["left"]) - 1, np.array(boxes["top"]) - 1  # the file counts pixels from 1
    right, bottom = left + boxes["width"], top + boxes["height"]
    return _Number(path, digits, (float(left.min()), float(top.min()), float(right.max()), float(bottom.max())))
