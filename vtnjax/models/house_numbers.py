"""The character sequence network of the STN paper's house numbers (section 4.2, A.5), with transformers or without."""

import functools
from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vtnjax._checks import check_choice
from vtnjax.models.layers import FCNLocaliser
from vtnjax.models.placed import PlacedSTN
from vtnjax.models.pooling import max_pool

# Where transformers stand: STN 4.2, and X = 3, 6 and 8 of Table 2 of the study of STNs on feature maps.
HOUSE_NUMBER_MODELS = {
    "cnn": ((), "features"),
    "single": ((0,), "features"),
    "multi": ((0, 1, 2, 3), "features"),
    **{f"c{depth}": ((depth,), "features") for depth in (0, 3, 6, 8)},
    **{f"sl{depth}": ((depth,), "shared") for depth in (3, 6, 8)},
}
DIGITS, CLASSES = 5, 11
_WIDTHS = (48, 64, 128, 160, 192, 192, 192, 192)
_POOLED = (0, 2, 4, 6)
_UNITS = 3072


class SequenceLayer(nnx.Module):
    """A 5 x 5 convolution, rectification, 2 x 2 max pooling where wanted, and dropout."""

    def __init__(
        self, inputs: int, width: int, *, pool: bool, dropout: float, dtype: DTypeLike | None = None, rngs: nnx.Rngs
    ):
        self.conv = nnx.Conv(inputs, width, (5, 5), padding=2, dtype=dtype, rngs=rngs)
        self.pool, self.dropout = pool, nnx.Dropout(dropout)

    def __call__(self, x: Float[Array, "n h w c"], rngs: nnx.Rngs | None = None) -> Float[Array, "n _h _w k"]:
        """The layer's output; `rngs` are for the dropout, in training."""
        x = nnx.relu(self.conv(x))
        x = max_pool(x, 2) if self.pool else x
        return self.dropout(x, rngs=rngs)


class SequenceHead(nnx.Module):
    """Three hidden layers with dropout, and a softmax layer for each place: logits (n, 5, 11), class 10 for none."""

    def __init__(self, cells: int, units: int, dropout: float, *, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        sizes = (cells, units, units)
        self.hidden = nnx.List([nnx.Linear(size, units, dtype=dtype, rngs=rngs) for size in sizes])
        self.places = nnx.Linear(units, DIGITS * CLASSES, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)

    def __call__(self, x: Float[Array, "n cells"], rngs: nnx.Rngs | None = None) -> Float[Array, "n 5 11"]:
        """The logits; `rngs` are for the dropout, in training."""
        for layer in self.hidden:
            x = self.dropout(nnx.relu(layer(x)), rngs=rngs)
        return self.places(x).reshape(x.shape[0], DIGITS, CLASSES)


class ConvLocaliser(nnx.Module):
    """Two 5 x 5 convolutions of 32 filters with max pooling between, and two layers of 32 units: ST-CNN Single's."""

    features = 32

    def __init__(self, shape: Sequence[int], *, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        h, w, c = shape
        self.conv1 = nnx.Conv(c, 32, (5, 5), padding=2, dtype=dtype, rngs=rngs)
        self.conv2 = nnx.Conv(32, 32, (5, 5), padding=2, dtype=dtype, rngs=rngs)
        self.dense = FCNLocaliser((h // 2, w // 2, 32), depth=2, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n 32"]:
        """Features of the last layer."""
        x = max_pool(nnx.relu(self.conv1(x)), 2)
        return self.dense(nnx.relu(self.conv2(x)))


def house_number_network(
    model: str,
    shape: Sequence[int],
    *,
    widths: Sequence[int] = _WIDTHS,
    units: int = _UNITS,
    dropout: float = 0.5,
    dtype: DTypeLike | None = None,
    rngs: nnx.Rngs,
) -> PlacedSTN:
    """Eight convolutions, three hidden layers and five softmax layers, and affine transformers.

    The appendix's list of layers has lost a convolution of 192 filters: the text counts 11 hidden layers. Pooling
    follows the first, third, fifth and seventh convolution; dropout follows every layer but the first.

    Args:
        model: "cnn"; "single", a transformer at the input; "multi", one before each of the first four convolutions;
            "cX" and "slX", one behind layer X that warps the features there, or the input by the shared layers.
        shape: (h, w, c) of the images, at least 16 x 16.
        widths: filters of the convolutions.
        units: of the hidden layers.
        dropout: how much is dropped.
        dtype: of the computation, float32 by default.
        rngs: NNX's random streams; `params` is used.

    Raises:
        ValueError: if the model's name is wrong or the images are too small.
    """
    check_choice("model", model, tuple(HOUSE_NUMBER_MODELS))
    if min(shape[:2]) < 16:
        raise ValueError(f"shape must be at least 16 x 16 pixels for four poolings, not {shape[0]} x {shape[1]}")
    placements, mode = HOUSE_NUMBER_MODELS[model]
    sizes = (shape[-1], *widths)
    layers = [
        SequenceLayer(sizes[i], sizes[i + 1], pool=i in _POOLED, dropout=dropout if i else 0.0, dtype=dtype, rngs=rngs)
        for i in range(len(widths))
    ]

    def classifier(cells):
        return SequenceHead(cells, units, dropout, dtype=dtype, rngs=rngs)

    options = {"placements": placements, "mode": mode, "draws": True, "dtype": jnp.dtype(dtype or jnp.float32)}
    localiser = ConvLocaliser if model == "single" else functools.partial(FCNLocaliser, depth=2)
    return PlacedSTN(layers, classifier, shape, localiser=localiser, **options, rngs=rngs)
