"""Networks for two digits, each in a channel of its own and moved on its own (STN A.1), with and without VTN.

The paper's four read the whole image. The others read it averaged over 3 x 3 pixels, 14 x 14, the size of the maps
that VTN is made for, and differ only in how they warp that: not at all, by one affine warp, by one for each channel, by
a VTN with one field, or with one for each channel. All but the paper's CNN classify by fully connected layers, and all
have about 400,000 parameters.
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vtnjax._checks import check_choice
from vtnjax.models.feature_warps import AffineGroups
from vtnjax.models.layers import FCN, PARAMETERS, FCNLocaliser, count_parameters, fcn_width
from vtnjax.models.pooling import average_pool
from vtnjax.models.stn import STN
from vtnjax.nn import SpatialTransformer, VolumetricTransformer

OF_THE_PAPER = ("fcn", "cnn", "st_fcn", "2xst_fcn")
ON_A_MAP = ("none", "affine", "affine_channels", "vtn_one", "vtn_two")
MODELS = (*OF_THE_PAPER, *ON_A_MAP)
_POOL = 3
_PAIRS = 100


class TwoDigitNetwork(nnx.Module):
    """A network of A.1, or one with a VTN.

    Calling it with images (n, h, w, 2) returns `(logits, out)`. For 19 classes, the sums, the logits are the
    classifier's. For 100, the pairs, it names each digit by ten logits of its own, and a pair's logit is the sum of
    both: its cross-entropy is that of the two digits added. With a transformer `out` holds what it tells,
    `features`, the map it warped, and `warped`; `coords` of two warps side by side are (n, h', w', 2, 2).
    """

    def __init__(
        self,
        model: str,
        shape: Sequence[int],
        *,
        classes: int = 19,
        warp: str = "affine",
        pool: int = 2,
        warp_options: dict[str, Any] | None = None,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        """Make a network of about 400,000 parameters.

        Args:
            model: "fcn", "cnn", "st_fcn" or "2xst_fcn" of the paper; "none", "affine", "affine_channels", "vtn_one" or
                "vtn_two" on a map of 14 x 14.
            shape: (h, w, 2) of the images.
            classes: 19 for the sums or 100 for the pairs.
            warp: of the paper's transformers; see `nn.SpatialTransformer`.
            pool: average pooling after the paper's transformers.
            warp_options: more arguments of `nn.VolumetricTransformer`.
            dtype: of the computation, float32 by default.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if the model's name or the number of classes is wrong.
        """
        check_choice("model", model, MODELS)
        if classes not in (19, _PAIRS):
            raise ValueError(f"classes must be 19, of sums, or 100, of pairs, not {classes}")
        self.pairs = classes == _PAIRS
        outputs = 20 if self.pairs else classes
        self.pool, self.pool_after = 1, 1
        if model in ("fcn", "cnn", "st_fcn"):
            self.transformer = None
            pool = pool if model == "st_fcn" else 1
            self.network = STN(model, shape, classes=outputs, warp=warp, pool=pool, dtype=dtype, rngs=rngs)
            return
        h, w, c = shape
        if model == "2xst_fcn":
            self.transformer = _TwoTransformers(shape, warp, dtype, rngs)
            self.pool_after, inputs = pool, math.prod((h // pool, w // pool, 2 * c))
        else:
            self.pool = _POOL
            small = (h // _POOL, w // _POOL, c)
            self.transformer = _on_a_map(model, small, warp_options or {}, dtype, rngs)
            inputs = math.prod(small)
        width = fcn_width(inputs, outputs, PARAMETERS - count_parameters(self.transformer))
        self.network = FCN(inputs, width, outputs, dtype=dtype, rngs=rngs)

    def __call__(self, image: Float[Array, "n h w 2"]) -> tuple[Float[Array, "n classes"], dict[str, Array]]:
        """Logits in float32 and what there is to see; see the class."""
        features, out = average_pool(image, self.pool), {}
        x = features
        if self.transformer is not None:
            warped, out = self.transformer(features)
            x = cast(Array, warped)
            out |= {"features": features, "warped": x}
        logits, inner = self.network(average_pool(x, self.pool_after))
        logits = logits.astype(jnp.float32)
        if self.pairs:
            logits = (logits[:, :10, None] + logits[:, None, 10:]).reshape(logits.shape[0], _PAIRS)
        return logits, {**inner, **out}


class _TwoTransformers(nnx.Module):
    """Two transformers of one image, each with a localiser of its own; the first's channels come first."""

    def __init__(self, shape: Sequence[int], warp: str, dtype: DTypeLike | None, rngs: nnx.Rngs):
        localisers = [FCNLocaliser(shape, dtype=dtype, rngs=rngs) for _ in range(2)]
        self.each = nnx.List([SpatialTransformer(loc, loc.features, warp=warp, rngs=rngs) for loc in localisers])

    def __call__(self, image: Float[Array, "n h w 2"]) -> tuple[Float[Array, "n h w 4"], dict[str, Array]]:
        (first, a), (second, b) = (transformer(image) for transformer in self.each)
        out = {"theta": jnp.stack([a["theta"], b["theta"]], 1), "coords": jnp.stack([a["coords"], b["coords"]], 3)}
        return jnp.concatenate([cast(Array, first), cast(Array, second)], -1), out


def _on_a_map(model, shape, options, dtype, rngs):
    if model == "none":
        return None
    if model.startswith("vtn"):
        return VolumetricTransformer(shape[-1], {"vtn_one": 1, "vtn_two": 2}[model], dtype=dtype, rngs=rngs, **options)
    localiser = FCNLocaliser(shape, dtype=dtype, rngs=rngs)
    if model == "affine":
        return SpatialTransformer(localiser, localiser.features, rngs=rngs)
    return AffineGroups(localiser, localiser.features, shape[-1], shape[-1], rngs=rngs)
