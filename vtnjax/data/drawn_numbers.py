"""A small folder of drawn house numbers in SVHN's layout: for trying code out, not for results."""

import importlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

_HEIGHT, _WIDTH = 60, 140
_COUNTS = {"train": 96, "extra": 32, "test": 32}


def write_house_numbers(directory: str | Path, *, counts: dict[str, int] | None = None, seed: int = 0) -> None:
    """Writes pictures of one to five digits and digitStruct.mat files as MATLAB stores SVHN's.

    Args:
        directory: The folder to write to, which is made if it is missing. It is then the `data_dir` of "svhn".
        counts: The numbers of pictures of "train", "extra" and "test"; None makes 96, 32 and 32.
        seed: The seed of the numbers, places, sizes and colours.

    Raises:
        ImportError: If h5py is not installed.
    """
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError as error:
        raise ImportError('drawn house numbers need h5py: pip install "vtnjax[svhn]"') from error
    rng = np.random.default_rng(seed)
    for part, count in (_COUNTS if counts is None else counts).items():
        folder = Path(directory) / part
        folder.mkdir(parents=True, exist_ok=True)
        drawings = [_draw(rng) for _ in range(count)]
        for number, (image, _) in enumerate(drawings, start=1):
            (folder / f"{number}.png").write_bytes(cv2.imencode(".png", image)[1].tobytes())
        with h5py.File(folder / "digitStruct.mat", "w") as file:
            store(h5py, file, [boxes for _, boxes in drawings])


def _draw(rng: np.random.Generator) -> tuple[np.ndarray, list[dict[str, int | float]]]:
    """A picture, and for each digit its label, 10 for a nought, and its box, pixels counted from 1."""
    dark, light = sorted((rng.uniform(20, 100), rng.uniform(150, 235)))
    image = np.full((_HEIGHT, _WIDTH, 3), dark, np.uint8)
    digits = rng.integers(0, 10, rng.integers(1, 6))
    scale = rng.uniform(0.6, 1.0)
    (width, height), _ = cv2.getTextSize("0", cv2.FONT_HERSHEY_SIMPLEX, scale, 2)
    left, base = rng.integers(2, _WIDTH - width * len(digits) - 2), rng.integers(height + 2, _HEIGHT - 2)
    boxes = []
    for place, digit in enumerate(digits):
        x = int(left + place * width)
        cv2.putText(image, str(digit), (x, int(base)), cv2.FONT_HERSHEY_SIMPLEX, scale, (light,) * 3, 2, cv2.LINE_AA)
        box = {"left": x + 1, "top": int(base) - height + 1, "width": width, "height": height}
        boxes.append({"label": int(digit) or 10, **box})
    return image, boxes


def store(h5py: Any, file: Any, pictures: list[list[dict[str, int | float]]]) -> None:
    """Cells and structures as MATLAB 7.3 has them: references, but a picture's only digit has its numbers in place."""
    names, groups = [], []
    for number, boxes in enumerate(pictures, start=1):
        codes = np.array([[ord(letter)] for letter in f"{number}.png"], np.uint16)
        names.append(file.create_dataset(f"#refs#/name{number}", data=codes).ref)
        group = file.create_group(f"#refs#/box{number}")
        groups.append(group.ref)
        for field in boxes[0]:
            values = [np.array([[box[field]]], np.float64) for box in boxes]
            if len(values) == 1:
                group.create_dataset(field, data=values[0])
                continue
            stored = [
                file.create_dataset(f"#refs#/{field}{number}-{place}", data=value).ref
                for place, value in enumerate(values)
            ]
            group.create_dataset(field, data=np.array(stored, h5py.ref_dtype)[:, None], dtype=h5py.ref_dtype)
    for field, references in (("name", names), ("bbox", groups)):
        stacked = np.array(references, h5py.ref_dtype)[:, None]
        file.create_dataset(f"digitStruct/{field}", data=stacked, dtype=h5py.ref_dtype)
