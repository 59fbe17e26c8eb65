"""The convolutions of VGG 16 and 19 (Simonyan and Zisserman 2015), with and without BatchNorm."""

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vtnjax._checks import check_choice
from vtnjax.models.backbones._checks import check_image, check_inside
from vtnjax.models.backbones._layers import Cells, ConvNorm, Inside, every, max_pool

# Convolutions in each of the five stages, and whether BatchNorm follows them.
VGGS = {
    "vgg16": ((2, 2, 3, 3, 3), False),
    "vgg16_bn": ((2, 2, 3, 3, 3), True),
    "vgg19": ((2, 2, 4, 4, 4), False),
    "vgg19_bn": ((2, 2, 4, 4, 4), True),
}
_WIDTHS = (64, 128, 256, 512, 512)


class VGG(nnx.Module):
    """The convolutional trunk of a VGG; fc6, fc7 and fc8 are not part of it.

    Calling it with images (n, h, w, 3) returns the features by name: `conv1` to `conv5` are the rectified outputs of
    the five stages' last convolutions, before the max pooling that ends a stage, at 1, 1/2, 1/4, 1/8 and 1/16 of the
    image's size. The last pooling is left to the caller, `nnx.max_pool(features["conv5"], (2, 2), strides=(2, 2))`: a
    volumetric transformer warps what comes before it.
    """

    def __init__(
        self,
        name: str,
        *,
        frozen_statistics: bool = False,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Make a trunk with random weights; `load_pretrained` gives it those of ImageNet.

        Args:
            name: "vgg16", "vgg16_bn", "vgg19" or "vgg19_bn"; with "_bn", BatchNorm follows each convolution.
            frozen_statistics: whether BatchNorm uses its running statistics also in training, and leaves them as they
                are; its scale and bias are learned either way.
            dtype: of the computation, float32 by default; BatchNorm computes in at least float32.
            param_dtype: of the parameters.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if the name is wrong.
        """
        check_choice("name", name, list(VGGS))
        self.name = name
        counts, norm = VGGS[name]
        stages, inputs = [], 3
        for width, count in zip(_WIDTHS, counts, strict=True):
            layers = []
            for _ in range(count):
                layers.append(
                    ConvNorm(
                        inputs,
                        width,
                        3,
                        bias=True,
                        norm=norm,
                        frozen_statistics=frozen_statistics,
                        dtype=dtype,
                        param_dtype=param_dtype,
                        rngs=rngs,
                    )
                )
                inputs = width
            stages.append(nnx.List(layers))
        self.stages = nnx.List(stages)

    @property
    def channels(self) -> dict[str, int]:
        """How many channels each of the features has, by name."""
        return {f"conv{i}": width for i, width in enumerate(_WIDTHS, 1)}

    @property
    def cells(self) -> dict[str, Cells]:
        """Where the cells of each of the features lie in the image, by name."""
        cells, found = Cells(), {}
        for name in self.channels:
            found[name] = cells
            cells = cells.behind(2, 0.5)
        return found

    def __call__(self, image: Float[Array, "n h w c"]) -> dict[str, Float[Array, "n _h _w _c"]]:
        """The features by name; see the class."""
        return self.padded(image, None)[0]

    def padded(
        self, image: Float[Array, "n h w c"], inside: Inside
    ) -> tuple[dict[str, Float[Array, "n _h _w _c"]], dict[str, Inside]]:
        """The same of padded images, in evaluation mode: see `ResNet.padded`."""
        check_image(image, smallest=16)
        check_inside(image, inside)
        features, insides, x = {}, {}, image
        for i, stage in enumerate(self.stages, 1):
            for layer in stage:
                x = layer.rectified(x, inside)
            features[f"conv{i}"], insides[f"conv{i}"] = x, inside
            x, inside = max_pool(x, 2, [(0, 0), (0, 0)], inside), every(inside, 2, 1)
        return features, insides
