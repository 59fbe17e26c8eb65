"""The networks of the STN paper's distorted digits (section 4.1, appendix A.4): FCN, CNN, ST-FCN and ST-CNN.

All have about 400,000 parameters. The paper lets the classifier's widths vary to keep that count and gives ranges (FCN
128 to 256 units, CNN 32 to 64 filters); here the count rules and the widths follow from it, also where they leave those
ranges: an FCN on 28 x 28 pixels has about 350 units, a CNN about 90 filters.
"""

import itertools
import math
from collections.abc import Sequence
from typing import cast

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vtnjax._checks import check_choice
from vtnjax.models.layers import CNN, FCN, MODELS, PARAMETERS, FCNLocaliser, cnn_width, count_parameters, fcn_width
from vtnjax.models.pooling import average_pool, max_pool
from vtnjax.nn import SpatialTransformer


class CNNLocaliser(nnx.Module):
    """The image at half size, two 5 x 5 convolutions of 20 filters with max pooling between, and 20 units (A.4)."""

    features = 20

    def __init__(self, shape: Sequence[int], *, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        h, w, c = shape
        self.conv1 = nnx.Conv(c, 20, (5, 5), padding="VALID", dtype=dtype, rngs=rngs)
        self.conv2 = nnx.Conv(20, 20, (5, 5), padding="VALID", dtype=dtype, rngs=rngs)
        cells = math.prod((size // 2 - 4) // 2 - 4 for size in (h, w))
        self.hidden = nnx.Linear(20 * cells, 20, dtype=dtype, rngs=rngs)

    def __call__(self, image: Float[Array, "n h w c"]) -> Float[Array, "n 20"]:
        """Features of the last layer."""
        x = average_pool(image, 2)
        x = max_pool(nnx.relu(self.conv1(x)), 2)
        x = nnx.relu(self.conv2(x))
        return nnx.relu(self.hidden(x.reshape(x.shape[0], -1)))


class STN(nnx.Module):
    """A classifier of the paper, with a spatial transformer on its input if the name begins with `st_`.

    Calling it with images (n, h, w, c) returns `(logits, out)`: `features` of the classifier, and of a transformer
    `theta`, `coords` (n, h, w, 2) and `warped` (n, h, w, c), the input as the transformer passed it on, before pooling.
    """

    def __init__(
        self,
        model: str,
        shape: Sequence[int],
        *,
        classes: int = 10,
        warp: str = "affine",
        pool: int = 1,
        parameters: int = PARAMETERS,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        """Make a network of about `parameters` parameters.

        Args:
            model: "fcn", "cnn", "st_fcn" or "st_cnn".
            shape: (h, w, c) of the images.
            classes: how many classes.
            warp: the transformer's warp; see `nn.SpatialTransformer`. "linear" learns its basis, which begins as
                `linear_basis`.
            pool: average pooling of what the classifier reads (A.4 has 2 after a transformer, for RTS and TC).
            parameters: about how many parameters the whole network has.
            dtype: of the computation, float32 by default; the warp's coordinates stay float32.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if the model's name is wrong, the images are too small for it, or the transformer alone has
                more than `parameters`.
        """
        check_choice("model", model, MODELS)
        h, w, c = shape
        convolutional = model.endswith("cnn")
        self.pool = pool
        if not 1 <= pool <= min(h, w):
            raise ValueError(f"pool must be from 1 to the {min(h, w)} pixels of the image's shorter side, not {pool}")
        inner = (h // self.pool, w // self.pool, c)
        if convolutional and min(inner[:2]) < 21:
            raise ValueError(
                f"shape must leave a CNN at least 21 x 21 pixels after pooling, not {inner[0]} x {inner[1]}"
            )
        if model == "st_cnn" and min(h, w) < 28:
            raise ValueError(f"shape must be at least 28 x 28 pixels for the localiser of an ST-CNN, not {h} x {w}")
        if model.startswith("st_"):
            localiser = (CNNLocaliser if convolutional else FCNLocaliser)(shape, dtype=dtype, rngs=rngs)
            basis = nnx.Param(linear_basis((h, w))) if warp == "linear" else None
            self.transformer = SpatialTransformer(localiser, localiser.features, warp=warp, basis=basis, rngs=rngs)
        else:
            self.transformer = None
        left = parameters - count_parameters(self.transformer)
        if convolutional:
            self.classifier = CNN(inner, cnn_width(inner, classes, left), classes, dtype=dtype, rngs=rngs)
        else:
            inputs = math.prod(inner)
            self.classifier = FCN(inputs, fcn_width(inputs, classes, left), classes, dtype=dtype, rngs=rngs)

    def __call__(self, image: Float[Array, "n h w c"]) -> tuple[Float[Array, "n classes"], dict[str, Array]]:
        """Logits in float32 and what there is to see; see the class."""
        x, out = image, {}
        if self.transformer is not None:
            x, out = self.transformer(image)
            out = {**out, "warped": x}
        logits, inner = self.classifier(average_pool(cast(Array, x), self.pool))
        return logits.astype(jnp.float32), {**inner, **out}


def linear_basis(shape: Sequence[int], size: int = 4) -> Float[np.ndarray, "m h w"]:
    """Where the learned basis of M_theta B begins (STN 3.2, of which the paper says no more): m = `size`^2 functions.

    They are x and y and the smoothest m - 2 products of cosines, from the constant on, so that M_theta can be any
    affine warp, the identity first of all, and many an elastic one. A NumPy array, float32.
    """
    y, x = (np.linspace(-1, 1, count) for count in shape)
    orders = sorted(itertools.product(range(size), repeat=2), key=lambda order: (sum(order), order))[: size**2 - 2]
    waves = [np.outer(np.cos(np.pi * b * (y + 1) / 2), np.cos(np.pi * a * (x + 1) / 2)) for a, b in orders]
    return np.stack([*np.meshgrid(x, y), *waves]).astype(np.float32)
