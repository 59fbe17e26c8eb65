"""A small folder of drawn landmarks in the layout of the revisited benchmarks: for trying code out, not for results."""

import pickle
from pathlib import Path

import cv2
import numpy as np

from vtnjax._checks import check_at_least_1, check_choice
from vtnjax.data.drawing import write_jpeg
from vtnjax.data.revisited_benchmark import IMAGES, REVISITED

_SHAPES = ((120, 160), (160, 120), (120, 144))
# A landmark's sides over the image's shorter one.
_SIDES = {"easy": (0.6, 0.8), "hard": (0.3, 0.4), "junk": (0.1, 0.15)}
_OF_LANDMARK = ("easy", "easy", "hard", "hard", "junk")


def write_landmarks(name: str, directory: str | Path, *, landmarks: int = 4, seed: int = 0) -> None:
    """Writes squares of a few colours as landmarks on blurred grey, and the pickle that says where they are.

    Of each landmark there are two easy, two hard and a junk image in the database, in which it is ever smaller, and a
    query with its box.

    Args:
        name: The benchmark whose layout it is, "roxford5k" or "rparis6k".
        directory: The folder to write to, which is made if it is missing. It is then the `data_dir` of this benchmark.
        landmarks: The number of landmarks.
        seed: The seed of colours, places and backgrounds.

    Raises:
        ValueError: If there is no such benchmark, or no landmark.
    """
    check_choice("name", name, REVISITED)
    check_at_least_1("landmarks", landmarks)
    rng, folder = np.random.default_rng(seed), Path(directory) / IMAGES
    images, queries, truths = [], [], []
    for landmark in range(landmarks):
        colours = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
        truth = {"easy": [], "hard": [], "junk": [], "bbx": []}
        for number, kind in enumerate(_OF_LANDMARK):
            truth[kind].append(len(images))
            images.append(f"landmark_{landmark:02}_{number}")
            write_jpeg(folder / f"{images[-1]}.jpg", _draw(colours, kind, rng)[0])
        queries.append(f"landmark_{landmark:02}_query")
        picture, truth["bbx"] = _draw(colours, "easy", rng)
        write_jpeg(folder / f"{queries[-1]}.jpg", picture)
        truths.append(truth)
    found = {"imlist": images, "qimlist": queries, "gnd": truths}
    (Path(directory) / f"gnd_{name}.pkl").write_bytes(pickle.dumps(found, protocol=2))


def _draw(colours: np.ndarray, kind: str, rng: np.random.Generator) -> tuple[np.ndarray, list[float]]:
    """A picture uint8 (h, w, 3) with a landmark, and the box (left, top, right, bottom) around it."""
    height, width = _SHAPES[rng.integers(len(_SHAPES))]
    coarse = rng.integers(70, 170, (4, 5, 1), dtype=np.uint8).repeat(3, axis=2)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    side = int(min(height, width) * rng.uniform(*_SIDES[kind]))
    top, left = rng.integers(0, (height - side + 1, width - side + 1)).tolist()
    image[top : top + side, left : left + side] = cv2.resize(colours, (side, side), interpolation=cv2.INTER_NEAREST)
    return image, [float(left), float(top), float(left + side), float(top + side)]
