"""Scenes composed of photographs: an object cut out, somewhere on a background, seen from somewhere in some light."""

from pathlib import Path

import cv2
import numpy as np

from vtnjax._checks import check_at_least_1, check_choice
from vtnjax.data.augment import shrink
from vtnjax.data.backgrounds import load_backgrounds, random_crop
from vtnjax.data.records import Located
from vtnjax.data.stamps import Stamps

_COUNTS = {"train": 8000, "validation": 2000, "test": 3000}
TASKS = ("fine", "all")
HALVES = ("train", "benchmark")  # of the species, for instance-level retrieval
SMALLEST = 96  # pixels of a stamp's longer side: smaller ones would be told by their blur
# The longer side over the scene's, the turn in degrees, and how far a corner is moved over the side.
_SCALES, _DEGREES, _PERSPECTIVE = (0.4, 0.9), 30.0, 0.12
# How often something lies before the object, its sides over those of the object's box, and how much of a picture it is.
_OCCLUDED, _PATCH, PART = 0.5, (0.25, 0.5), (0.2, 0.6)
_GAIN, _CAST, _SHADING = (0.7, 1.2), (0.85, 1.15), 0.25
OPAQUE = 128


class Scene(Located):
    """A record with where the object is before anything is put in front of it.

    `mask` is bool (size, size), the pixels that the object covers by half or more; `box` is that of the mask, 0 if it
    is empty.
    """

    mask: np.ndarray


class ScenePair(Scene):
    """A record with another scene of the same stamp, `image2` uint8 (size, size, 3)."""

    image2: np.ndarray


class Scenes:
    """Scenes of one of `Stamps` each, made when they are asked for.

    The stamp's longer side is 0.4 to 0.9 of the scene's; it is turned by up to 30 degrees, its corners are moved by up
    to 0.12 of its sides, which makes a perspective, and it lies anywhere, all of it inside. It is pasted by its alpha
    on a random crop of a photograph, see `load_backgrounds`. Half of the scenes have a patch in front of the stamp, of
    a stamp of another species or of a photograph, with sides of a quarter to half of those of its box. Gain (0.7 to
    1.2), colour cast (0.85 to 1.15 for each channel) and shading (a ramp, of up to 25 % more or less in a corner) are
    the light.

    Training, validation and test scenes have different backgrounds and random numbers, and the same stamps, because
    most species have but one: the test asks whether an object is known again, not whether a new one of its species is.

    For instance-level retrieval, `instances` leaves one half of the species, with one stamp each: every second species
    in the order of the files, so that either half has about as many of each family, and no two instances show one
    species. The halves share no species, and `SceneBenchmark` searches for those of the other half.

    Attributes:
        classes: The names of the species.
        labels: int32 (n,), in the order of the records; record i is of class i % len(classes).
        backgrounds: The names of the photographs behind.
    """

    def __init__(
        self,
        data_dir: str | Path,
        split: str,
        *,
        task: str = "fine",
        family: str = "animals/birds",
        size: int = 224,
        count: int | None = None,
        seed: int = 0,
        pairs: bool = False,
        instances: str | None = None,
    ):
        """Reads the stamps and the photographs.

        Args:
            data_dir: The folder of the stamps, see `Stamps`, which may hold a folder `backgrounds`, see
                `load_backgrounds`.
            split: "train" (8,000 scenes), "validation" (2,000) or "test" (3,000).
            task: "fine" has the species of one family, "all" those of all, both without stamps whose longer side is
                below 96 pixels.
            family: The family of "fine", a folder of `data_dir`.
            size: The height and the width in pixels.
            count: The number of scenes; None is that of the split.
            seed: The seed of everything random; a scene depends on it, the split and the index only.
            pairs: Whether each record has another scene of its stamp, `image2`.
            instances: "train" or "benchmark": the first stamp of each species of this half alone, so that a label says
                which stamp is seen; None is all stamps of all species.

        Raises:
            ValueError: If an argument has another value than those above, or a stamp or photograph cannot be read.
            FileNotFoundError: If there is no such folder.
            ModuleNotFoundError: If the photographs are those of scikit-image, and it is not installed.
        """
        check_choice("split", split, tuple(_COUNTS))
        check_choice("task", task, TASKS)
        count = _COUNTS[split] if count is None else count
        for name, value in (("size", size), ("count", count)):
            check_at_least_1(name, value)
        if seed < 0:
            raise ValueError(f"seed must be a whole number of at least 0, not {seed}")
        stamps = Stamps(data_dir, "all", family=family if task == "fine" else None, smallest=SMALLEST)
        self._split, self._task, self._size, self._seed, self._pairs = split, task, size, seed, pairs
        chosen = range(len(stamps)) if instances is None else _instances(stamps, Path(data_dir), instances)
        self._cutouts = [cut_out(stamps.rgba(index), size) for index in chosen]
        species = [int(stamps.labels[index]) for index in chosen]
        kept = sorted(set(species))
        self.classes = tuple(stamps.classes[label] for label in kept)
        self._stamp_labels = np.array([kept.index(label) for label in species], np.int32)
        self.labels = np.arange(count, dtype=np.int32) % len(self.classes)
        photographs = load_backgrounds(Path(data_dir), split, size)
        self._photographs, self.backgrounds = list(photographs.values()), tuple(photographs)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Scene:
        label, index = int(self.labels[index]), range(len(self))[index]
        rng = np.random.default_rng((self._seed, tuple(_COUNTS).index(self._split), index))
        stamp = self._cutouts[rng.choice(np.flatnonzero(self._stamp_labels == label))]
        image, mask = self._compose(stamp, label, rng)
        record: Scene = {"image": image, "label": label, "box": box_of(mask), "mask": mask}
        if not self._pairs:
            return record
        pair: ScenePair = {**record, "image2": self._compose(stamp, label, rng)[0]}
        return pair

    def _compose(self, stamp: np.ndarray, label: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """An image and the stamp's mask."""
        size = self._size
        image = random_crop(self._photographs[rng.integers(len(self._photographs))], (size, size), rng)
        layer = warped(stamp, placement(stamp.shape[:2], size, rng), size)
        paste(image, layer)
        mask = layer[..., 3] >= OPAQUE
        if rng.random() < _OCCLUDED and mask.any():
            _occlude(image, box_of(mask), self._in_front(label, rng), rng)
        return lit(image, rng), mask

    def _in_front(self, label: int, rng: np.random.Generator) -> np.ndarray:
        """A photograph (h, w, 3), or a stamp (h, w, 4) of another species if there is one."""
        others = np.flatnonzero(self._stamp_labels != label)
        if len(others) and rng.random() < 0.5:
            return self._cutouts[rng.choice(others)]
        return self._photographs[rng.integers(len(self._photographs))]

    def __repr__(self) -> str:
        return (
            f"Scenes({self._split!r}, task={self._task!r}, records={len(self)}, classes={len(self.classes)}, "
            f"backgrounds={len(self.backgrounds)})"
        )


def half_of(stamps: Stamps, half: str) -> list[int]:
    """The index of the first stamp of every second species, in the order of the files.

    Raises:
        ValueError: If `half` is neither "train" nor "benchmark", or there is only one species.
    """
    check_choice("instances", half, HALVES)
    _, first = np.unique(stamps.labels, return_index=True)
    chosen = np.sort(first)[HALVES.index(half) :: len(HALVES)].tolist()
    if not chosen:
        raise ValueError(f"instances must be of two species or more, but {stamps!r} has {len(first)}")
    return chosen


def _instances(stamps: Stamps, data_dir: Path, half: str) -> list[int]:
    """The indices of those stamps that are instances of a half.

    Halves are those of all families, whichever is wanted, so that they are the benchmark's.
    """
    every = Stamps(data_dir, "all", smallest=SMALLEST)
    paths = {every.path(index) for index in half_of(every, half)}
    chosen = [index for index in range(len(stamps)) if stamps.path(index) in paths]
    if not chosen:
        raise ValueError(f"family must have a species of the half {half!r}, but {stamps!r} has none")
    return chosen


def placement(
    shape: tuple[int, int], size: int, rng: np.random.Generator, scales: tuple[float, float] = _SCALES
) -> np.ndarray:
    """A random homography (3, 3) from points (x, y) of a picture of a shape (h, w) to those of a scene.

    Edges of pixels lie at whole numbers. The picture's corners are all inside the scene. Its longer side is one of
    `scales` of the scene's.
    """
    height, width = shape
    sides = np.array([width, height])
    corners = sides * np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    moved = corners + sides * rng.uniform(-_PERSPECTIVE, _PERSPECTIVE, (4, 2)) - sides / 2
    angle = np.deg2rad(rng.uniform(-_DEGREES, _DEGREES))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = moved @ turn.T * rng.uniform(*scales) * size / max(shape)
    moved *= min(1.0, size / np.ptp(moved, axis=0).max())
    room = np.maximum(size - np.ptp(moved, axis=0), 0)  # which rounding may make negative
    moved += rng.uniform(0, room) - moved.min(axis=0)
    return cv2.getPerspectiveTransform(corners.astype(np.float32), moved.astype(np.float32))


def warped(picture: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """A picture under a homography, on an empty scene.

    It is reduced first where the homography shrinks it, by means over areas, so that no pixel is skipped.

    Args:
        picture: uint8 (h, w, 4), whose colours are multiplied by its alpha, so that nothing shines through its edge.
        matrix: (3, 3) as `placement` makes it.
        size: The scene's side in pixels.

    Returns:
        uint8 (size, size, 4).
    """
    height, width = picture.shape[:2]
    corners = np.array([[[0, 0], [width, 0], [width, height], [0, height]]], np.float64)
    moved = cv2.perspectiveTransform(corners, matrix)[0]
    top, right, bottom, left = np.linalg.norm(np.roll(moved, -1, axis=0) - moved, axis=1)
    shape = (_reduced(height, left, right), _reduced(width, top, bottom))
    matrix = matrix @ np.diag([width / shape[1], height / shape[0], 1])
    # OpenCV has the centres of pixels at whole numbers.
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = np.linalg.inv(half) @ matrix @ half
    return np.asarray(cv2.warpPerspective(shrink(picture, shape), matrix, (size, size), flags=cv2.INTER_LINEAR))


def paste(image: np.ndarray, layer: np.ndarray) -> None:
    """Put a layer uint8 (h, w, 4), whose colours are multiplied by its alpha, before an image uint8 (h, w, 3)."""
    left, top, width, height = cv2.boundingRect(layer[..., 3].copy())
    behind, layer = image[top : top + height, left : left + width], layer[top : top + height, left : left + width]
    through = behind * (1 - layer[..., 3:] / np.float32(255))
    behind[:] = np.minimum(layer[..., :3] + through + 0.5, 255)


def box_of(mask: np.ndarray) -> np.ndarray:
    """float32 (4,): the left, top, right and bottom edge of a mask in pixels, 0 if it is empty."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return np.array([left, top, left + width, top + height], np.float32)


def _reduced(length: int, *lengths: float) -> int:
    """A side's length in pixels once it is no longer than the longer of what two opposite sides become."""
    return max(1, min(length, int(np.ceil(max(lengths)))))


def cut_out(picture: np.ndarray, size: int) -> np.ndarray:
    """A stamp without empty rows and columns at its edges, colours times alpha, with no side longer than `size`."""
    left, top, width, height = cv2.boundingRect((picture[..., 3] >= OPAQUE).astype(np.uint8))
    picture = picture[top : top + height, left : left + width]
    alpha = picture[..., 3:]
    colours = np.rint(picture[..., :3] * (alpha / 255)).astype(np.uint8)
    factor = min(1.0, size / max(width, height))
    shape = (max(1, round(factor * height)), max(1, round(factor * width)))
    return shrink(np.concatenate([colours, alpha], axis=2), shape)


def _occlude(image: np.ndarray, box: np.ndarray, picture: np.ndarray, rng: np.random.Generator) -> None:
    """Paste a part of a photograph (h, w, 3) or stamp (h, w, 4) somewhere into a box of an image, in place."""
    left, top, right, bottom = box.astype(int)
    sides = np.array([bottom - top, right - left])
    rows, columns = np.ceil(sides * rng.uniform(*_PATCH, 2)).astype(int).tolist()
    y, x = np.array([top, left]) + rng.integers(0, sides - (rows, columns) + 1)
    patch = random_crop(picture, (rows, columns), rng, PART)
    patch = cv2.cvtColor(patch, cv2.COLOR_RGB2RGBA) if patch.shape[2] == 3 else patch
    paste(image[y : y + rows, x : x + columns], patch)


def lit(
    image: np.ndarray,
    rng: np.random.Generator,
    *,
    gain: tuple[float, float] = _GAIN,
    cast: tuple[float, float] = _CAST,
    shading: float = _SHADING,
) -> np.ndarray:
    """An image under a gain, a colour cast and a ramp over rows and columns, see `Scenes`."""
    height, width, channels = image.shape
    colour = rng.uniform(*gain) * rng.uniform(*cast, channels)
    down, right = rng.uniform(-shading / 2, shading / 2, 2)
    # Columns and channels are one axis, because NumPy is slow along a short one.
    columns = (right * np.linspace(-1, 1, width)).repeat(channels)
    light = (1 + down * np.linspace(-1, 1, height)[:, None] + columns) * np.tile(colour, width)
    lit = cv2.multiply(image.reshape(height, -1), light.astype(np.float32), dtype=cv2.CV_8U)
    return np.asarray(lit).reshape(image.shape)
