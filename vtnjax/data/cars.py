"""Stanford Cars, as its archives unpack."""

import numbers
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vtnjax._checks import check_choice
from vtnjax.data.drawing import Drawing, from_one, write_jpeg
from vtnjax.data.lists import as_boxes, lacking
from vtnjax.data.photographs import Photographs

_ORIGIN = (
    "unpack cars_train.tgz, cars_test.tgz and car_devkit.tgz there and put cars_test_annos_withlabels.mat beside them "
    "(published at https://ai.stanford.edu/~jkrause/cars/car_dataset.html; since that page is gone, in copies)"
)
_TEST_LABELS = "cars_test_annos_withlabels.mat"
_DEVKITS = ("devkit", "car_devkit/devkit")
_FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")


class Cars(Photographs):
    """Stanford Cars: 8,144 photographs to train on and 8,041 to test, of 196 models of cars.

    Attributes:
        boxes: float32 (n, 4), the left, top, right and bottom edge of the car in pixels, so that (0, 0) is the corner
            of the first pixel; the file counts pixels from 1, as Matlab does, and includes the last.
    """

    def __init__(self, data_dir: str | Path, split: str, *, on_error: Literal["raise", "skip"] = "raise"):
        """Reads the annotations; the pictures are read when asked for.

        Args:
            data_dir: The folder the archives were unpacked in, with cars_train/, cars_test/, devkit/ and
                cars_test_annos_withlabels.mat (which may lie in devkit/ too); or the same as Kaggle serves it, with
                cars_train/cars_train/, cars_test/cars_test/ and car_devkit/devkit/.
            split: "train" or "test", the official ones.
            on_error: "raise", or "skip": decode every picture now and leave out, with a warning in the log, those that
                are missing or cannot be read.

        Raises:
            ValueError: If `split` or `on_error` is another word, or a file of annotations is damaged or another.
            FileNotFoundError: If annotations or pictures are missing.
        """
        check_choice("split", split, ("train", "test"))
        root = Path(data_dir)
        meta = _find(root, "cars_meta.mat")
        path = _find(root, "cars_train_annos.mat") if split == "train" else _find_test(root)
        classes = tuple(map(str, np.atleast_1d(_load(meta, "class_names"))))
        rows = np.atleast_1d(_load(path, "annotations"))
        if missing := [field for field in _FIELDS if field not in (rows.dtype.names or ())]:
            raise ValueError(f"{path}: annotations must have a field {missing[0]}, but lack it: {_ORIGIN}")
        names = _names(rows, path)
        labels, folder = _labels(rows, names, len(classes), path), _pictures(root, split)
        super().__init__(
            root, [f"{folder}/{name}" for name in names], labels, classes, origin=_ORIGIN, on_error=on_error
        )
        corners = np.array([_numbers(rows, field, names, path) for field in _FIELDS[:4]]).T - (1, 1, 0, 0)
        self.boxes = as_boxes(corners, names, path, origin=_ORIGIN)[self.kept]


def _names(rows: np.ndarray, path: Path) -> list[str]:
    for name in rows["fname"]:
        if not isinstance(name, str):
            raise ValueError(f"{path}: fname must be text, not {name!r}: {_ORIGIN}")
    return list(map(str, rows["fname"]))


def _labels(rows: np.ndarray, names: list[str], count: int, path: Path) -> np.ndarray:
    """The labels from 0 on; the file counts from 1."""
    for name, value in zip(names, rows["class"], strict=True):
        if not (isinstance(value, numbers.Real) and value in range(1, count + 1)):
            raise ValueError(
                f"{path}: the class of {name!r} must be a whole number from 1 to {count}, not {value!s}: {_ORIGIN}"
            )
    return rows["class"].astype(np.int32) - 1


def _numbers(rows: np.ndarray, field: str, names: list[str], path: Path) -> list[float]:
    for name, value in zip(names, rows[field], strict=True):
        if not isinstance(value, numbers.Real):
            raise ValueError(f"{path}: the {field} of {name!r} must be a number, not {value!r}: {_ORIGIN}")
    return [float(value) for value in rows[field]]


def _find(root: Path, name: str) -> Path:
    for devkit in _DEVKITS:
        if (root / devkit / name).is_file():
            return root / devkit / name
    raise lacking(root, f"devkit/{name}", _ORIGIN)


def _find_test(root: Path) -> Path:
    # The devkit's own cars_test_annos.mat has no classes; some copies put the one that has them beside it.
    for folder in (*_DEVKITS, "", "car_devkit"):
        if (root / folder / _TEST_LABELS).is_file():
            return root / folder / _TEST_LABELS
    apart = (
        f"{_ORIGIN}. It was published apart from the archives, at https://ai.stanford.edu/~jkrause/car196/"
        f"{_TEST_LABELS}; without it only the split 'train' can be read"
    )
    raise lacking(root, _TEST_LABELS, apart)


def _pictures(root: Path, split: str) -> str:
    folder = f"cars_{split}"
    return f"{folder}/{folder}" if (root / folder / folder).is_dir() else folder


def _load(path: Path, variable: str) -> Any:
    # Here, because the import takes a third of a second, which only a user of the cars should bear.
    import scipy.io

    try:
        contents = scipy.io.loadmat(path, squeeze_me=True)
    except Exception as error:  # a damaged file makes SciPy raise errors of many kinds
        raise ValueError(f"{path} must be a whole Matlab file, but cannot be read ({error}): {_ORIGIN}") from error
    if variable not in contents:
        raise ValueError(f"{path} must hold a variable {variable!r}, but has none: {_ORIGIN}")
    return contents[variable]


def write_cars(directory: Path, drawings: list[Drawing], classes: int) -> None:
    """Drawn pictures in a folder, as Stanford's archives unpack."""
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
        for i, drawing in enumerate(chosen, start=1):
            write_jpeg(directory / f"cars_{split}" / f"{i:05}.jpg", drawing.image)
            rows.append((*from_one(drawing), drawing.label + 1, f"{i:05}.jpg"))
        scipy.io.savemat(directory / path, {"annotations": np.array(rows, fields)[None]})
