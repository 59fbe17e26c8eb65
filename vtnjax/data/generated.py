"""Drawn digits that need no file and no package."""

import cv2
import numpy as np

from vtnjax._checks import check_at_least_1, check_choice
from vtnjax.data.records import Arrays

_SIZE = 28


class Generated(Arrays):
    """Printed digits, slightly shifted, slanted and thickened at random: for trying code out, not for results."""

    def __init__(self, split: str, *, count: int = 1000):
        """Draws the digits; the same arguments always give the same images.

        Args:
            split: "train" or "test", which are drawn with different random numbers.
            count: The number of images of 28x28x1; record i shows the digit i % 10.

        Raises:
            ValueError: If `split` is another name or `count` is below 1.
        """
        check_choice("split", split, ("train", "test"))
        check_at_least_1("count", count)
        rng = np.random.default_rng(("train", "test").index(split))
        labels = np.arange(count) % 10
        images = np.stack([_draw(int(label), rng) for label in labels])
        super().__init__(images[..., None], labels, tuple("0123456789"))
        self._split = split

    def __repr__(self) -> str:
        return f"Generated({self._split!r}, count={len(self)})"


def _draw(digit: int, rng: np.random.Generator) -> np.ndarray:
    image = np.zeros((_SIZE, _SIZE), np.uint8)
    font, scale, thickness = cv2.FONT_HERSHEY_SIMPLEX, 0.7, int(rng.integers(2, 4))
    # Measured, because the letters' size differs between versions of OpenCV.
    (width, height), _ = cv2.getTextSize(str(digit), font, scale, thickness)
    corner = ((_SIZE - width) // 2, (_SIZE + height) // 2)
    cv2.putText(image, str(digit), corner, font, scale, 255, thickness, cv2.LINE_AA)
    slant, (right, down) = rng.uniform(-0.2, 0.2), rng.uniform(-2, 2, 2)
    # The slant turns about the middle row, so that it does not shift the digit as well.
    matrix = np.array([[1, slant, right - slant * _SIZE / 2], [0, 1, down]])
    return cv2.warpAffine(image, matrix, (_SIZE, _SIZE))
