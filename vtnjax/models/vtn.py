"""A trunk, a warp of its last features, and a classifier: the networks of VTN's Table 1, and small ones."""

import itertools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vtnjax.models.pooling import max_pool


class WarpedFeatures(nnx.Module):
    """A network that warps the last features of its trunk before it classifies them (VTN sections 3.5 and 4.2).

    Calling it with images (n, h, w, c) returns `(logits, out)`: logits (n, classes), float32; `out["features"]`
    (n, h', w', k) as the trunk gives them, `out["warped"]` as the classifier takes them, and what the warp tells, such
    as `coords` in pixels of the feature map.
    """

    def __init__(
        self,
        backbone: Callable[[Array], dict[str, Array]],
        transformer: Callable[[Array], tuple[Array, dict[str, Array]]] | None,
        classifier: Callable[[Array], Array],
    ):
        """Put a network together.

        Args:
            backbone: a module from images to features by name, the last of which are warped.
            transformer: a module from features (n, h, w, k) to `(warped, out)`; None: no warp.
            classifier: a module from warped features to logits.
        """
        self.backbone, self.transformer, self.classifier = backbone, transformer, classifier

    def __call__(self, image: Float[Array, "n h w c"]) -> tuple[Float[Array, "n classes"], dict[str, Array]]:
        """Logits and what there is to see; see the class."""
        features = list(self.backbone(image).values())[-1]
        warped, out = (features, {}) if self.transformer is None else self.transformer(features)
        return self.classifier(warped).astype(jnp.float32), {"features": features, "warped": warped, **out}


class PooledClassifier(nnx.Module):
    """The mean over the positions and one linear layer."""

    def __init__(self, channels: int, classes: int, *, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        self.linear = nnx.Linear(channels, classes, dtype=dtype, rngs=rngs)

    def __call__(self, features: Float[Array, "n h w c"]) -> Float[Array, "n classes"]:
        """Logits."""
        return self.linear(features.mean((1, 2)))


class FlatClassifier(nnx.Module):
    """One linear layer on all positions, or a hidden layer of `width` units before it: it tells where something is."""

    def __init__(self, inputs: int, classes: int, *, width: int = 0, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(inputs, width, dtype=dtype, rngs=rngs) if width else None
        self.linear = nnx.Linear(width or inputs, classes, dtype=dtype, rngs=rngs)

    def __call__(self, features: Float[Array, "n h w c"]) -> Float[Array, "n classes"]:
        """Logits."""
        x = features.reshape(features.shape[0], -1)
        return self.linear(x if self.hidden is None else nnx.relu(self.hidden(x)))


class SmallTrunk(nnx.Module):
    """A 5 x 5 convolution of stride 2, a 3 x 3 one with 2 x 2 max pooling and a last 3 x 3 one, all with BatchNorm.

    With more than three widths there are more convolutions with pooling before the last one. Calling it with images
    (n, h, w, c) returns `{"conv1": ..., "conv2": ..., "conv3": ...}`, rectified, at 1/2, 1/4 and 1/4 of the image's
    size.
    """

    def __init__(self, inputs: int, widths: Sequence[int], *, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        sizes = list(itertools.pairwise((inputs, *widths)))
        options = {"use_bias": False, "dtype": dtype, "rngs": rngs}
        self.conv1 = nnx.Conv(*sizes[0], (5, 5), strides=2, **options)
        self.pooled = nnx.List([nnx.Conv(*size, (3, 3), **options) for size in sizes[1:-1]])
        self.last = nnx.Conv(*sizes[-1], (3, 3), **options)
        self.norms = nnx.List([nnx.BatchNorm(width, momentum=0.9, dtype=dtype, rngs=rngs) for width in widths])

    def __call__(self, image: Float[Array, "n h w c"]) -> dict[str, Float[Array, "n _h _w _c"]]:
        """The features by name; see the class."""
        features = {"conv1": nnx.relu(self.norms[0](self.conv1(image)))}
        x = features["conv1"]
        for number, conv in enumerate(self.pooled, 1):
            x = max_pool(nnx.relu(self.norms[number](conv(x))), 2)
            features[f"conv{number + 1}"] = x
        last = len(self.norms)
        return {**features, f"conv{last}": nnx.relu(self.norms[last - 1](self.last(x)))}


def features_shape(backbone: nnx.Module, shape: Sequence[int]) -> tuple[int, int, int]:
    """(h, w, k) of the last features that a trunk makes of an image of the given shape (h, w, c)."""
    graphdef, state = nnx.split(backbone)
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)

    def last(state, image):
        return list(nnx.merge(graphdef, state, copy=True)(image).values())[-1]

    _, h, w, channels = jax.eval_shape(last, state, image).shape
    return h, w, channels
