"""Descriptors of images of any size, which a retrieval compares."""

import functools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from vtnjax._checks import check_positive
from vtnjax.models import RetrievalNet, imagenet_input
from vtnjax.nn import GeM

_MULTIPLE = 64
_MOST_SHAPES = 24


def describe(
    network: RetrievalNet,
    images: Sequence[UInt8[np.ndarray, "_h _w 3"]],
    *,
    scales: Sequence[float] = (1.0,),
    prepare: Callable[[Array], Array] = imagenet_input,
    exact: bool = True,
    sizes: Collection[tuple[int, int]] | None = None,
) -> Float[np.ndarray, "images d"]:
    """Descriptors of length 1 of images of any size, by a network in evaluation mode.

    Images are padded to multiples of 64 pixels, to at most 24 shapes, and the trunk is compiled for each shape. It
    masks the padding (`padded` of the backbones), and only the features of the image itself are pooled, so a descriptor
    is that of the image alone. The pooling is compiled for each size of a feature map.

    A transformer looks at the whole map. With one, or with a trunk that has no `padded`, each image runs at its own
    size, and the network is compiled for each. `exact=False` lets a transformer read maps that are padded with zeros:
    fewer programs, and descriptors that are only near those of the images alone.

    At several scales an image is resized bilinearly without antialiasing, and the descriptors are joined by their
    generalised mean and brought to length 1, as in the reference code of Radenovic (2018). The mean's power is that of
    `nn.GeM` where the network pools by it and does not whiten, else 1.

    Args:
        network: it is left as it is.
        images: each (h, w, 3), uint8, red, green and blue.
        scales: factors of the images' sizes, such as (1, 2**-0.5, 0.5), which are the paper's.
        prepare: what the network takes, of images (n, h, w, 3) in [0, 1]; a pure function.
        exact: whether a descriptor is that of the image alone also where there is a transformer.
        sizes: (h, w) of all images that the network describes, where these are a part of them: then all parts share
            their 24 shapes.

    Returns:
        (images, d), float32.

    Raises:
        ValueError: if there is no image or no scale, an image is not (h, w, 3) of uint8 or at one of the scales too
            small for the trunk, a scale is not above 0 and finite, `sizes` lacks that of an image, or a transformer
            that reads padded maps gives maps of another size.
    """
    check_images(images, scales)
    network = nnx.merge(*nnx.split(network), copy=True)
    network.eval()
    graphdef, state = nnx.split(network)
    if hasattr(network.trunk, "padded") and (network.transformer is None or not exact):
        known = [image.shape[:2] for image in images] if sizes is None else sizes
        shapes = padded_shapes(_scaled(size, scale) for size in known for scale in scales)
        one = functools.partial(_padded_descriptor, graphdef, state, prepare, shapes)
    else:
        one = functools.partial(_own_descriptor, graphdef, state, prepare)
    power = float(network.pool.p[...]) if isinstance(network.pool, GeM) and network.whitening is None else 1.0
    found = [_joined([one(resized(image, scale)) for scale in scales], power) for image in images]
    return np.stack(found).astype(np.float32)


def padded_shapes(sizes: Iterable[tuple[int, int]]) -> dict[tuple[int, int], tuple[int, int]]:
    """For each size (h, w) the shape to which it is padded, multiples of 64, of which there are at most 24.

    Where there would be more, the 23 that are met most often stay, beside one that holds every image, and an image goes
    into the smallest that holds it.
    """
    rounded = [(size, (_rounded_up(size[0]), _rounded_up(size[1]))) for size in sizes]
    counts = Counter(shape for _, shape in rounded)
    if len(counts) <= _MOST_SHAPES:
        return dict(rounded)
    kept = [shape for shape, _ in counts.most_common(_MOST_SHAPES - 1)]
    kept.append((max(height for height, _ in counts), max(width for _, width in counts)))
    return {
        size: min((shape for shape in kept if shape[0] >= height and shape[1] >= width), key=math.prod)
        for size, (height, width) in rounded
    }


def resized(image: UInt8[np.ndarray, "h w 3"], scale: float) -> Float[np.ndarray, "h2 w2 3"]:
    """An image in [0, 1] at a factor of its size, rounded down, as PyTorch's bilinear `interpolate` has it."""
    found = image.astype(np.float32) / 255
    if scale == 1:
        return found
    for axis, side in enumerate(image.shape[:2]):
        places = np.clip((np.arange(int(side * scale)) + 0.5) / scale - 0.5, 0, side - 1)
        low = places.astype(np.int64)
        weight = (places - low).astype(np.float32).reshape(-1, *[1] * (2 - axis))
        found = found.take(low, axis) * (1 - weight) + found.take(np.minimum(low + 1, side - 1), axis) * weight
    return found


def _scaled(shape, scale):
    return int(shape[0] * scale), int(shape[1] * scale)


def _rounded_up(side):
    return -(-side // _MULTIPLE) * _MULTIPLE


def _own_descriptor(graphdef, state, prepare, image):
    return np.asarray(_described(graphdef, state, prepare, image[None]))[0]


def _padded_descriptor(graphdef, state, prepare, shapes, image):
    size = image.shape[:2]
    if size not in shapes:
        raise ValueError(f"sizes must be those of all images, but none becomes {size[0]} x {size[1]} pixels")
    around = [(0, padded - side) for padded, side in zip(shapes[size], size, strict=True)]
    padded = np.pad(image, [*around, (0, 0)])[None]
    maps, inside = map(np.asarray, _warped(graphdef, state, prepare, padded, np.asarray(size, np.int32)))
    rows, columns = (inside[0, ..., 0].any(axis).sum() for axis in (1, 0))
    if not rows or not columns:
        raise ValueError(
            f"images must be large enough for the trunk, but {size[0]} x {size[1]} pixels leave no feature"
        )
    return np.asarray(_pooled(graphdef, state, maps[:, :rows, :columns]))[0]


@functools.partial(jax.jit, static_argnums=(0, 2))
def _described(graphdef, state, prepare, image):
    return nnx.merge(graphdef, state, copy=True)(prepare(image))[0]


@functools.partial(jax.jit, static_argnums=(0, 2))
def _warped(graphdef, state, prepare, image, size):
    """The maps of a padded image that are pooled, and where the image is in them."""
    rows, columns = (jnp.arange(length) < side for length, side in zip(image.shape[1:3], size, strict=True))
    network = nnx.merge(graphdef, state, copy=True)
    features, inside = network.padded(prepare(image), (rows[:, None] & columns[None])[None, ..., None])
    warped, _ = network.warp(features)
    if warped.shape[:3] != features.shape[:3]:
        raise ValueError(
            f"exact must be True where the transformer makes maps of {warped.shape[1:3]} positions of "
            f"{features.shape[1:3]}"
        )
    return warped, inside


@functools.partial(jax.jit, static_argnums=0)
def _pooled(graphdef, state, warped):
    return nnx.merge(graphdef, state, copy=True).descriptors(warped)[0]


def _joined(vectors, power):
    """The generalised mean of one image's descriptors, of length 1."""
    if len(vectors) == 1:
        return vectors[0]
    mean = np.mean(np.asarray(vectors, np.float64) ** power, axis=0) ** (1 / power)
    return mean / (np.linalg.norm(mean) or 1)


def check_images(images: Sequence[UInt8[np.ndarray, "_h _w 3"]], scales: Sequence[float]) -> None:
    """Raise a ValueError unless there are images (h, w, 3) of uint8, and scales above 0."""
    if not len(images) or not len(scales):
        raise ValueError(f"images and scales must be at least one each, not {len(images)} and {len(scales)}")
    for scale in scales:
        check_positive("scales", scale)
    for number, image in enumerate(images):
        if image.ndim != 3 or image.shape[-1] != 3 or not image.size or image.dtype != np.uint8:
            raise ValueError(f"image {number} must be (h, w, 3) of uint8, not {image.shape} of {image.dtype}")
