"""MNIST's own files."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from vtnjax._checks import check_choice
from vtnjax.data.lists import lacking
from vtnjax.data.records import Arrays

_PREFIX = {"train": "train", "test": "t10k"}
_PUBLISHED = (
    "MNIST's files are published at https://ossci-datasets.s3.amazonaws.com/mnist/, Fashion-MNIST's at "
    "https://github.com/zalandoresearch/fashion-mnist"
)


class Idx(Arrays):
    """MNIST, Fashion-MNIST or another set of ten classes in MNIST's format, as downloaded, gzipped or not."""

    def __init__(self, data_dir: str | Path, split: str):
        """Reads the two files of a split into memory.

        Args:
            data_dir: The folder with train-images-idx3-ubyte[.gz], train-labels-idx1-ubyte[.gz] and their t10k- twins;
                the spelling train-images.idx3-ubyte is read too.
            split: "train" or "test" (the files named t10k).

        Raises:
            ValueError: If `split` is another name, a file is damaged or of another format, the images and labels differ
                in number, or a label is not from 0 to 9.
            FileNotFoundError: If a file is missing.
        """
        check_choice("split", split, tuple(_PREFIX))
        self._data_dir, self._split = Path(data_dir), split
        image_path = _find(self._data_dir, f"{_PREFIX[split]}-images", "idx3-ubyte")
        label_path = _find(self._data_dir, f"{_PREFIX[split]}-labels", "idx1-ubyte")
        images, labels = _read(image_path, axes=3), _read(label_path, axes=1)
        if len(images) != len(labels):
            raise ValueError(
                f"{image_path} and {label_path} must hold as many images as labels, not {len(images)} and "
                f"{len(labels)}: download both again ({_PUBLISHED})"
            )
        super().__init__(images[..., None], labels, tuple("0123456789"))

    def __repr__(self) -> str:
        return f"Idx({str(self._data_dir)!r}, {self._split!r})"


def _find(data_dir: Path, stem: str, kind: str) -> Path:
    for name in (f"{stem}-{kind}", f"{stem}.{kind}"):
        for path in (data_dir / name, data_dir / f"{name}.gz"):
            if path.is_file():
                return path
    raise lacking(data_dir, f"{stem}-{kind} or {stem}-{kind}.gz", f"put it there ({_PUBLISHED})")


def _read(path: Path, *, axes: int) -> np.ndarray:
    """Reads a file of unsigned bytes: two zeros, the type 8, the number of axes, each axis' size, then the values."""
    data = _contents(path)
    magic = bytes([0, 0, 8, axes])
    if data[:4] != magic:
        raise ValueError(
            f"{path} must start with the bytes {magic.hex(' ')} of an idx file of {axes} axes, not "
            f"{data[:4].hex(' ')}: download it again ({_PUBLISHED})"
        )
    header = 4 + 4 * axes
    shape = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(4, header, 4))
    expected = header + int(np.prod(shape, dtype=np.int64))
    if len(data) != expected:
        raise ValueError(
            f"{path} must hold {expected} bytes, as its header with the shape {shape} says, not {len(data)}: download "
            f"it again ({_PUBLISHED})"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _contents(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        return gzip.decompress(path.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(
            f"{path} must be a whole gzip file, but cannot be read ({error}): download it again ({_PUBLISHED})"
        ) from error
