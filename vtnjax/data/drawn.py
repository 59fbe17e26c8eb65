"""Small folders in the layouts of the published sets, with drawn pictures: for trying code out, not for results."""

import atexit
import dataclasses
import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from vtnjax.data.drawn_numbers import write_house_numbers

_HEIGHT, _WIDTH = 90, 120
_BANNER = 20
_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class _Drawing:
    """A polygon of label + 3 sides in the colour of its label; `box` is left, top, right, bottom in whole pixels."""

    image: np.ndarray
    label: int
    number: int
    is_train: bool
    box: tuple[int, int, int, int]

    @property
    def stem(self) -> str:
        return hashlib.md5(f"{self.label} {self.number}".encode()).hexdigest()


def write_drawn(
    dataset: str, directory: str | Path, *, classes: int = 6, train: int = 8, test: int = 4, seed: int = 0
) -> None:
    """Writes a tiny set of drawn polygons, laid out as the archives of a published set unpack.

    The same arguments write the same pictures. Files that are there already are overwritten.

    Args:
        dataset: "cub", "cars", "aircraft" or "inat2017".
        directory: Where to write; made if it is missing. It is then the `data_dir` of the source of that name.
        classes: How many kinds of polygons.
        train: Pictures of each class to train on, 120 pixels wide and 90 high.
        test: Pictures of each class to test on.
        seed: Of places, sizes, turns and backgrounds.

    Raises:
        ValueError: If `dataset` is another name or a count is below 1.
    """
    if dataset not in _WRITERS:
        raise ValueError(f"dataset is {dataset!r}, but it must be one of {', '.join(map(repr, _WRITERS))}.")
    for name, count in (("classes", classes), ("train", train), ("test", test)):
        if count < 1:
            raise ValueError(f"{name} is {count}, but it must be at least 1.")
    rng = np.random.default_rng(seed)
    drawings = [
        _draw(label, classes, number, number < train, rng) for label in range(classes) for number in range(train + test)
    ]
    _WRITERS[dataset](Path(directory), drawings, classes)


@functools.cache
def drawn_directory(dataset: str) -> str:
    """A folder with a tiny set as `write_drawn` or `write_house_numbers` makes it, which lasts as long as the process.

    Args:
        dataset: "cub", "cars", "aircraft", "inat2017" or "svhn".

    Raises:
        ValueError: If `dataset` is another name.
    """
    directory = tempfile.mkdtemp(prefix="vtnjax-")
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    if dataset == "svhn":
        write_house_numbers(directory)
    else:
        write_drawn(dataset, directory)
    return directory


def _draw(label: int, classes: int, number: int, is_train: bool, rng: np.random.Generator) -> _Drawing:
    coarse = rng.integers(70, 170, (4, 5, 1), dtype=np.uint8).repeat(3, axis=2)
    image = cv2.resize(coarse, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)
    radius, turn = rng.uniform(18, 30), rng.uniform(0, 2 * np.pi)
    centre = rng.uniform((radius, radius), (_WIDTH - radius, _HEIGHT - radius))
    angles = turn + 2 * np.pi * np.arange(label + 3) / (label + 3)
    # Inside the picture for every turn.
    corners = np.rint(centre + (radius - 1) * np.stack([np.cos(angles), np.sin(angles)], axis=1)).astype(np.int32)
    # OpenCV's hues run to 179.
    colour = cv2.cvtColor(np.array([[[180 * label // classes, 220, 220]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0]
    cv2.fillPoly(image, [corners], colour.tolist())
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return _Drawing(image, label, number, is_train, (left, top, right + 1, bottom + 1))


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())


def _write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write_cub(directory: Path, drawings: list[_Drawing], classes: int) -> None:
    root = directory / "CUB_200_2011"
    kinds = [f"{label + 1:03}.Polygon_of_{label + 3}_sides" for label in range(classes)]
    names = [f"{kinds[d.label]}/Polygon_Of_{d.label + 3}_Sides_{d.number + 1:04}_{i}.jpg" for i, d in _number(drawings)]
    for name, drawing in zip(names, drawings, strict=True):
        _write_jpeg(root / "images" / name, drawing.image)
    boxes = [(left, top, right - left, bottom - top) for left, top, right, bottom in (d.box for d in drawings)]
    _write_lines(root / "classes.txt", [f"{label + 1} {kind}" for label, kind in enumerate(kinds)])
    _write_lines(root / "images.txt", [f"{i} {name}" for i, name in _number(names)])
    _write_lines(root / "image_class_labels.txt", [f"{i} {d.label + 1}" for i, d in _number(drawings)])
    _write_lines(root / "train_test_split.txt", [f"{i} {int(d.is_train)}" for i, d in _number(drawings)])
    _write_lines(root / "bounding_boxes.txt", [f"{i} " + " ".join(f"{v}.0" for v in box) for i, box in _number(boxes)])


def _write_cars(directory: Path, drawings: list[_Drawing], classes: int) -> None:
    # Here, because the import is slow.
    import scipy.io

    (directory / "devkit").mkdir(parents=True, exist_ok=True)
    names = np.array([f"Polygon of {label + 3} sides 2012" for label in range(classes)], object)[None]
    scipy.io.savemat(directory / "devkit" / "cars_meta.mat", {"class_names": names})
    fields = [(name, object) for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
    paths = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
    for split, path in paths.items():
        chosen = [d for d in drawings if d.is_train == (split == "train")]
        rows = []
        for i, drawing in _number(chosen):
            _write_jpeg(directory / f"cars_{split}" / f"{i:05}.jpg", drawing.image)
            rows.append((*_from_one(drawing), drawing.label + 1, f"{i:05}.jpg"))
        scipy.io.savemat(directory / path, {"annotations": np.array(rows, fields)[None]})


def _write_aircraft(directory: Path, drawings: list[_Drawing], classes: int) -> None:
    root = directory / "fgvc-aircraft-2013b" / "data"
    variants = [f"P-{label + 3} Polygon" for label in range(classes)]
    lists: dict[str, list[str]] = {"train": [], "val": [], "trainval": [], "test": []}
    boxes = []
    for i, drawing in _number(drawings):
        banner = np.full((_BANNER, _WIDTH, 3), 255, np.uint8)
        _write_jpeg(root / "images" / f"{i:07}.jpg", np.concatenate([drawing.image, banner]))
        boxes.append(f"{i:07} " + " ".join(map(str, _from_one(drawing))))
        for split in (("val", "train")[drawing.number % 2], "trainval") if drawing.is_train else ("test",):
            lists[split].append(f"{i:07} {variants[drawing.label]}")
    _write_lines(root / "variants.txt", variants)
    _write_lines(root / "images_box.txt", boxes)
    for split, lines in lists.items():
        _write_lines(root / f"images_variant_{split}.txt", lines)


def _write_inaturalist(directory: Path, drawings: list[_Drawing], classes: int) -> None:
    categories = [
        {"id": label, "name": f"Polygon {label + 3}", "supercategory": ("Parva", "Magna")[label >= classes / 2]}
        for label in range(classes)
    ]
    for split in ("train", "val"):
        images, annotations = [], []
        for i, drawing in _number([d for d in drawings if d.is_train == (split == "train")]):
            category = categories[drawing.label]
            name = f"train_val_images/{category['supercategory']}/{category['name']}/{drawing.stem}.jpg"
            _write_jpeg(directory / name, drawing.image)
            images.append({"id": i, "file_name": name, "width": _WIDTH, "height": _HEIGHT})
            annotations.append({"id": i, "image_id": i, "category_id": drawing.label})
        contents = {"images": images, "annotations": annotations, "categories": categories}
        (directory / f"{split}2017.json").write_text(json.dumps(contents))


def _number(items: list[_T]) -> list[tuple[int, _T]]:
    return list(enumerate(items, start=1))


def _from_one(drawing: _Drawing) -> tuple[int, int, int, int]:
    """The box as Matlab counts: from 1, the last pixel included."""
    left, top, right, bottom = drawing.box
    return left + 1, top + 1, right, bottom


_WRITERS: dict[str, Callable[[Path, list[_Drawing], int], None]] = {
    "cub": _write_cub,
    "cars": _write_cars,
    "aircraft": _write_aircraft,
    "inat2017": _write_inaturalist,
}
