"""Polygons to be told apart, drawn and put into files: for trying code out, not for results."""

import dataclasses
import hashlib
from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 90, 120


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A polygon of label + 3 sides in the colour of its label; `box` is left, top, right, bottom in whole pixels."""

    image: np.ndarray  # uint8 (90, 120, 3), blue, green, red
    label: int
    number: int
    is_train: bool
    box: tuple[int, int, int, int]

    @property
    def stem(self) -> str:
        """A name for its file, as a hash."""
        return hashlib.md5(f"{self.label} {self.number}".encode()).hexdigest()


def draw_polygon(label: int, classes: int, number: int, is_train: bool, rng: np.random.Generator) -> Drawing:
    """A picture of 120 x 90 pixels on which the whole polygon lies."""
    coarse = rng.integers(70, 170, (4, 5, 1), dtype=np.uint8).repeat(3, axis=2)
    image = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    radius, turn = rng.uniform(18, 30), rng.uniform(0, 2 * np.pi)
    centre = rng.uniform((radius, radius), (WIDTH - radius, HEIGHT - radius))
    angles = turn + 2 * np.pi * np.arange(label + 3) / (label + 3)
    # Inside the picture for every turn.
    corners = np.rint(centre + (radius - 1) * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.int32)
    # OpenCV's hues run to 179.
    colour = cv2.cvtColor(np.array([[[180 * label // classes, 220, 220]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0]
    cv2.fillPoly(image, [corners], colour.tolist())
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return Drawing(image, label, number, is_train, (left, top, right + 1, bottom + 1))


def write_jpeg(path: Path, image: np.ndarray) -> None:
    """Write a picture, uint8 (h, w, 3) in OpenCV's order of colours, and the folders it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())


def write_lines(path: Path, lines: list[str]) -> None:
    """Write a text file, and the folders it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def from_one(drawing: Drawing) -> tuple[int, int, int, int]:
    """The box as Matlab counts: from 1, the last pixel included."""
    left, top, right, bottom = drawing.box
    return left + 1, top + 1, right, bottom
