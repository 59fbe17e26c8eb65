"""GoogLeNet, or Inception v1 (Szegedy et al. 2015), with BatchNorm, as torchvision publishes it."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vtnjax.models._weight_files import IMAGENET_MEAN, IMAGENET_STD
from vtnjax.models.backbones._checks import check_image, check_inside
from vtnjax.models.backbones._layers import Cells, ConvNorm, Inside, blank, ceil_max_pool, every

# Filters: 1 x 1; 1 x 1 and 3 x 3 behind it; the second such pair; 1 x 1 behind the pooling.
INCEPTIONS = {
    "inception3a": (64, (96, 128), (16, 32), 32),
    "inception3b": (128, (128, 192), (32, 96), 64),
    "inception4a": (192, (96, 208), (16, 48), 64),
    "inception4b": (160, (112, 224), (24, 64), 64),
    "inception4c": (128, (128, 256), (24, 64), 64),
    "inception4d": (112, (144, 288), (32, 64), 64),
    "inception4e": (256, (160, 320), (32, 128), 128),
    "inception5a": (256, (160, 320), (32, 128), 128),
    "inception5b": (384, (192, 384), (48, 128), 128),
}
# The size of the max pooling before a block.
_POOLED_BEFORE = {"inception3a": 3, "inception4a": 3, "inception5a": 2}
_STEM = {"conv1": 64, "conv2": 64, "conv3": 192}
_EPSILON = 1e-3


class Mixed(nnx.Module):
    """Convolutions 1 x 1; 1 x 1 and 3 x 3; the same again; and 1 x 1 of a 3 x 3 max pooling, side by side."""

    def __init__(
        self, inputs: int, single: int, pair: tuple[int, int], other: tuple[int, int], pooled: int, **options: Any
    ):
        self.single = ConvNorm(inputs, single, 1, **options)
        self.pairs = nnx.List(
            [
                nnx.List([ConvNorm(inputs, first, 1, **options), ConvNorm(first, second, 3, **options)])
                for first, second in (pair, other)
            ]
        )
        self.pooled = ConvNorm(inputs, pooled, 1, **options)

    def __call__(self, x: Float[Array, "n h w c"], inside: Inside = None) -> Float[Array, "n h w c2"]:
        """The four rectified outputs, one after the other along the channels."""
        pairs = [second.rectified(first.rectified(x), inside) for first, second in self.pairs]
        around = nnx.max_pool(blank(x, inside), (3, 3), padding="SAME")
        return jnp.concatenate([self.single.rectified(x), *pairs, self.pooled.rectified(around)], axis=-1)


class Inception(nnx.Module):
    """The convolutional trunk of GoogLeNet with BatchNorm, without average pooling and classifiers.

    Calling it with images (n, h, w, 3) returns the features by name, all rectified and before the max pooling that
    follows some of them: `conv1` at 1/2 of the image's size, `conv2` and `conv3` at 1/4, `inception3a` and `3b` at 1/8,
    `inception4a` to `4e` at 1/16, `inception5a` and `5b` at 1/32: 7 x 7 x 1024 of 224 x 224.

    Layers and names are those of torchvision's `googlenet`, the nearest to STN's Inception with BatchNorm (A.6; Ioffe
    and Szegedy 2015) of which weights are published. That one has ten blocks of other widths, and pairs of 3 x 3
    convolutions in the place of 5 x 5; here it is one 3 x 3 convolution, also where Szegedy et al. have 5 x 5.

    Torchvision's weights are for images from -1 to 1. The network makes these itself of what `imagenet_input` gives, as
    torchvision's `transform_input` does, so that it takes what every other backbone takes.
    """

    def __init__(
        self,
        *,
        frozen_statistics: bool = False,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Make a trunk with random weights (He's); `load_pretrained` gives it those of ImageNet.

        Args:
            frozen_statistics: whether BatchNorm uses its running statistics also in training, and leaves them as they
                are; its scale and bias are learned either way.
            dtype: of the computation, float32 by default; BatchNorm computes in at least float32.
            param_dtype: of the parameters.
            rngs: NNX's random streams; `params` is used.
        """
        self.name = "googlenet"
        options = {
            "epsilon": _EPSILON,
            "frozen_statistics": frozen_statistics,
            "dtype": dtype,
            "param_dtype": param_dtype,
            "rngs": rngs,
        }
        self.conv1 = ConvNorm(3, _STEM["conv1"], 7, stride=2, **options)
        self.conv2 = ConvNorm(_STEM["conv1"], _STEM["conv2"], 1, **options)
        self.conv3 = ConvNorm(_STEM["conv2"], _STEM["conv3"], 3, **options)
        inputs = list(self.channels.values())[len(_STEM) - 1 : -1]
        self.blocks = nnx.List(
            [Mixed(before, *filters, **options) for before, filters in zip(inputs, INCEPTIONS.values(), strict=True)]
        )

    @property
    def channels(self) -> dict[str, int]:
        """How many channels each of the features has, by name."""
        blocks = {
            name: single + pair[1] + other[1] + pooled for name, (single, pair, other, pooled) in INCEPTIONS.items()
        }
        return {**_STEM, **blocks}

    @property
    def cells(self) -> dict[str, Cells]:
        """Where the cells of each of the features lie in the image, by name."""
        cells = self.conv1.cells(Cells())
        found = {"conv1": cells}
        cells = cells.behind(2, 1.0)
        found["conv2"] = found["conv3"] = cells
        for name in INCEPTIONS:
            if name in _POOLED_BEFORE:
                cells = cells.behind(2, (_POOLED_BEFORE[name] - 1) / 2)
            found[name] = cells
        return found

    def __call__(self, image: Float[Array, "n h w c"]) -> dict[str, Float[Array, "n _h _w _c"]]:
        """The features by name; see the class."""
        return self.padded(image, None)[0]

    def padded(
        self, image: Float[Array, "n h w c"], inside: Inside
    ) -> tuple[dict[str, Float[Array, "n _h _w _c"]], dict[str, Inside]]:
        """The same of padded images, in evaluation mode: see `ResNet.padded`."""
        check_image(image, smallest=15)
        check_inside(image, inside)
        x, inside = self.conv1.rectified(_from_minus_one(image), inside), self.conv1.inside(inside)
        features, insides = {"conv1": x}, {"conv1": inside}
        x, inside = ceil_max_pool(x, 3, inside), every(inside, 2, 1)
        features["conv2"] = self.conv2.rectified(x)
        x = features["conv3"] = self.conv3.rectified(features["conv2"], inside)
        insides["conv2"] = insides["conv3"] = inside
        for name, block in zip(INCEPTIONS, self.blocks, strict=True):
            if name in _POOLED_BEFORE:
                size = _POOLED_BEFORE[name]
                x, inside = ceil_max_pool(x, size, inside), every(inside, 2, size - 2)
            x = block(x, inside)
            features[name], insides[name] = x, inside
        return features, insides


def _from_minus_one(image):
    """Images in [-1, 1] of those that `imagenet_input` made of [0, 1]."""
    mean, std = (jnp.asarray(value, image.dtype).reshape(1, 1, 1, 3) for value in (IMAGENET_MEAN, IMAGENET_STD))
    return 2 * (image * std + mean) - 1
