"""Local features of images of any size, which a search compares one by one."""

import functools
from collections.abc import Callable, Collection, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from vtnjax import ops
from vtnjax._checks import check_at_least_1
from vtnjax.evaluate.describe import check_images, padded_shapes, resized
from vtnjax.models import DELF, imagenet_input
from vtnjax.retrieval import LocalFeatures

# Of the reference code, from a quarter to twice the size.
SCALES = tuple(2 ** (step / 2) for step in range(-4, 3))
_SMALLEST = 10  # pixels of the shorter side


def local_features(
    network: DELF,
    images: Sequence[UInt8[np.ndarray, "_h _w 3"]],
    *,
    scales: Sequence[float] = SCALES,
    most: int = 1000,
    threshold: float = 0.0,
    project: Callable[[Float[np.ndarray, "n k"]], Float[np.ndarray, "n d"]] | None = None,
    prepare: Callable[[Array], Array] = imagenet_input,
    sizes: Collection[tuple[int, int]] | None = None,
) -> Iterator[LocalFeatures]:
    """The local features of images of any size, one image after the other, by a network in evaluation mode.

    Each cell of the network's warped features is one: its descriptor is the feature at length 1, and its score the
    attention; of a network that has learned no attention yet, the feature's length, as HOW takes it (Tolias 2020). The
    best of all scales are kept.

    Its keypoint is the middle of the cell's receptive field, in pixels of the image as it was given. A transformer
    reads a cell elsewhere, each group of channels at a place of its own: then the keypoint is the middle of the field
    at the mean of these places. (The reference code counts from corners of pixels, in a network of another stride.)

    Images are padded as `evaluate.describe` pads them, and the features are those of the image alone: the trunk masks
    the padding, and a transformer reads the map cut to the image's size, for each of which it is compiled. An image is
    resized bilinearly without antialiasing, its size rounded down. One of fewer than 10 pixels on a side gives nothing.

    Args:
        network: it is left as it is.
        images: each (h, w, 3), uint8, red, green and blue.
        scales: factors of the images' sizes; the default has seven, from 1/4 to 2.
        most: how many features of an image are kept.
        threshold: features of a lower score are not. The reference's 100 belongs to its published weights.
        project: what makes the descriptors of an image shorter, such as `principal_components(...).apply`; without it
            those of thousands of images fill the memory.
        prepare: what the network takes, of images (n, h, w, 3) in [0, 1]; a pure function.
        sizes: (h, w) of all images that the network reads, where these are a part of them: then all parts share their
            24 shapes.

    Returns:
        An iterator over `retrieval.LocalFeatures`, float32, one for each image.

    Raises:
        ValueError: if there is no image or no scale, an image is not (h, w, 3) of uint8, a scale is not above 0 and
            finite, `most` is not at least 1, the trunk is no backbone, or the transformer does not tell where it reads.
    """
    check_images(images, scales)
    check_at_least_1("most", most)
    check_trunk(network)
    network = nnx.merge(*nnx.split(network), copy=True)
    network.eval()
    known = [image.shape[:2] for image in images] if sizes is None else sizes
    shapes = padded_shapes(_scaled(size, scale) for size in known for scale in _useful(size, scales))
    warps = network.transformer is not None
    read = functools.partial(_read, *nnx.split(network), prepare, shapes, warps)
    all_of = functools.partial(_at_scales, read, network, scales)

    def found(image):
        best = all_of(image).best(most, threshold=threshold)
        return best if project is None else best._replace(descriptors=project(best.descriptors))

    return map(found, images)


def check_trunk(network: DELF) -> None:
    """Raise a ValueError unless a network's trunk tells where its cells lie."""
    if not hasattr(network.backbone, "cells"):
        raise ValueError(
            "the network's trunk must be a backbone, which tells where its cells lie, not "
            f"{type(network.backbone).__name__}"
        )


def _at_scales(read, network, scales, image):
    """All there is in an image."""
    cells, channels = (each[network.layer] for each in (network.backbone.cells, network.backbone.channels))
    parts = [_nothing(channels)]
    for scale in _useful(image.shape[:2], scales):
        warped, scores, coords = read(resized(image, scale))
        parts.append(_at_scale(warped, scores, coords, cells, scale))
    return LocalFeatures(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _useful(size, scales):
    """The scales at which anything of an image is left."""
    return [scale for scale in scales if min(size) >= _SMALLEST and min(_scaled(size, scale))]


def _scaled(size, scale):
    return int(size[0] * scale), int(size[1] * scale)


def _nothing(channels):
    return LocalFeatures(*(np.zeros(shape, np.float32) for shape in ((0, 2), (0, channels), 0, 0)))


def _at_scale(warped, scores, coords, cells, scale):
    """What there is in an image at a scale; cells of nothing but zeros have no direction, and are left out."""
    vectors = warped.reshape(-1, warped.shape[-1])
    lengths = np.linalg.norm(vectors, axis=1)
    some = lengths > 0
    places = cells.stride * coords.reshape(-1, 2) + cells.first
    # Both images have the middle of their first pixel at 0, and the same edges.
    keypoints = (places + 0.5) / scale - 0.5
    scales = np.full(len(vectors), scale, np.float32)
    found = LocalFeatures(keypoints, vectors / np.where(some, lengths, 1)[:, None], scores.ravel(), scales)
    return LocalFeatures(*(each[some] for each in found))


def _read(graphdef, state, prepare, shapes, warps, image):
    """The warped features (h, w, k) of an image, their scores (h, w), and where in the map they were read (h, w, 2)."""
    size = image.shape[:2]
    if size not in shapes:
        raise ValueError(f"sizes must be those of all images, but none becomes {size[0]} x {size[1]} pixels")
    around = [(0, padded - side) for padded, side in zip(shapes[size], size, strict=True)]
    padded = np.pad(image, [*around, (0, 0)])[None]
    features, scores, coords, inside = map(
        np.asarray, _padded(graphdef, state, prepare, padded, np.asarray(size, np.int32))
    )
    rows, columns = (inside[0, ..., 0].any(axis).sum() for axis in (1, 0))
    found = [each[:, :rows, :columns] for each in (features, scores, coords)]
    if warps and found[0].size:
        found = map(np.asarray, _warped(graphdef, state, found[0]))
    warped, scores, coords = (each[0].astype(np.float32) for each in found)
    return warped, scores, coords


@functools.partial(jax.jit, static_argnums=(0, 2))
def _padded(graphdef, state, prepare, image, size):
    """What `_read` tells of a padded image, before any transformer, and where in the map the image is."""
    rows, columns = (jnp.arange(length) < side for length, side in zip(image.shape[1:3], size, strict=True))
    network = nnx.merge(graphdef, state, copy=True)
    features, inside = network.padded(prepare(image), (rows[:, None] & columns[None])[None, ..., None])
    coords = jnp.broadcast_to(ops.identity_coords(features.shape[1:3]), (*features.shape[:3], 2))
    scores = network.scores(features) if network.transformer is None else features[..., 0]
    return features, scores, coords, inside


@functools.partial(jax.jit, static_argnums=0)
def _warped(graphdef, state, features):
    """What `_read` tells of the features of an image."""
    network = nnx.merge(graphdef, state, copy=True)
    warped, out = network.warp(features)
    if "coords" not in out:
        name = type(network.transformer).__name__
        raise ValueError(f"the network's transformer must tell where it reads, by 'coords', which {name} does not")
    coords = out["coords"]
    return warped, network.scores(warped), coords.mean(3) if coords.ndim == 5 else coords
