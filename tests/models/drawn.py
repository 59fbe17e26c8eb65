"""Weights and images drawn from seeds, so that no file holds them; shared with make_backbone_goldens.py."""

import zlib

import numpy as np

IMAGE_SHAPE = (2, 61, 46, 3)  # odd and even sides: they tell one padding from another


def image(shape=IMAGE_SHAPE):
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def weight(key, shape):
    """An array for PyTorch's `key`, of a size that keeps activations near 1 through the network."""
    rng, leaf = np.random.default_rng(zlib.crc32(key.encode())), key.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.array(7)
    if leaf == "running_var":
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if leaf == "weight" and len(shape) == 1:
        return rng.uniform(0.5, 1.0, shape).astype(np.float32)
    if leaf == "weight":
        return rng.standard_normal(shape, np.float32) * np.float32((2 / np.prod(shape[1:])) ** 0.5)
    return rng.standard_normal(shape, np.float32) * np.float32(0.1)


def weights(shapes):
    return {key: weight(key, tuple(shape)) for key, shape in shapes.items()}


def sample(name, feature, count=48):
    """`count` of a feature's values at places drawn from its name, then its mean and standard deviation."""
    places = np.random.default_rng(zlib.crc32(name.encode())).integers(0, feature.size, count)
    return np.append(feature.ravel()[places], [feature.mean(), feature.std()]).astype(np.float32)
