"""Photographs of solar cells, sound or defective, which a package carries: small things in real images."""

import importlib.resources

import cv2
import numpy as np

from vtnjax._checks import check_at_least_1, check_choice
from vtnjax.data.decode import decode_image
from vtnjax.data.records import Record

SIZE = 300
CLASSES = ("sound", "defective")
SPLITS = ("train", "validation", "test")
_SHARES = (0.6, 0.15, 0.25)


class SolarCells:
    """The 2,624 electroluminescence images of solar cells that elpv-dataset packages (Deitsch 2019, CC BY-NC-SA 4.0).

    Records are {"image": uint8 (300, 300, 1), "label": int}. A cell is defective if experts thought so with a
    probability of at least a half: 821 cells, many by cracks a few pixels wide. Cells of 44 modules are split at random
    within each kind of cell and probability, 60 % to train, 15 % to tune and 25 % to test; the package does not tell
    which cells are of one module.

    Attributes:
        labels: int32 (n,).
        classes: The name of each label.
    """

    classes = CLASSES

    def __init__(self, split: str, *, drawn: bool = False, count: int | None = None):
        """Reads the list of the cells; a picture is read when it is asked for.

        Args:
            split: "train", "validation" or "test".
            drawn: True draws cells instead, half of them with a crack, for trying out.
            count: The number of drawn cells; None: 96.

        Raises:
            ValueError: If `split` is another name, or a count is given for real cells.
            ImportError: If elpv-dataset, which has the pictures, is not installed.
        """
        check_choice("split", split, SPLITS)
        if count is not None and not drawn:
            raise ValueError(f"count must be None for real cells, not {count!r}")
        self._split, self._drawn = split, drawn
        if drawn:
            count = 96 if count is None else count
            check_at_least_1("count", count)
            self.labels = (np.arange(count) % 2).astype(np.int32)
            return
        rows = [line.split() for line in (_folder() / "labels.csv").read_text().splitlines()]
        chosen = _split_rows([(kind, probability) for _, probability, kind in rows])[split]
        self._names = [rows[i][0] for i in chosen]
        self.labels = np.array([float(rows[i][1]) >= 0.5 for i in chosen], np.int32)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Record:
        label = int(self.labels[index])
        if self._drawn:
            image = _draw(np.random.default_rng((SPLITS.index(self._split), index)), label)
        else:
            image = decode_image((_folder() / self._names[index]).read_bytes(), channels=1)
        return {"image": image, "label": label}

    def __repr__(self) -> str:
        return f"SolarCells({self._split!r}, drawn={self._drawn})"


def _folder():
    try:
        return importlib.resources.files("elpv_dataset") / "data"
    except ModuleNotFoundError as error:
        raise ImportError('the solar cells need elpv-dataset: pip install "vtnjax[solar]"') from error


def _split_rows(kinds: list[tuple[str, str]]) -> dict[str, np.ndarray]:
    """The rows of each split, sorted; the same every time."""
    rng, split = np.random.default_rng(0), {name: [] for name in SPLITS}
    for kind in sorted(set(kinds)):
        rows = rng.permutation([i for i, each in enumerate(kinds) if each == kind])
        ends = np.rint(np.cumsum(_SHARES) * len(rows)).astype(int)
        for name, part in zip(SPLITS, np.split(rows, ends[:-1]), strict=True):
            split[name].append(part)
    return {name: np.sort(np.concatenate(parts)) for name, parts in split.items()}


def _draw(rng: np.random.Generator, label: int) -> np.ndarray:
    """A grey cell with three dark busbars, and a crack of two strokes if it is defective."""
    image = np.full((SIZE, SIZE), rng.uniform(90, 200), np.float32)
    image += cv2.resize(rng.normal(0, 12, (40, 40)).astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    for row in (50, 150, 250):
        image[row - 2 : row + 2] *= 0.4
    if label:
        points = rng.uniform(30, 270, 2) + np.array([(0, 0), (25, 20), (15, 50)]) * rng.choice([-1, 1], 2)
        cv2.polylines(image, [np.rint(points).astype(np.int32)], False, 30.0, 2, cv2.LINE_AA)
    return np.clip(image, 0, 255).astype(np.uint8)[..., None]
