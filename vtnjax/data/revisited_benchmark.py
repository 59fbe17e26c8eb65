"""The images of the revisited Oxford and Paris benchmarks, in the layout as downloaded."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from vtnjax._checks import check_at_least_1, check_choice
from vtnjax.data.lists import check_files, lacking
from vtnjax.data.revisited import read_revisited
from vtnjax.data.unreadable import read_picture

REVISITED = ("roxford5k", "rparis6k")
IMAGES = "jpg"
_ORIGIN = (
    "put gnd_{}.pkl of github.com/filipradenovic/revisitop there, and the images of the Oxford or Paris Buildings into "
    f"its folder {IMAGES}"
)
_TURNED = 5  # from this EXIF orientation on rows and columns change places
Box = tuple[int, int, int, int]


class RevisitedBenchmark:
    """ROxford5k or RParis6k (Radenovic 2018): images reduced to a longest side, queries cropped to their boxes.

    As in the reference code images are reduced by Lanczos with their proportions kept, and never enlarged. A query is
    cropped first and then reduced as its whole image would have been: its longer side becomes at most
    `size * max(crop) / max(image)`. Unlike there a JPEG's EXIF orientation is applied.

    Attributes:
        database: The images that are searched.
        queries: The images of what is searched for, cropped.
        ground_truth: See `Revisited`.
        names: The names of the images of the database, without a suffix.
    """

    def __init__(self, data_dir: str | Path, name: str, *, size: int = 1024):
        """Reads the ground truth and the sizes of all images, which are decoded when they are asked for.

        Args:
            data_dir: The folder that holds `gnd_NAME.pkl` and `jpg/`.
            name: "roxford5k" or "rparis6k".
            size: The longest side of a whole image in pixels.

        Raises:
            ValueError: If an argument has another value than those above, the pickle says other things than the
                published one, an image is empty or cannot be read, or a query's box is not inside its image.
            FileNotFoundError: If the pickle or an image is missing.
        """
        check_choice("name", name, REVISITED)
        check_at_least_1("size", size)
        root, origin = Path(data_dir), _ORIGIN.format(name)
        pickled = root / f"gnd_{name}.pkl"
        if not pickled.is_file():
            raise lacking(root, pickled.name, origin)
        found = read_revisited(pickled)
        check_files(root, [f"{IMAGES}/{each}.jpg" for each in (*found.images, *found.queries)], origin=origin)
        self.names, self.ground_truth = found.images, found.ground_truth
        self.database = Reduced([root / IMAGES / f"{each}.jpg" for each in found.images], size, origin=origin)
        paths = [root / IMAGES / f"{each}.jpg" for each in found.queries]
        boxes = [truth["bbx"] for truth in found.ground_truth]
        self.queries = Reduced(paths, size, boxes=boxes, origin=origin)
        self._shown = f"RevisitedBenchmark({str(root)!r}, {name!r}, size={size})"

    def __repr__(self) -> str:
        return self._shown


class Reduced:
    """Picture files, cropped where wanted and reduced.

    Attributes:
        sizes: (height, width) of each image in pixels.
    """

    def __init__(self, paths: Sequence[Path], size: int, *, boxes: Sequence[Any] | None = None, origin: str):
        """Reads the sizes.

        Args:
            paths: The files.
            size: The longest side of a whole image in pixels.
            boxes: For each file the left, top, right and bottom of its crop in pixels; None: no crops.
            origin: The end of an error's sentence: where the files come from.

        Raises:
            ValueError: If a file cannot be read or a box is not inside its image.
        """
        self._paths, self._remedy = list(paths), f": {origin}"
        whole = [picture_size(path, remedy=self._remedy) for path in paths]
        given = boxes or [(0, 0, width, height) for height, width in whole]
        self._boxes = [box_inside(*each) for each in zip(given, whole, paths, strict=True)]
        self.sizes = tuple(
            reduced_size((bottom - top, right - left), max(bottom - top, right - left) * size // max(each))
            for each, (left, top, right, bottom) in zip(whole, self._boxes, strict=True)
        )

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> np.ndarray:
        left, top, right, bottom = self._boxes[index]
        image = read_picture(self._paths[index], remedy=self._remedy)[top:bottom, left:right]
        height, width = self.sizes[index]
        if image.shape[:2] == (height, width):
            return np.ascontiguousarray(image)
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def reduced_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """(height, width) once neither is longer than `longest`, at least 1, as Pillow's `thumbnail` rounds it."""
    height, width = size
    longest = max(1, longest)
    if longest >= max(size):
        return size
    exact, aspect = longest * min(size) / max(size), width / height

    def distance(side: int) -> float:
        return abs(aspect - (longest / side if width > height else side / longest)) if side else 0.0

    # Of the whole numbers around it Pillow takes the one whose proportions are nearest to the image's.
    near = max(1, min(math.floor(exact), math.ceil(exact), key=distance))
    return (near, longest) if width > height else (longest, near)


def picture_size(path: Path, *, remedy: str) -> tuple[int, int]:
    """(height, width) of a picture file as a person sees it, by its header.

    Raises:
        ValueError: If the file is empty or no picture.
    """
    try:
        with Image.open(path) as picture:
            width, height = picture.size
            turned = picture.getexif().get(ExifTags.Base.Orientation, 1) >= _TURNED
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "the file is empty" if path.is_file() and not path.stat().st_size else error
        raise ValueError(f"{path} cannot be read ({reason}){remedy}") from error
    return (width, height) if turned else (height, width)


def box_inside(box: Sequence[Any], size: tuple[int, int], path: Path) -> Box:
    """A box (left, top, right, bottom) in whole pixels, rounded as Pillow's `crop` does.

    What leaves the image by less than a pixel and a half, as where the last pixel is counted from 1, is cut off.

    Raises:
        ValueError: If it leaves the image by more, or has no area.
    """
    height, width = size
    try:
        rounded = [round(float(edge)) for edge in box]
    except (TypeError, ValueError, OverflowError):
        rounded = [0] * 4
    left, top, right, bottom = rounded
    if min(left, top) < -1 or right > width + 1 or bottom > height + 1 or left >= right or top >= bottom:
        raise ValueError(
            f"the box of query {path.stem} (left, top, right, bottom) must have an area and be inside its image of "
            f"{width} x {height} pixels, not {list(box)}"
        )
    return max(left, 0), max(top, 0), min(right, width), min(bottom, height)
