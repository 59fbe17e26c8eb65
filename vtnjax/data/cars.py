"""Stanford Cars, as its archives unpack."""

from pathlib import Path
from typing import Any

import numpy as np

from vtnjax.data.photographs import Photographs, as_boxes
from vtnjax.data.records import check_split

_ORIGIN = (
    "unpack cars_train.tgz, cars_test.tgz and car_devkit.tgz there and put cars_test_annos_withlabels.mat beside them "
    "(published at https://ai.stanford.edu/~jkrause/cars/car_dataset.html; since that page is gone, in copies)"
)
_FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")


class Cars(Photographs):
    """Stanford Cars: 8,144 photographs to train on and 8,041 to test, of 196 models of cars.

    Attributes:
        boxes: float32 (n, 4), the left, top, right and bottom edge of the car in pixels, so that (0, 0) is the corner
            of the first pixel; the file counts pixels from 1, as Matlab does, and includes the last.
    """

    def __init__(self, data_dir: str | Path, split: str):
        """Reads the annotations; the pictures are read when asked for.

        Args:
            data_dir: The folder the archives were unpacked in, with cars_train/, cars_test/, devkit/ and
                cars_test_annos_withlabels.mat (which may lie in devkit/ too).
            split: "train" or "test", the official ones.

        Raises:
            ValueError: If `split` is another name, or a file of annotations is damaged or another.
            FileNotFoundError: If annotations or pictures are missing.
        """
        check_split(split, ("train", "test"))
        root = Path(data_dir)
        meta = _find(root, "devkit/cars_meta.mat")
        path = _find(root, "devkit/cars_train_annos.mat") if split == "train" else _find_test(root)
        classes = tuple(map(str, np.atleast_1d(_load(meta, "class_names"))))
        rows = np.atleast_1d(_load(path, "annotations"))
        if missing := [field for field in _FIELDS if field not in (rows.dtype.names or ())]:
            raise ValueError(f"The annotations in {path} have no field {missing[0]}: {_ORIGIN}.")
        labels = rows["class"].astype(np.int32) - 1
        super().__init__(root, [f"cars_{split}/{name}" for name in rows["fname"]], labels, classes, origin=_ORIGIN)
        left, top, right, bottom = (rows[field].astype(np.float32) for field in _FIELDS[:4])
        self.boxes = as_boxes(np.stack([left - 1, top - 1, right, bottom], axis=1), path, origin=_ORIGIN)


def _find(root: Path, name: str) -> Path:
    if not (root / name).is_file():
        raise FileNotFoundError(f"There is no {name} in {root}: {_ORIGIN}.")
    return root / name


def _find_test(root: Path) -> Path:
    # The devkit's own cars_test_annos.mat has no classes; some copies put the one that has them beside it.
    in_devkit = root / "devkit" / "cars_test_annos_withlabels.mat"
    return in_devkit if in_devkit.is_file() else _find(root, "cars_test_annos_withlabels.mat")


def _load(path: Path, variable: str) -> Any:
    # Here, because the import takes a third of a second, which only a user of the cars should bear.
    import scipy.io

    try:
        contents = scipy.io.loadmat(path, squeeze_me=True)
    except (ValueError, TypeError, OSError, NotImplementedError) as error:
        raise ValueError(f"{path} is not a whole Matlab file ({error}): {_ORIGIN}.") from error
    if variable not in contents:
        raise ValueError(f"{path} holds no variable {variable!r}: {_ORIGIN}.")
    return contents[variable]
