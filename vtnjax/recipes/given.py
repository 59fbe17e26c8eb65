"""Pictures as people give them to a trained run: files, arrays of many shapes, bytes or floats."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import jax.numpy as jnp
import numpy as np

from vtnjax.data.folder import resize
from vtnjax.data.unreadable import read_picture

_KINDS = "a path, an image (h, w, c) or (h, w), images (n, h, w, c), or a list of paths and images"
_SLACK = 1e-3  # what resampling and rounding may leave outside [0, 1]


def read_given(images: Any, shape: Sequence[int]) -> list[np.ndarray]:
    """The images that were given, one array for each.

    Args:
        images: a path, an array of NumPy or JAX of one image (h, w, c), a grey one (h, w), or several (n, h, w, c), or
            a sequence of paths and single images; uint8, or floating in [0, 1].
        shape: the shape (h, w, c), or (d, h, w, c), of an image that the network reads; a volume must have it.

    Returns:
        uint8 or float32 images (h, w, c), each of its own size, with the channels of the network, or (d, h, w, c).

    Raises:
        ValueError: if there is no image, a file cannot be read, or an array is of another kind.
    """
    found = [_as_image(each, tuple(shape)) for each in _each(images, tuple(shape))]
    if not found:
        raise ValueError(f"images must be {_KINDS}, and not empty")
    return found


def fit(image: np.ndarray, source: Sequence[int], canvas: Sequence[int]) -> np.ndarray:
    """An image at the size of a source's images, in the middle of a black canvas where that is another size.

    Args:
        image: (h, w, c); with the canvas's size it stays as it is.
        source: the shape (h', w', c) of the images of the source.
        canvas: the shape (h'', w'', c) to return.
    """
    if image.shape == tuple(canvas):
        return image
    rows, columns = (int(size) for size in source[:2])
    image = resize(image, (rows, columns)) if image.shape[:2] != (rows, columns) else image
    for axis, size in enumerate(canvas[:2]):
        room = size - image.shape[axis]
        if room < 0:
            image = np.take(image, range(-room // 2, -room // 2 + size), axis)
        else:
            margins = [(room // 2, room - room // 2) if each == axis else (0, 0) for each in range(image.ndim)]
            image = np.pad(image, margins)
    return image


def as_bytes(image: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] as uint8; uint8 as it is."""
    return image if image.dtype == np.uint8 else np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def stacked(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images of one shape in one array: uint8 if all are, else float32 in [0, 1]."""
    if all(image.dtype == np.uint8 for image in images):
        return np.stack(images)
    return np.stack([image / np.float32(255) if image.dtype == np.uint8 else image for image in images])


def _each(images: Any, shape: tuple[int, ...]) -> Iterator[Any]:
    """The single images that were given, as they are."""
    if isinstance(images, (str, os.PathLike)):
        yield images
    elif isinstance(images, Sequence):
        yield from images
    elif not hasattr(images, "ndim"):
        raise ValueError(f"images must be {_KINDS}, not {type(images).__name__}")
    elif images.ndim in (2, 3) or images.shape == shape:
        yield images
    elif images.ndim == len(shape) + 1:
        yield from np.asarray(images)
    else:
        raise ValueError(f"images must be {_KINDS}, not an array of shape {images.shape}")


def _as_image(given: Any, shape: tuple[int, ...]) -> np.ndarray:
    """One image with the network's channels; `shape` is of what the network reads."""
    channels = shape[-1]
    if isinstance(given, (str, os.PathLike)):
        image = read_picture(Path(given).expanduser(), remedy="", channels=1 if channels == 1 else 3)
    else:
        image = np.asarray(given)
        image = image[..., None] if image.ndim == 2 else image
        if 0 in image.shape or (image.ndim != 3 and image.shape != shape):
            raise ValueError(f"images must be {_KINDS}, not an array of shape {np.shape(given)} among them")
    return _with_channels(_checked(image), channels)


def _checked(image: np.ndarray) -> np.ndarray:
    """uint8 as it is, and what is floating as float32 in [0, 1]."""
    if image.dtype == np.uint8:
        return image
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(f"images must be uint8 in 0..255 or floating point in [0, 1], not {image.dtype}")
    image = image.astype(np.float32)
    low, high = image.min(), image.max()
    if not (low >= -_SLACK and high <= 1 + _SLACK):  # of a NaN neither holds
        raise ValueError(f"floating point images must be in [0, 1], not from {low:g} to {high:g}")
    return image


def _with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Grey as colours, colours as grey, and without the opacity of a picture."""
    given = image.shape[-1]
    if given == channels:
        return image
    if given in (3, 4) and channels == 3:
        return image[..., :3]
    if given == 1 and channels == 3:
        return image.repeat(3, -1)
    if given in (3, 4) and channels == 1:
        return cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_RGB2GRAY)[..., None]
    raise ValueError(f"images must have {channels} channels, not {given}, of the shape {image.shape}")
