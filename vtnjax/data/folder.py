"""A folder of pictures for each class."""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from vtnjax.data.decode import decode_image
from vtnjax.data.records import Record

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_LAYOUT = "the layout must be DATA_DIR/SPLIT/CLASS/IMAGE, such as birds/train/wren/1.jpg"


class Folder:
    """Pictures laid out as data_dir/split/CLASS/file; the classes are numbered in the order of their names.

    Attributes:
        classes: The names of the class folders, sorted.
        labels: int32 (n,), in the order of the records.
        skipped: The files left out because they do not decode, with on_error="skip".
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
            channels: 3 for RGB, 1 for grey.
            size: Resize every picture to this (height, width) in pixels, or to a square of this side, without keeping
                the proportions; None leaves each its own size.
            on_error: What to do with a file that is cut short or no picture: "raise" when it is read, or "skip":
                decode every file now, and leave the bad ones out with a warning in the log.

        Raises:
            ValueError: If an argument has another value than those above, there is no picture for a class, or the
                classes are not those of the train split.
            FileNotFoundError: If the folder of the split is missing.
        """
        if channels not in (1, 3):
            raise ValueError(f"channels is {channels}, but it must be 3 (RGB) or 1 (grey).")
        if on_error not in ("raise", "skip"):
            raise ValueError(f"on_error is {on_error!r}, but it must be 'raise' or 'skip'.")
        self._channels, self._size = channels, _as_shape(size)
        self._directory = _split_directory(Path(data_dir), split)
        self.classes = _class_names(self._directory)
        listed = [(path, label) for label, name in enumerate(self.classes) for path in _images(self._directory / name)]
        self.skipped = _undecodable([path for path, _ in listed]) if on_error == "skip" else ()
        bad = set(self.skipped)
        self._records = [(path, label) for path, label in listed if path not in bad]
        self._check_classes()
        self.labels = np.array([label for _, label in self._records], np.int32)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        path, label = self._records[index]
        try:
            image = decode_image(path.read_bytes(), channels=self._channels)
        except ValueError as error:
            raise ValueError(f"{path} cannot be read; remove it or use on_error='skip'. {error}") from error
        return {"image": _resize(image, self._size) if self._size else image, "label": label}

    def __repr__(self) -> str:
        return f"Folder({str(self._directory)!r}, records={len(self)}, channels={self._channels}, size={self._size})"

    def _check_classes(self) -> None:
        train = self._directory.parent / "train"
        # A class missing from one split would shift the labels of those after it, and nothing else would tell.
        if train.is_dir() and (other := set(_class_names(train)) ^ set(self.classes)):
            raise ValueError(
                f"{self._directory} and {train} must hold the same classes, but only one of them has "
                f"{', '.join(sorted(other))}."
            )
        without = sorted(set(range(len(self.classes))) - {label for _, label in self._records})
        if without:
            raise ValueError(
                f"There is no readable picture ({' '.join(sorted(_SUFFIXES))}) in {self._directory} for "
                f"{', '.join(self.classes[label] for label in without)}: remove the class or add pictures."
            )


def _as_shape(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    shape = (size, size) if isinstance(size, int) else tuple(size)
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"size is {size}, but it must be a number of pixels or (height, width), each at least 1.")
    return shape


def _split_directory(data_dir: Path, split: str) -> Path:
    if not data_dir.is_dir():
        raise FileNotFoundError(f"data_dir is {data_dir}, but there is no such folder: {_LAYOUT}.")
    if not (data_dir / split).is_dir():
        holds = ", ".join(_subfolders(data_dir)) or "no folder"
        raise FileNotFoundError(f"There is no folder {split!r} in {data_dir}, which holds {holds}: {_LAYOUT}.")
    return data_dir / split


def _subfolders(directory: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in directory.iterdir() if path.is_dir() and not path.name.startswith(".")))


def _class_names(directory: Path) -> tuple[str, ...]:
    names = _subfolders(directory)
    if not names:
        raise ValueError(f"There is no folder of a class in {directory}: {_LAYOUT}.")
    return names


def _images(directory: Path) -> list[Path]:
    # Hidden files are leftovers of other systems: macOS writes ._1.jpg beside 1.jpg.
    names = (path for path in directory.iterdir() if path.suffix.lower() in _SUFFIXES and not path.name.startswith("."))
    return sorted(names)


def _undecodable(paths: list[Path]) -> tuple[Path, ...]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        bad = tuple(path for path, fine in zip(paths, pool.map(_decodes, paths), strict=True) if not fine)
    if bad:
        names, logger = ", ".join(map(str, bad)), logging.getLogger(__name__)
        logger.warning("Skipped %d of %d files that do not decode: %s", len(bad), len(paths), names)
    return bad


def _decodes(path: Path) -> bool:
    try:
        decode_image(path.read_bytes())
    except ValueError:
        return False
    return True


def _resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    height, width, channels = image.shape
    shrinks = shape[0] <= height and shape[1] <= width
    resized = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    # OpenCV drops a single channel's axis.
    return resized.reshape(*shape, channels)
