"""ResNet 18, 34, 50 and 101 (He et al. 2016), with the stride of a bottleneck on its 3 x 3 convolution ("v1.5").

Layers, names of stages and starting weights are torchvision's, so that its ImageNet weights fit.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vtnjax._arrays import by_rows
from vtnjax._checks import check_choice
from vtnjax.models.backbones._checks import check_image, check_inside, check_stages
from vtnjax.models.backbones._layers import Cells, ConvNorm, Inside, every, max_pool

# Blocks in each stage, and whether they are bottlenecks.
RESNETS = {
    "resnet18": ((2, 2, 2, 2), False),
    "resnet34": ((3, 4, 6, 3), False),
    "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True),
}
_WIDTHS = (64, 128, 256, 512)
_EXPANSION = 4


class Residual(nnx.Module):
    """Convolutions 3 x 3 and 3 x 3, or 1 x 1, 3 x 3 and 1 x 1 as a bottleneck, added to their input."""

    def __init__(
        self,
        inputs: int,
        width: int,
        *,
        bottleneck: bool,
        stride: int,
        first_dilation: int,
        dilation: int,
        **options: Any,
    ):
        """Make a block of `width` channels, or `4 * width` as a bottleneck.

        The convolution that holds the stride has `first_dilation`, and what comes after it `dilation`.
        """
        outputs = _EXPANSION * width if bottleneck else width
        strided = {"stride": stride, "dilation": first_dilation}
        if bottleneck:
            layers = [
                ConvNorm(inputs, width, 1, **options),
                ConvNorm(width, width, 3, **strided, **options),
                ConvNorm(width, outputs, 1, **options),
            ]
        else:
            layers = [
                ConvNorm(inputs, width, 3, **strided, **options),
                ConvNorm(width, width, 3, dilation=dilation, **options),
            ]
        self.layers = nnx.List(layers)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else ConvNorm(inputs, outputs, 1, stride=stride, **options)

    def __call__(self, x: Float[Array, "n h w c"], inside: Inside = None) -> Float[Array, "n h2 w2 c2"]:
        """The rectified sum of the input and of what the convolutions make of it."""
        y = x
        for layer in self.layers[:-1]:
            y = layer.rectified(y, inside)
            inside = layer.inside(inside)
        same = x if self.shortcut is None else self.shortcut(x)
        return by_rows(lambda y, same: nnx.relu(y + same), self.layers[-1](y, inside), same)

    def inside(self, inside: Inside) -> Inside:
        """Where the image is in the block's output."""
        for layer in self.layers:
            inside = layer.inside(inside)
        return inside

    def cells(self, cells: Cells) -> Cells:
        """Where the cells of the block's output lie."""
        for layer in self.layers:
            cells = layer.cells(cells)
        return cells


class ResNet(nnx.Module):
    """The convolutional trunk of a ResNet, without average pooling and classifier.

    Calling it with images (n, h, w, 3) returns the features by name: `stem` is the first convolution's output after
    BatchNorm and rectification and before max pooling, at half the image's size; `stage1` to `stage4` are the four
    stages' outputs, by default at 1/4, 1/8, 1/16 and 1/32 of it.
    """

    def __init__(
        self,
        name: str,
        *,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        frozen_statistics: bool = False,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Make a trunk with random weights; `load_pretrained` gives it those of ImageNet.

        A stage's 3 x 3 convolutions have its dilation, except the one that holds the stride, which has that of the
        stage before. So a network with a stride taken away computes what the original does, at more positions, if the
        stages from there on are dilated by it: strides (1, 2, 2, 1) with dilations (1, 1, 1, 2), or (1, 2, 1, 1) with
        (1, 1, 2, 4). The attention network of TASN has strides (1, 1, 2, 1) and no dilation here (its dilated
        convolutions follow the trunk); that of iSQRT-COV (1, 2, 2, 1).

        Args:
            name: "resnet18", "resnet34", "resnet50" or "resnet101".
            strides: of the four stages.
            dilations: of the four stages.
            frozen_statistics: whether BatchNorm uses its running statistics also in training, and leaves them as they
                are; its scale and bias are learned either way.
            dtype: of the computation, float32 by default; BatchNorm computes in at least float32.
            param_dtype: of the parameters.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if the name is wrong, or strides or dilations are not four whole numbers of at least 1.
        """
        check_choice("name", name, list(RESNETS))
        self.name = name
        self.strides, self.dilations = check_stages("strides", strides), check_stages("dilations", dilations)
        options = {
            "frozen_statistics": frozen_statistics,
            "dtype": dtype,
            "param_dtype": param_dtype,
            "rngs": rngs,
        }
        self.stem = ConvNorm(3, _WIDTHS[0], 7, stride=2, **options)
        inputs = (_WIDTHS[0], *(self._expansion * width for width in _WIDTHS[:3]))
        self.stages = nnx.List([nnx.List(self._stage(i, inputs[i], options)) for i in range(4)])

    @property
    def channels(self) -> dict[str, int]:
        """How many channels each of the features has, by name."""
        stages = {f"stage{i}": self._expansion * width for i, width in enumerate(_WIDTHS[: len(self.stages)], 1)}
        return {"stem": _WIDTHS[0], **stages}

    @property
    def cells(self) -> dict[str, Cells]:
        """Where the cells of each of the features lie in the image, by name."""
        cells = self.stem.cells(Cells())
        found = {"stem": cells}
        cells = cells.behind(2, 0.0)
        for i, stage in enumerate(self.stages, 1):
            for block in stage:
                cells = block.cells(cells)
            found[f"stage{i}"] = cells
        return found

    def cut(self, name: str) -> None:
        """Drop the stages behind the features of a name, which are then the last.

        Raises:
            ValueError: if there are no features of this name.
        """
        check_choice("name", name, list(self.channels))
        self.stages = nnx.List(self.stages[: list(self.channels).index(name)])

    def __call__(self, image: Float[Array, "n h w c"]) -> dict[str, Float[Array, "n _h _w _c"]]:
        """The features by name; see the class."""
        return self.padded(image, None)[0]

    def padded(
        self, image: Float[Array, "n h w c"], inside: Inside
    ) -> tuple[dict[str, Float[Array, "n _h _w _c"]], dict[str, Inside]]:
        """The same of images that are padded at the right and at the bottom, in evaluation mode.

        Args:
            image: (n, h, w, 3); what is in the padding does not matter.
            inside: (n, h, w, 1), true where the image is; None: everywhere.

        Returns:
            The features by name, and by the same names where the image is in them, (n, h', w', 1) or None. There they
            are those of the image alone, and elsewhere they mean nothing.
        """
        check_image(image)
        check_inside(image, inside)
        x, inside = self.stem.rectified(image, inside), self.stem.inside(inside)
        features, insides = {"stem": x}, {"stem": inside}
        x, inside = max_pool(x, 3, [(1, 1), (1, 1)], inside), every(inside, 2, 0)
        for i, stage in enumerate(self.stages, 1):
            for block in stage:
                x, inside = block(x, inside), block.inside(inside)
            features[f"stage{i}"], insides[f"stage{i}"] = x, inside
        return features, insides

    @property
    def _expansion(self):
        return _EXPANSION if RESNETS[self.name][1] else 1

    def _stage(self, index: int, inputs: int, options: dict[str, Any]) -> list[Residual]:
        blocks, bottleneck = RESNETS[self.name]
        dilation = self.dilations[index]
        block = {"bottleneck": bottleneck, "dilation": dilation, **options}
        first = Residual(
            inputs,
            _WIDTHS[index],
            stride=self.strides[index],
            first_dilation=self.dilations[index - 1] if index else 1,
            **block,
        )
        outputs = self._expansion * _WIDTHS[index]
        rest = [
            Residual(outputs, _WIDTHS[index], stride=1, first_dilation=dilation, **block)
            for _ in range(blocks[index] - 1)
        ]
        return [first, *rest]
