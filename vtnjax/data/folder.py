"""A folder of pictures for each class."""

import logging
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from vtnjax._checks import check_choice
from vtnjax.data.decode import check_channels, is_picture
from vtnjax.data.records import Record
from vtnjax.data.unreadable import ON_ERROR, listed, read_picture, without_unreadable

_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".avif", ".jp2"}
_SUFFIXES |= {".pbm", ".pgm", ".ppm", ".pnm"}
_HEAD = 16  # bytes that tell a kind of picture
_logger = logging.getLogger(__name__)
_LAYOUT = "the layout must be DATA_DIR/SPLIT/CLASS/IMAGE, such as birds/train/wren/1.jpg"


class Folder:
    """Pictures laid out as data_dir/split/CLASS/file; the classes are numbered in the order of their names.

    Attributes:
        classes: The names of the class folders, sorted.
        labels: int32 (n,), in the order of the records.
        skipped: The files left out because they do not decode, with on_error="skip".
        left_out: The files and folders in the folders of the classes that are no pictures by their names, but for
            hidden ones.
    """

    def __init__(
        self,
        data_dir: str | Path,
        split: str,
        *,
        channels: int = 3,
        size: int | tuple[int, int] | None = None,
        on_error: Literal["raise", "skip"] = "raise",
    ):
        """Lists the pictures; they are read and decoded when asked for.

        Args:
            data_dir: The folder that holds the splits.
            split: The name of the split's folder, such as "train".
            channels: The number of channels, 3 for RGB or 1 for grey.
            size: The (height, width) in pixels to which every picture is resized, or the side of a square, without
                keeping the proportions; None leaves each its own size.
            on_error: "raise" raises when a file that is cut short or no picture is read; "skip" decodes every file now,
                and leaves the bad ones out with a warning in the log.

        Raises:
            ValueError: If an argument has another value than those above, there is no picture for a class, or the
                classes are not those of the train split.
            FileNotFoundError: If the folder of the split is missing.
        """
        check_channels(channels)
        check_choice("on_error", on_error, ON_ERROR)
        self._channels, self._size = channels, _as_shape(size)
        self._directory = _split_directory(Path(data_dir), split)
        self.classes = _class_names(self._directory)
        found = [_images(self._directory / name) for name in self.classes]
        self._records = [(path, label) for label, (images, _) in enumerate(found) for path in images]
        self.skipped, self.left_out = (), tuple(path for _, others in found for path in others)
        if self.left_out:
            _logger.info(
                "Left out %d of %d files and folders, which are no pictures by their names: %s",
                len(self.left_out),
                len(self.left_out) + len(self._records),
                listed(self.left_out),
            )
        self._check_classes()
        if on_error == "skip":
            kept, self.skipped = without_unreadable(self)
            self._records = [self._records[index] for index in kept]
            self._check_classes()
        self.labels = np.array([label for _, label in self._records], np.int32)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        path, label = self._records[index]
        image = read_picture(path, remedy="; remove it or use on_error='skip'", channels=self._channels)
        return {"image": resize(image, self._size) if self._size else image, "label": label}

    def path(self, index: int) -> Path:
        """The file of a record."""
        return self._records[index][0]

    def __repr__(self) -> str:
        return f"Folder({str(self._directory)!r}, records={len(self)}, channels={self._channels}, size={self._size})"

    def _check_classes(self) -> None:
        train = self._directory.parent / "train"
        # A class missing from one split would shift the labels of those after it, and nothing else would tell.
        if train.is_dir() and (other := set(_class_names(train)) ^ set(self.classes)):
            raise ValueError(
                f"{self._directory} and {train} must hold the same classes, but only one of them has "
                f"{', '.join(sorted(other))}"
            )
        without = sorted(set(range(len(self.classes))) - {label for _, label in self._records})
        if without:
            raise ValueError(
                f"{self._directory} must hold a readable picture ({' '.join(sorted(_SUFFIXES))}) of every class, but "
                f"has none of {', '.join(self.classes[label] for label in without)}: remove the class or add pictures"
            )


def _as_shape(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    shape = (size, size) if isinstance(size, int) else tuple(size)
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"size must be a number of pixels or (height, width), each at least 1, not {size}")
    return shape


def _split_directory(data_dir: Path, split: str) -> Path:
    if not data_dir.is_dir():
        raise FileNotFoundError(f"data_dir must be a folder, but there is none at {data_dir}: {_LAYOUT}")
    if not (data_dir / split).is_dir():
        holds = ", ".join(_subfolders(data_dir)) or "no folder"
        raise FileNotFoundError(f"split must be a folder of {data_dir}, which holds {holds}, not {split!r}: {_LAYOUT}")
    return data_dir / split


def _subfolders(directory: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in directory.iterdir() if path.is_dir() and not path.name.startswith(".")))


def _class_names(directory: Path) -> tuple[str, ...]:
    names = _subfolders(directory)
    if not names:
        raise ValueError(f"{directory} must hold a folder for each class, not none: {_LAYOUT}")
    return names


def _images(directory: Path) -> tuple[list[Path], list[Path]]:
    """The pictures of a class in the order of their names, and what else is there."""
    images, others = [], []
    # Hidden files are leftovers of other systems: macOS writes ._1.jpg beside 1.jpg.
    for path in sorted(path for path in directory.iterdir() if not path.name.startswith(".")):
        (images if is_named_picture(path) else others).append(path)
    return images, others


def is_named_picture(path: Path) -> bool:
    """Whether a path has the name of a picture, or none and holds one."""
    return path.suffix.lower() in _SUFFIXES or _is_unnamed(path)


def _is_unnamed(path: Path) -> bool:
    """Whether a file without a suffix holds a picture."""
    if path.suffix or not path.is_file():
        return False
    with path.open("rb") as file:
        return is_picture(file.read(_HEAD))


def resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """An image (h, w, c) at another (height, width): by means over areas where it shrinks, else bilinear."""
    height, width, channels = image.shape
    shrinks = shape[0] <= height and shape[1] <= width
    resized = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    # OpenCV drops a single channel's axis.
    return resized.reshape(*shape, channels)
