"""Scenes of stamps as a benchmark of instance-level retrieval, in the form of the revisited ones."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from vtnjax._checks import check_at_least_1, check_choice
from vtnjax.data.backgrounds import load_backgrounds, random_crop
from vtnjax.data.scenes import HALVES, OPAQUE, PART, SMALLEST, cut_out, half_of, lit, paste, placement, warped
from vtnjax.data.stamps import Stamps


class Kind(NamedTuple):
    """How an image of a stamp looks.

    Attributes:
        scales: The stamp's longer side over the scene's.
        hidden: How much of the stamp something in front hides, a share of its pixels.
        gains: Intervals of the light's gain, of which one is drawn.
        cast: The colour cast, for each channel.
        shading: How much brighter or darker a corner is.
    """

    scales: tuple[float, float]
    hidden: tuple[float, float]
    gains: tuple[tuple[float, float], ...]
    cast: tuple[float, float]
    shading: float


_MILD = {"gains": ((0.7, 1.2),), "cast": (0.85, 1.15), "shading": 0.25}
KINDS = {
    "query": Kind((0.6, 0.9), (0.0, 0.0), **_MILD),
    "easy": Kind((0.5, 0.9), (0.0, 0.2), **_MILD),
    "hard": Kind((0.35, 0.5), (0.2, 0.4), ((0.4, 0.55), (1.4, 1.9)), (0.75, 1.25), 0.5),
    "junk": Kind((0.4, 0.9), (0.88, 0.98), **_MILD),
}
# The images of the database that belong to an instance; backgrounds show no stamp.
_OF_INSTANCE = ("easy",) * 6 + ("hard",) * 6 + ("junk",) * 2 + ("background",) * 5
# Of random numbers: those of the splits of `Scenes` are 0 to 2.
_DATABASE, _QUERIES = 3, 4


class StampScene(NamedTuple):
    """An image uint8 (size, size, 3), and bool (size, size) its stamp's pixels, and those that nothing hides."""

    image: np.ndarray
    stamp: np.ndarray
    visible: np.ndarray


class SceneBenchmark:
    """Each stamp an instance: a query, and in the database 6 easy, 6 hard and 2 junk images and 5 backgrounds.

    The stamps are those of the half that `Scenes(instances="train")` leaves out, one of a species, or with
    `half="train"` those of the other half, by which rates are chosen. Images are composed as those of `Scenes`, but for
    what makes them easy or hard. The stamp's longer side is 0.5 to 0.9 of an easy image's and 0.35 to 0.5 of a hard
    one's; something in front hides up to a fifth of an easy one's stamp, a fifth to two fifths of a hard one's and 0.88
    to 0.98 of a junk one's, from one side; hard light has a gain of 0.4 to 0.55 or of 1.4 to 1.9 and more cast and
    shading. Backgrounds are photographs without a stamp. Queries are as easy images, with nothing in front and 0.6 of
    the scene at least, and are not cropped, so that all images have one size.

    The photographs behind the queries are those of the validation scenes and those of the database those of the test
    scenes: no background is in both, and none is in training.

    Attributes:
        database: The images that are searched, made when they are asked for.
        queries: The images of what is searched for, one an instance.
        ground_truth: For each query the indices of its "easy", "hard" and "junk" images.
        names: The names of the images of the database, such as "wren-easy-0".
        instances: The names of the instances, in the order of the queries.
    """

    def __init__(self, data_dir: str | Path, *, half: str = "benchmark", size: int = 224, seed: int = 0):
        """Reads the stamps and the photographs.

        Args:
            data_dir: The folder of the stamps, see `Stamps`, which may hold a folder `backgrounds`, see
                `load_backgrounds`.
            half: "benchmark" or "train".
            size: The height and the width of all images in pixels.
            seed: The seed of everything random; an image depends on it and its index only.

        Raises:
            ValueError: If `half` is neither, a number is too low, there are fewer than two species, or a stamp or
                photograph cannot be read.
            FileNotFoundError: If there is no such folder.
            ModuleNotFoundError: If the photographs are those of scikit-image, and it is not installed.
        """
        check_choice("half", half, HALVES)
        check_at_least_1("size", size)
        if seed < 0:
            raise ValueError(f"seed must be a whole number of at least 0, not {seed}")
        root = Path(data_dir)
        stamps = Stamps(root, "all", smallest=SMALLEST)
        chosen = half_of(stamps, half)
        self.instances = tuple(stamps.classes[stamps.labels[index]] for index in chosen)
        self._cutouts = [cut_out(stamps.rgba(index), size) for index in chosen]
        self._behind = {
            stream: list(load_backgrounds(root, split, size).values())
            for stream, split in ((_QUERIES, "validation"), (_DATABASE, "test"))
        }
        self._half, self._size, self._seed, self._root = half, size, seed, root
        per = len(_OF_INSTANCE)
        places = [(kind, place - _OF_INSTANCE.index(kind)) for place, kind in enumerate(_OF_INSTANCE)]
        self.names = tuple(f"{name}-{kind}-{number}" for name in self.instances for kind, number in places)
        self.ground_truth = tuple(_truth(per * number, size) for number in range(len(self.instances)))
        self.database = _Made(per * len(self.instances), size, lambda index: self.scene(index).image)
        self.queries = _Made(len(self.instances), size, lambda index: self.query_scene(index).image)

    def scene(self, index: int) -> StampScene:
        """An image of the database, with where its stamp is and what of it is seen."""
        index = range(len(self.names))[index]
        instance, place = divmod(index, len(_OF_INSTANCE))
        return self._compose(instance, _OF_INSTANCE[place], _DATABASE, index)

    def query_scene(self, index: int) -> StampScene:
        """A query, with where its stamp is."""
        index = range(len(self.instances))[index]
        return self._compose(index, "query", _QUERIES, index)

    def _compose(self, instance: int, name: str, stream: int, index: int) -> StampScene:
        size, photographs = self._size, self._behind[stream]
        rng = np.random.default_rng((self._seed, stream, index))
        image = random_crop(photographs[rng.integers(len(photographs))], (size, size), rng)
        if name == "background":
            nothing = np.zeros((size, size), bool)
            return StampScene(lit(image, rng), nothing, nothing)
        kind, stamp = KINDS[name], self._cutouts[instance]
        layer = warped(stamp, placement(stamp.shape[:2], size, rng, kind.scales), size)
        paste(image, layer)
        mask = layer[..., 3] >= OPAQUE
        in_front = photographs[rng.integers(len(photographs))]
        visible = _hide(image, mask, rng.uniform(*kind.hidden), in_front, rng)
        gain = kind.gains[rng.integers(len(kind.gains))]
        return StampScene(lit(image, rng, gain=gain, cast=kind.cast, shading=kind.shading), mask, visible)

    def __repr__(self) -> str:
        return (
            f"SceneBenchmark({str(self._root)!r}, half={self._half!r}, instances={len(self.instances)}, "
            f"size={self._size}, seed={self._seed})"
        )


class _Made:
    """Images of one size that a function makes."""

    def __init__(self, count: int, size: int, make: Callable[[int], np.ndarray]):
        self.sizes = ((size, size),) * count
        self._make = make

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> np.ndarray:
        return self._make(index)


def _truth(first: int, size: int) -> dict[str, list]:
    """The ground truth of an instance whose images begin at an index."""
    found = {
        kind: [first + place for place, each in enumerate(_OF_INSTANCE) if each == kind]
        for kind in ("easy", "hard", "junk")
    }
    return {**found, "bbx": [0, 0, size, size]}


def _hide(
    image: np.ndarray, mask: np.ndarray, share: float, picture: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Put a part of a photograph before a mask's box, in place, from one of its sides on.

    Args:
        image: uint8 (h, w, 3).
        mask: bool (h, w).
        share: How much of the mask is hidden at most: the most whole rows or columns that hide no more.
        picture: uint8 (h', w', 3).
        rng: Draws the side and the part.

    Returns:
        bool (h, w), what is left of the mask.
    """
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    turns = int(rng.integers(4))
    # The side from which it is hidden is turned to the top; a view.
    inside = np.rot90(mask[top : top + height, left : left + width], turns)
    rows = int(np.searchsorted(inside.sum(1).cumsum(), share * inside.sum(), side="right"))
    visible = mask.copy()
    if not rows:
        return visible
    np.rot90(visible[top : top + height, left : left + width], turns)[:rows] = False
    part = np.rot90(image[top : top + height, left : left + width], turns)[:rows]
    part[:] = random_crop(picture, (rows, inside.shape[1]), rng, PART)
    return visible
