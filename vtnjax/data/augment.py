"""Photographs to training crops, by one warp each, and to test crops."""

from collections.abc import Callable
from typing import Any, cast

import cv2
import numpy as np

from vtnjax._checks import check_at_least_0
from vtnjax.data.pipeline import Augment
from vtnjax.data.records import Record

_COVERED = 128  # of 255: half of a pixel
_GREY = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
# The covariance of ImageNet's RGB in 0..255 (Krizhevsky et al. 2012, 4.1) has the squares of these as its eigenvalues,
# and these columns as its eigenvectors.
_PCA_SCALES = np.array([55.46, 4.794, 1.148])
_PCA_VECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


def photo_augment(
    *,
    size: int = 512,
    crop: int = 448,
    keep_aspect: bool = False,
    rotation: float = 15.0,
    flip: bool = True,
    colour: float = 0.0,
    pca_noise: float = 0.0,
    square: bool = False,
    smallest: float = 1.0,
) -> Augment:
    """An augmentation of photographs: resized, turned about the middle, cropped and mirrored at random, then coloured.

    The defaults are VTN's (section 3.5: 512 x 512 to 448 x 448, mirrored and turned). The reference implementation of
    TASN has `size=512, crop=512, keep_aspect=True, rotation=30.0, colour=0.4, pca_noise=0.1`. Pixels
    that a turn brings in from outside the picture are its mirror image at the border; neither paper speaks of them.

    Args:
        size: The length in pixels of both sides after resizing; with `keep_aspect` of the shorter side.
        crop: The side in pixels of the square crop, which lies anywhere with equal probability.
        keep_aspect: True keeps the proportions of the picture.
        rotation: The largest angle in degrees, uniform in both directions.
        flip: True mirrors half of the pictures.
        colour: The largest change of brightness, contrast and saturation, each multiplied by a factor uniform in
            1 +- `colour`.
        pca_noise: The standard deviation of the noise added along the principal axes of ImageNet's colours, as a
            multiple of the deviation of these colours (Krizhevsky et al. 2012, 4.1).
        square: True reads the central square of the picture alone.
        smallest: The picture is seen about the middle of the crop at a factor uniform from this to 1, so that a crop
            shows more of it; what lies outside it is its mirror image, as with a turn.

    Returns:
        A function for `train_batches`, of records with uint8 images (h, w, c), and c = 3 for the last two options.

    Raises:
        ValueError: If `crop` is below 1 or above `size`, `rotation` or `pca_noise` is negative, `colour` is not in
            [0, 1] or `smallest` not above 0 and at most 1; from the function, if an image is of another kind.
    """
    _check_sizes(size, crop)
    _check_draws(rotation, pca_noise, colour, smallest)

    def augment(record: Record, rng: np.random.Generator) -> Record:
        image = record["image"]
        _check_image(image, coloured=colour > 0 or pca_noise > 0)
        image = _central(image) if square else image
        shape = _resized_shape(image.shape, size, keep_aspect)
        corner = rng.integers(0, (shape[1] - crop + 1, shape[0] - crop + 1))
        degrees, mirrored = rng.uniform(-rotation, rotation), flip and rng.random() < 0.5
        factor = rng.uniform(smallest, 1) if smallest < 1 else 1.0
        shape, corner = _seen_at(factor, shape, corner, crop)
        image = shrink(image, shape)
        image = _warp(image, _crop_matrix(image.shape, shape, crop, corner, degrees, mirrored), crop)
        if colour or pca_noise:
            image = cv2.transform(image, _colour_matrix(image, colour, pca_noise, rng))
        return {**record, "image": image}

    return augment


def photo_test(*, size: int = 512, crop: int = 448, keep_aspect: bool = False) -> Callable[[Record], Record]:
    """The resizing and central crop that go with `photo_augment`.

    Args:
        size: The length in pixels of both sides after resizing; with `keep_aspect` of the shorter side.
        crop: The side in pixels of the square crop.
        keep_aspect: True keeps the proportions of the picture.

    Returns:
        A function for `Mapped`, of records with uint8 images (h, w, c). A record's `box` and `mask` follow the image;
        the box of an object that the crop leaves out has no area.

    Raises:
        ValueError: If `crop` is below 1 or above `size`; from the function, if an image is of another kind.
    """
    _check_sizes(size, crop)

    def prepare(record: Record) -> Record:
        image = record["image"]
        _check_image(image, coloured=False)
        height, width = _resized_shape(image.shape, size, keep_aspect)
        top, left = (height - crop) // 2, (width - crop) // 2

        def central(pixels: np.ndarray) -> np.ndarray:
            resized = cv2.resize(shrink(pixels, (height, width)), (width, height), interpolation=cv2.INTER_LINEAR)
            # OpenCV drops a single channel's axis.
            return resized.reshape(height, width, -1)[top : top + crop, left : left + crop]

        prepared: dict[str, Any] = {**record, "image": central(image)}
        if "box" in prepared:
            scale = np.array([width / image.shape[1], height / image.shape[0]] * 2)
            box = prepared["box"] * scale - [left, top, left, top]
            prepared["box"] = np.clip(box, 0, crop).astype(np.float32)
        if "mask" in prepared:
            prepared["mask"] = central(prepared["mask"][..., None] * np.uint8(255))[..., 0] >= _COVERED
        return cast(Record, prepared)

    return prepare


def _check_sizes(size: int, crop: int) -> None:
    if not 1 <= crop <= size:
        raise ValueError(f"crop must be from 1 to size, {size}, not {crop}")


def _check_image(image: np.ndarray, *, coloured: bool) -> None:
    channels = (3,) if coloured else (1, 3)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in channels:
        raise ValueError(
            f"image must be uint8 (h, w, c) with c = {' or '.join(map(str, channels))}, not {image.dtype} of shape "
            f"{image.shape}"
        )


def _resized_shape(shape: tuple[int, ...], size: int, keep_aspect: bool) -> tuple[int, int]:
    if not keep_aspect:
        return size, size
    height, width = shape[:2]
    shorter = min(height, width)
    return round(height * size / shorter), round(width * size / shorter)


def _check_draws(rotation: float, pca_noise: float, colour: float, smallest: float) -> None:
    for name, value in (("rotation", rotation), ("pca_noise", pca_noise)):
        check_at_least_0(name, value)
    if not 0 <= colour <= 1:
        raise ValueError(f"colour must be from 0 to 1, not {colour}")
    if not 0 < smallest <= 1:
        raise ValueError(f"smallest must be above 0 and at most 1, not {smallest}")


def _central(image: np.ndarray) -> np.ndarray:
    """The central square of an image."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    return image[top : top + side, left : left + side]


def _seen_at(
    factor: float, shape: tuple[int, int], corner: np.ndarray, crop: int
) -> tuple[tuple[int, int], np.ndarray]:
    """The shape of a picture made smaller, and the corner (x, y) of the crop that has the same middle."""
    if factor == 1:
        return shape, corner
    height, width = (max(1, round(factor * side)) for side in shape)
    ratio = np.array([width / shape[1], height / shape[0]])
    return (height, width), (corner + crop / 2) * ratio - crop / 2


def shrink(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The image made smaller, by means over areas, along each axis that is longer than `shape`.

    Bilinear taps alone would skip pixels: fine patterns turn into false coarse ones.
    """
    height, width = min(image.shape[0], shape[0]), min(image.shape[1], shape[1])
    # Halving is ten times as fast as another ratio.
    while image.shape[0] >= 2 * height and image.shape[1] >= 2 * width:
        half = (image.shape[0] // 2, image.shape[1] // 2)
        image = _resize_by_area(image[: 2 * half[0], : 2 * half[1]], half)
    return image if image.shape[:2] == (height, width) else _resize_by_area(image, (height, width))


def _resize_by_area(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    # OpenCV drops a single channel's axis.
    return cv2.resize(image, shape[::-1], interpolation=cv2.INTER_AREA).reshape(*shape, image.shape[2])


def _crop_matrix(
    source: tuple[int, ...], shape: tuple[int, int], crop: int, corner: np.ndarray, degrees: float, mirrored: bool
) -> np.ndarray:
    """The matrix (2, 3) from a pixel (x, y) of the crop to the source, through the resized picture of `shape`.

    All steps in one matrix: the source is read once, and blurred once.
    """
    mirror = np.array([[-1.0, 0, crop], [0, 1, 0]]) if mirrored else np.eye(2, 3)
    turn = cv2.getRotationMatrix2D((0, 0), degrees, 1)[:, :2]
    middle = np.array([shape[1], shape[0]]) / 2
    scale = np.diag([source[1] / shape[1], source[0] / shape[0]])
    matrix = scale @ turn @ mirror[:, :2]
    # Edges of pixels lie at whole numbers here, centres at halves; OpenCV has the centres at whole numbers.
    offset = scale @ (turn @ (mirror[:, 2] + corner - middle) + middle) + matrix @ [0.5, 0.5] - 0.5
    return np.column_stack([matrix, offset])


def _warp(image: np.ndarray, matrix: np.ndarray, crop: int) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    # OpenCV warps four channels twice as fast as three, with the same values.
    source = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA) if image.shape[2] == 3 else image
    warped = cv2.warpAffine(source, matrix, (crop, crop), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB) if image.shape[2] == 3 else warped[..., None]


def _colour_matrix(image: np.ndarray, colour: float, pca_noise: float, rng: np.random.Generator) -> np.ndarray:
    """The change of colours as (3, 4): a matrix and what is added.

    Brightness, contrast (about the picture's mean grey) and saturation (about each pixel's grey) are linear and, but
    for clipping in between, commute; so they are one step, whose order does not matter.
    """
    brightness, contrast, saturation = rng.uniform(1 - colour, 1 + colour, 3)
    noise = _PCA_VECTORS @ (_PCA_SCALES * rng.normal(0, pca_noise, 3))
    matrix = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * _GREY)
    mean = _GREY @ cv2.mean(image)[:3]
    return np.column_stack([matrix, brightness * (1 - contrast) * mean + noise])
