"""Spatial transformers of a few features on small images, and what the tests do with them."""

import jax
import jax.numpy as jnp
import loops
import numpy as np
from flax import nnx

from vtnjax.nn import SpatialTransformer

FEATURES = 5
SHAPE = (6, 7)
SMALL = (4, 9)


class Localiser(nnx.Module):
    """Any size of image or volume to features."""

    def __init__(self, channels, *, features=FEATURES, rngs):
        self.linear = nnx.Linear(channels, features, rngs=rngs)

    def __call__(self, image):
        return nnx.tanh(self.linear(image.mean(tuple(range(1, image.ndim - 1)))))


def affine_basis(shape):
    x, y = np.moveaxis(loops.affine_grid(np.eye(2, 3), shape), -1, 0)
    return np.stack([x, y, np.ones_like(x)]).astype(np.float32)


def make(warp, *, shape=None, **options):
    if warp == "linear":
        options.setdefault("basis", affine_basis(shape or SHAPE))
    rngs = nnx.Rngs(0)
    return SpatialTransformer(Localiser(3, rngs=rngs), FEATURES, warp=warp, shape=shape, rngs=rngs, **options)


def images(*sizes, count=2, channels=3, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, *(sizes or SHAPE), channels))
    return jnp.asarray(values, jnp.float32)


def tell(transformer, theta):
    """Make the transformer predict `theta` for every image."""
    transformer.head.bias[...] = jnp.asarray(theta, jnp.float32).ravel()


def stir(transformer, amount=0.2):
    """Make the transformer predict another theta for each image."""
    kernel = transformer.head.kernel
    kernel[...] = amount * jax.random.normal(jax.random.key(1), kernel.shape)


FLAT = ("translation", "attention", "affine", "projective", "tps", "linear")
