"""What several networks are made of: classifiers, heads, localisers, a small trunk, and what counts and measures it."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from vtnjax import ops
from vtnjax._arrays import by_rows
from vtnjax.models.pooling import max_pool

# The networks of the STN paper's digits, and how many parameters each has, about (4.1).
MODELS = ("fcn", "cnn", "st_fcn", "st_cnn")
PARAMETERS = 400_000


# ---- The classifiers of the STN paper (A.4), and the widths with which they have so many parameters


class FCN(nnx.Module):
    """Two hidden fully connected layers and a linear classifier, with rectified linear units."""

    def __init__(self, inputs: int, width: int, classes: int, *, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        self.hidden = nnx.List(
            [nnx.Linear(inputs, width, dtype=dtype, rngs=rngs), nnx.Linear(width, width, dtype=dtype, rngs=rngs)]
        )
        self.classifier = nnx.Linear(width, classes, dtype=dtype, rngs=rngs)

    def __call__(self, image: Float[Array, "n h w c"]) -> tuple[Float[Array, "n classes"], dict[str, Array]]:
        """Logits, and `features` (n, width) of the last hidden layer."""
        x = image.reshape(image.shape[0], -1)
        for layer in self.hidden:
            x = nnx.relu(layer(x))
        return self.classifier(x), {"features": x}


class CNN(nnx.Module):
    """Convolutions 9 x 9 and 7 x 7 without padding, each with 2 x 2 max pooling, and a linear classifier.

    The pooling keeps the last odd row and column (ceil mode): A.4's ST-CNN for RTS pools 42 pixels to 21 after its
    transformer, of which floor mode would leave nothing for the second convolution.
    """

    def __init__(
        self, shape: Sequence[int], width: int, classes: int, *, dtype: DTypeLike | None = None, rngs: nnx.Rngs
    ):
        h, w, c = shape
        self.conv1 = nnx.Conv(c, width, (9, 9), padding="VALID", dtype=dtype, rngs=rngs)
        self.conv2 = nnx.Conv(width, width, (7, 7), padding="VALID", dtype=dtype, rngs=rngs)
        self.classifier = nnx.Linear(_cnn_cells(h, w) * width, classes, dtype=dtype, rngs=rngs)

    def __call__(self, image: Float[Array, "n h w c"]) -> tuple[Float[Array, "n classes"], dict[str, Array]]:
        """Logits, and `features` (n, h', w', width) of the last pooling."""
        x = max_pool(nnx.relu(self.conv1(image)), 2, ceil=True)
        x = max_pool(nnx.relu(self.conv2(x)), 2, ceil=True)
        return self.classifier(x.reshape(x.shape[0], -1)), {"features": x}


def fcn_width(inputs: int, classes: int, parameters: int) -> int:
    """The width with which an `FCN` has about so many parameters."""
    return _solve(1, inputs + 2 + classes, classes - parameters)


def cnn_width(shape: Sequence[int], classes: int, parameters: int) -> int:
    """The width with which a `CNN` for images (h, w, c) has about so many parameters."""
    h, w, c = shape
    return _solve(49, 81 * c + 2 + _cnn_cells(h, w) * classes, classes - parameters)


def _cnn_cells(h: int, w: int) -> int:
    return math.prod(((size - 7) // 2 - 5) // 2 for size in (h, w))


def _solve(a: int, b: int, c: int) -> int:
    """The positive root of a x^2 + b x + c, rounded."""
    if c >= 0:
        raise ValueError("parameters must exceed what the transformer alone has")
    return max(1, round((math.sqrt(b * b - 4 * a * c) - b) / (2 * a)))


# ---- Heads: features to logits


class PooledClassifier(nnx.Module):
    """The mean over the positions and one linear layer."""

    def __init__(
        self, channels: int, classes: int, *, use_bias: bool = True, dtype: DTypeLike | None = None, rngs: nnx.Rngs
    ):
        self.linear = nnx.Linear(channels, classes, use_bias=use_bias, dtype=dtype, rngs=rngs)

    def __call__(self, features: Float[Array, "n h w c"]) -> Float[Array, "n classes"]:
        """Logits."""
        return self.linear(features.mean((1, 2)))


class DescriptorClassifier(nnx.Module):
    """A pooling of the positions to a descriptor of each image, and one linear layer."""

    def __init__(self, pooling: Any, classes: int, *, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        """Put it together; `pooling`, such as `nn.ISQRTCOV`, takes (n, h, w, c) and makes (n, `pooling.size`)."""
        self.pooling = pooling
        self.linear = nnx.Linear(pooling.size, classes, dtype=dtype, rngs=rngs)

    def __call__(self, features: Float[Array, "n h w c"]) -> Float[Array, "n classes"]:
        """Logits."""
        descriptor = self.pooling(features)
        return self.linear(descriptor if self.linear.dtype is None else descriptor.astype(self.linear.dtype))


class FlatClassifier(nnx.Module):
    """One linear layer on all positions, or a hidden layer of `width` units before it: it tells where something is."""

    def __init__(self, inputs: int, classes: int, *, width: int = 0, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(inputs, width, dtype=dtype, rngs=rngs) if width else None
        self.linear = nnx.Linear(width or inputs, classes, dtype=dtype, rngs=rngs)

    def __call__(self, features: Float[Array, "n h w c"]) -> Float[Array, "n classes"]:
        """Logits."""
        x = features.reshape(features.shape[0], -1)
        return self.linear(x if self.hidden is None else nnx.relu(self.hidden(x)))


# ---- Localisers: images or features to what a transformer's last layer reads


class FCNLocaliser(nnx.Module):
    """Hidden layers of 32 units: three in STN's A.4, two in ST-CNN Multi's of A.5."""

    features = 32

    def __init__(self, shape: Sequence[int], *, depth: int = 3, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        sizes = (math.prod(shape), *[32] * (depth - 1))
        self.layers = nnx.List([nnx.Linear(size, 32, dtype=dtype, rngs=rngs) for size in sizes])

    def __call__(self, image: Float[Array, "n *sizes c"]) -> Float[Array, "n 32"]:
        """Features of the last layer."""
        x = image.reshape(image.shape[0], -1)
        for layer in self.layers:
            x = nnx.relu(layer(x))
        return x


class FeatureLocaliser(nnx.Module):
    """A 1 x 1 convolution to few channels and a layer of as many units (STN A.6).

    A map of another size than it was made for, as a search among images of any size has, is resized bilinearly before
    the layer: where a transformer places its warp does not depend on how many positions there are.
    """

    def __init__(self, shape: Sequence[int], width: int, *, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        h, w, c = self.shape = tuple(shape)
        self.conv = nnx.Conv(c, width, (1, 1), dtype=dtype, rngs=rngs)
        self.hidden = nnx.Linear(h * w * width, width, dtype=dtype, rngs=rngs)

    def __call__(self, features: Float[Array, "n h w c"]) -> Float[Array, "n width"]:
        """The units."""
        x = nnx.relu(self.conv(features))
        if x.shape[1:3] != self.shape[:2]:
            x = jax.vmap(lambda each: ops.resize(each, shape=self.shape[:2], align_corners=False))(x)
        return nnx.relu(self.hidden(x.reshape(x.shape[0], -1)))


# ---- Convolutions


class ConvPool(nnx.Module):
    """A convolution without padding, 2 x 2 max pooling that keeps the last odd row and column, and rectification."""

    def __init__(self, inputs: int, width: int, size: int, *, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        self.conv = nnx.Conv(inputs, width, (size, size), padding="VALID", dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n _h _w k"]:
        """The layer's output."""
        return nnx.relu(max_pool(self.conv(x), 2, ceil=True))


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

    @property
    def channels(self) -> dict[str, int]:
        """How many channels each of the features has, by name."""
        return {f"conv{number}": norm.num_features for number, norm in enumerate(self.norms, 1)}

    def __call__(self, image: Float[Array, "n h w c"]) -> dict[str, Float[Array, "n _h _w _c"]]:
        """The features by name; see the class."""
        x = _rectified(self.norms[0], self.conv1(image))
        features = {"conv1": x}
        for number, conv in enumerate(self.pooled, 1):
            x = max_pool(_rectified(self.norms[number], conv(x)), 2)
            features[f"conv{number + 1}"] = x
        last = len(self.norms)
        return {**features, f"conv{last}": _rectified(self.norms[last - 1], self.last(x))}


def _rectified(norm, x):
    return by_rows(lambda rows: nnx.relu(norm(rows)), x)


# ---- What a module makes, and how much it learns


def last_features(trunk: Callable[[Array], dict[str, Array]], image: Float[Array, "n h w c"]) -> Array:
    """The last features (n, h', w', k) that a trunk makes of images."""
    return list(trunk(image).values())[-1]


def padded_features(
    trunk: Any, image: Float[Array, "n h w c"], inside: Bool[Array, "n h w 1"], *, layer: str | None = None
) -> tuple[Float[Array, "n h2 w2 k"], Bool[Array, "n h2 w2 1"]]:
    """The features `layer`, or the last, of images that are padded at the right and at the bottom, in evaluation mode.

    Args:
        trunk: a backbone, which has `padded`.
        image: (n, h, w, c); what is in the padding does not matter.
        inside: (n, h, w, 1), true where the image is.
        layer: the name of the features; None: the last.

    Returns:
        Features (n, h', w', k), and where the image is in them, (n, h', w', 1): there they are those of the image
        alone, and elsewhere 0.
    """
    maps, insides = trunk.padded(image, inside)
    name = layer or list(maps)[-1]
    return jnp.where(insides[name], maps[name], 0), insides[name]


def features_shape(backbone: nnx.Module, shape: Sequence[int], *, layer: str | None = None) -> tuple[int, int, int]:
    """(h, w, k) of the features `layer`, or the last, that a trunk makes of an image of the given shape (h, w, c)."""
    if layer is None:
        return output_shape(last_features, backbone, shape)
    return output_shape(lambda trunk, image: trunk(image)[layer], backbone, shape)


def output_shape(read: Callable[[Any, Array], Array], module: nnx.Module, shape: Sequence[int]) -> tuple[int, int, int]:
    """(h, w, k) of what `read(module, image)` makes of an image of the given shape (h, w, c)."""
    graphdef, state = nnx.split(module)
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)

    def output(state, image):
        return read(nnx.merge(graphdef, state, copy=True), image)

    _, h, w, channels = jax.eval_shape(output, state, image).shape
    return h, w, channels


def count_parameters(module: nnx.Module | None) -> int:
    """The number of learned numbers in a module."""
    if module is None:
        return 0
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))
