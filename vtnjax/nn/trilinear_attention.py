"""Trilinear attention: a map for each channel of a network's features."""

from collections.abc import Sequence

import jax
from flax import nnx
from jaxtyping import Array, Float

from vtnjax import ops
from vtnjax._checks import check_choice
from vtnjax.ops.attention import check_normalise

KINDS = ("trilinear", "features", "self")
# The rows of TASN's Table 2, and self-attention, as arguments of `TrilinearAttention`.
TABLE_2 = {
    "both": {"normalise": ("spatial", "relation")},
    "features": {"kind": "features"},
    "plain": {"normalise": ()},
    "spatial": {"normalise": ("spatial",)},
    "spatial_both": {"normalise": ("spatial", "spatial_right")},
    "output": {"normalise": ("output",)},
    "relation": {"normalise": ("relation",)},
    "self": {"kind": "self"},
}


class TrilinearAttention(nnx.Module):
    """Attention maps of convolutional features, without parameters (TASN section 3.1; the rows of its Table 2).

    Calling it with features (n, h, w, c) returns maps (n, h, w, c), or (n, h, w, h * w) of self-attention, at least
    float32. Of a map, `ops.attention_coords` uses the positive values and their ratios alone.

    Examples:
        >>> features = jnp.ones((2, 3, 4, 5))
        >>> nn.TrilinearAttention()(features).shape  # a map for each channel
        (2, 3, 4, 5)
        >>> maps = nn.TrilinearAttention("self")(features)
        >>> maps.shape, float(maps[0, :, :, 0].sum().round(2))  # a map for each position
        ((2, 3, 4, 12), 1.0)
    """

    def __init__(
        self,
        kind: str = "trilinear",
        *,
        normalise: Sequence[str] = ("spatial", "relation"),
        sharpness: float = 7.0,
    ):
        """Make the maps of one row of Table 2; the default is the last row, with the reference implementation's factor.

        Args:
            kind: "trilinear", "features" (the features are the maps: the row X) or "self" (self-attention).
            normalise: the softmaxes of "trilinear", as in `ops.trilinear_attention`.
            sharpness: as in `ops.trilinear_attention`; the paper's is 1.

        Raises:
            ValueError: if a name is wrong or the sharpness is not positive.
        """
        check_choice("kind", kind, KINDS)
        self.kind, self.normalise, self.sharpness = kind, check_normalise(normalise, sharpness), sharpness

    def __call__(self, features: Float[Array, "n h w c"]) -> Float[Array, "n h w k"]:
        """The maps of a batch, as the class says."""
        if features.ndim != 4:
            raise ValueError(f"features must have the shape (n, h, w, c), but their shape is {features.shape}")
        if self.kind == "features":
            return features
        if self.kind == "self":
            return jax.vmap(ops.self_attention)(features)
        return jax.vmap(
            lambda x: ops.trilinear_attention(x, normalise=self.normalise, sharpness=self.sharpness),
        )(features)
