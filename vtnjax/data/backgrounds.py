"""Photographs to put objects on: those that come with scikit-image, and with two packages of Debian where installed."""

import logging
from pathlib import Path

import cv2
import numpy as np

from vtnjax._checks import needing
from vtnjax.data.augment import shrink
from vtnjax.data.folder import is_named_picture, resize
from vtnjax.data.stamps import BACKGROUNDS
from vtnjax.data.unreadable import read_picture

# No photograph, and neither of two of one thing, is in two splits. Left out are those that are nearly black.
_SCIKIT_IMAGE = {
    "train": ("astronaut", "immunohistochemistry", "stereo_motorcycle"),
    "validation": ("coffee",),
    "test": ("chelsea", "rocket"),
}
_DEBIAN = {
    Path("/usr/share/backgrounds/mate/nature"): {
        "train": ("Blinds", "Dune", "Garden", "LadyBird", "Storm", "TwoWings", "Wood"),
        "validation": ("Aqua", "GreenMeadow"),
        "test": ("FreshFlower", "RainDrops", "YellowFlower"),
    },
    Path("/usr/share/doc/opencv-doc/examples/data"): {
        "train": ("aloeL", "baboon", "board", "building", "fruits", "leuvenA", "messi5", "squirrel_cls", "stuff"),
        "validation": ("butterfly", "home"),
        "test": ("aero1", "licenseplate_motion"),
    },
}
_REMEDY = ": remove it or put it there again"
_logger = logging.getLogger(__name__)


def load_backgrounds(data_dir: Path, split: str, size: int) -> dict[str, np.ndarray]:
    """The photographs of a split by their names.

    They are the files of DATA_DIR/backgrounds/SPLIT. Where there is no folder `backgrounds`, they are six colour
    photographs of scikit-image (three to train on, one to validate, two to test), twelve of Debian's mate-backgrounds
    (7, 2, 3) if it is installed, and thirteen of its opencv-doc (9, 2, 2). The log says how many.

    Args:
        data_dir: The folder of the stamps.
        split: "train", "validation" or "test".
        size: The side in pixels of the crops to be made: the shorter sides become at most twice as long.

    Returns:
        uint8 (h, w, 3) by name.

    Raises:
        ValueError: If the folder of the split holds no photograph, or one cannot be read.
        ModuleNotFoundError: If scikit-image is needed and not installed.
    """
    own = data_dir / BACKGROUNDS
    photographs = _of_folder(own / split) if own.is_dir() else {**_of_scikit_image(split), **_of_debian(split)}
    _logger.info("%d photographs as backgrounds of split %r: %s", len(photographs), split, ", ".join(photographs))
    return {name: _reduced(photograph, 2 * size) for name, photograph in photographs.items()}


def random_crop(
    picture: np.ndarray, shape: tuple[int, int], rng: np.random.Generator, lengths: tuple[float, float] = (0.35, 1.0)
) -> np.ndarray:
    """A random part of a picture (h, w, c), mirrored or not, resized to a shape.

    It has the shape's proportions, and a random one of `lengths` of the greatest length that fits.
    """
    height, width = picture.shape[:2]
    scale = min(height / shape[0], width / shape[1]) * rng.uniform(*lengths)
    rows, columns = max(1, int(scale * shape[0])), max(1, int(scale * shape[1]))
    top, left = rng.integers(0, (height - rows + 1, width - columns + 1))
    part = resize(picture[top : top + rows, left : left + columns], shape)
    return cv2.flip(part, 1) if rng.random() < 0.5 else part


def _of_folder(folder: Path) -> dict[str, np.ndarray]:
    paths = sorted(path for path in folder.glob("[!.]*") if is_named_picture(path))
    if not paths:
        raise ValueError(f"{folder} must hold photographs as backgrounds, but holds none")
    return {path.name: read_picture(path, remedy=_REMEDY) for path in paths}


def _of_scikit_image(split: str) -> dict[str, np.ndarray]:
    with needing("scenes", room=__name__):
        from skimage import data  # pyright: ignore[reportMissingImports]
    loaded = {name: getattr(data, name)() for name in _SCIKIT_IMAGE[split]}
    # The motorcycle is a pair of photographs and a map of depths.
    return {name: each if isinstance(each, np.ndarray) else each[0] for name, each in loaded.items()}


def _of_debian(split: str) -> dict[str, np.ndarray]:
    paths = [folder / f"{name}.jpg" for folder, names in _DEBIAN.items() for name in names[split]]
    return {path.stem: read_picture(path, remedy=_REMEDY) for path in paths if path.is_file()}


def _reduced(photograph: np.ndarray, shorter: int) -> np.ndarray:
    height, width = photograph.shape[:2]
    factor = min(1.0, shorter / min(height, width))
    return shrink(photograph, (round(factor * height), round(factor * width)))
