"""SqueezeNet 1.1 (Iandola et al. 2016): 0.7 million parameters, whose ImageNet weights come in a package."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vtnjax.models.backbones._checks import check_image, check_inside
from vtnjax.models.backbones._layers import Cells, ConvNorm, Inside, ceil_max_pool, every

# Channels of fire2 to fire9: squeezed, and of each of the two expansions.
_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
_POOLED_BEFORE = ("fire2", "fire4", "fire6")


class Fire(nnx.Module):
    """A 1 x 1 convolution to few channels, then 1 x 1 and 3 x 3 convolutions of it side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int, **options: Any):
        self.squeeze = ConvNorm(inputs, squeezed, 1, **options)
        self.expand1x1 = ConvNorm(squeezed, expanded, 1, **options)
        self.expand3x3 = ConvNorm(squeezed, expanded, 3, **options)

    def __call__(self, x: Float[Array, "n h w c"], inside: Inside = None) -> Float[Array, "n h w c2"]:
        """The rectified outputs of both convolutions, one after the other along the channels."""
        x = self.squeeze.rectified(x)
        return jnp.concatenate([self.expand1x1.rectified(x), self.expand3x3.rectified(x, inside)], axis=-1)


class SqueezeNet(nnx.Module):
    """SqueezeNet 1.1, with its classifier if wanted.

    Calling it with images (n, h, w, 3) returns the features by name: `conv1` is the rectified first convolution and
    `fire2` to `fire9` the fire modules' outputs, all before the max pooling that follows some of them; `conv1` is at
    1/2 of the image's size, `fire3` at 1/4, `fire5` at 1/8 and `fire9` at 1/16. With `classes` there are also `logits`
    (n, classes). The dropout before its classifier is left out.
    """

    def __init__(
        self,
        *,
        classes: int | None = None,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Make a network with random weights; `load_pretrained(backbone, "ndf")` gives it those of ImageNet.

        Args:
            classes: 1000 for ImageNet's classifier; None is the trunk alone.
            dtype: of the computation, float32 by default.
            param_dtype: of the parameters.
            rngs: NNX's random streams; `params` is used.
        """
        options = {"bias": True, "norm": False, "dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        self.conv1 = ConvNorm(3, 64, 3, stride=2, padding=0, **options)
        inputs = list(self.channels.values())
        self.fires = nnx.List([Fire(inputs[i], *widths, **options) for i, widths in enumerate(_FIRES)])
        self.conv10 = None if classes is None else ConvNorm(inputs[-1], classes, 1, **options)

    @property
    def channels(self) -> dict[str, int]:
        """How many channels each of the features has, by name."""
        return {"conv1": 64, **{f"fire{i}": 2 * expanded for i, (_, expanded) in enumerate(_FIRES, 2)}}

    @property
    def cells(self) -> dict[str, Cells]:
        """Where the cells of each of the features lie in the image, by name."""
        cells = self.conv1.cells(Cells())
        found = {"conv1": cells}
        for name in list(self.channels)[1:]:
            cells = cells.behind(2, 1.0) if name in _POOLED_BEFORE else cells
            found[name] = cells
        return found

    def __call__(self, image: Float[Array, "n h w c"]) -> dict[str, Float[Array, "n *_"]]:
        """The features by name; see the class."""
        features, _ = self.padded(image, None)
        if self.conv10 is None:
            return features
        return {**features, "logits": self.conv10.rectified(features["fire9"]).mean((1, 2))}

    def padded(
        self, image: Float[Array, "n h w c"], inside: Inside
    ) -> tuple[dict[str, Float[Array, "n _h _w _c"]], dict[str, Inside]]:
        """The same of padded images, without `logits`: see `ResNet.padded`."""
        check_image(image, smallest=17)
        check_inside(image, inside)
        x, inside = self.conv1.rectified(image, inside), self.conv1.inside(inside)
        features, insides = {"conv1": x}, {"conv1": inside}
        for i, fire in enumerate(self.fires, 2):
            name = f"fire{i}"
            if name in _POOLED_BEFORE:
                x, inside = ceil_max_pool(x, 3, inside), every(inside, 2, 1)
            x = fire(x, inside)
            features[name], insides[name] = x, inside
        return features, insides
