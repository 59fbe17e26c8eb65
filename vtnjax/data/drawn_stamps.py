"""A small folder of drawn stamps and backgrounds: for trying code out, not for results."""

from pathlib import Path

import cv2
import numpy as np

from vtnjax.data.stamps import BACKGROUNDS

_SPECIES = ("triangle", "square", "pentagon", "hexagon", "heptagon", "octagon")
_FAMILIES = {"animals/birds": 0, "plants/flowers": 30}  # and what is added to the hues of their polygons
_SIDE = 120
_BACKGROUNDS = {"train": 3, "validation": 1, "test": 2}


def write_stamps(directory: str | Path, *, seed: int = 0) -> None:
    """Writes polygons with alpha as stamps, laid out as Debian's, and blurred colours as backgrounds.

    Args:
        directory: The folder to write to, which is made if it is missing. It is then the `data_dir` of "stamps" and
            "scenes".
        seed: The seed of turns and backgrounds.
    """
    rng = np.random.default_rng(seed)
    for family, hue in _FAMILIES.items():
        for label, species in enumerate(_SPECIES):
            name = species if hue == 0 else f"{species}-plant"
            _write(Path(directory) / family / f"{name}.png", _polygon(label, hue, rng))
    for split, count in _BACKGROUNDS.items():
        for number in range(count):
            coarse = rng.integers(60, 180, (6, 8, 3), dtype=np.uint8)
            picture = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
            _write(Path(directory) / BACKGROUNDS / split / f"{number}.png", picture)


def _polygon(label: int, hue: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 (120, 120, 4), blue, green, red and alpha."""
    angles = rng.uniform(0, 2 * np.pi) + 2 * np.pi * np.arange(label + 3) / (label + 3)
    corners = _SIDE / 2 + (_SIDE / 2 - 4) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # OpenCV's hues run to 179.
    hsv = np.array([[[(180 * label // len(_SPECIES) + hue) % 180, 220, 220]]], np.uint8)
    colour = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    picture = np.zeros((_SIDE, _SIDE, 4), np.uint8)
    cv2.fillPoly(picture, [np.rint(corners).astype(np.int32)], [*colour, 255])
    return picture


def _write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
