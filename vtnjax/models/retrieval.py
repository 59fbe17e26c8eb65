"""Networks for instance-level retrieval: from images to descriptors of length 1, which are compared by products."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from vtnjax._arrays import widest
from vtnjax._checks import check_positive
from vtnjax.models.layers import last_features, padded_features
from vtnjax.ops.pooling import unit


class RetrievalNet(nnx.Module):
    """A trunk, a warp of its last features where wanted, a pooling of them, and a whitening where wanted.

    Calling it with images (n, h, w, 3) returns `(descriptors, out)`: descriptors (n, d) of length 1, at least float32;
    `out["features"]` (n, h', w', k) of the trunk, `out["warped"]` as they are pooled, `out["pooled"]` (n, d') before it
    is brought to length 1, and what the warp tells. The product of two descriptors is the cosine of their angle.

    As in the reference code of Radenovic (2018) what is pooled is brought to length 1 and, where there is a whitening,
    passes it and is brought to length 1 again. A vector is divided by its length plus 1e-6.
    """

    def __init__(
        self,
        trunk: Any,
        pool: Callable[[Array], Array],
        *,
        transformer: Callable[[Array], tuple[Array, dict[str, Array]]] | None = None,
        whitening: Callable[[Array], Array] | None = None,
        scale: float = 1.0,
        rngs: nnx.Rngs,
    ):
        """Put a network together.

        Args:
            trunk: a module from images to features by name, the last of which are described.
            pool: a module or a function from features (n, h, w, k) to (n, d'), such as `nn.GeM`, `nn.RMAC` or
                `jax.vmap(ops.mac)`.
            transformer: a module from features to `(warped, out)`, such as a VTN; None: no warp.
            whitening: a module from (n, d') to (n, d), such as `nnx.Linear`; None: none.
            scale: a factor of the trunk's last features, which warps see; see `models.WarpedFeatures`. No pooling here
                tells features from their multiples, but for their rounding.
            rngs: NNX's random streams, which every network takes; none is used.

        Raises:
            ValueError: if `scale` is not above 0 and finite.
        """
        check_positive("scale", scale)
        self.trunk, self.transformer, self.pool, self.whitening = trunk, transformer, pool, whitening
        self.scale = scale

    def __call__(self, image: Float[Array, "n h w 3"]) -> tuple[Float[Array, "n d"], dict[str, Array]]:
        """Descriptors and what there is to see; see the class."""
        return self.describe(self.features(image))

    def features(self, image: Float[Array, "n h w 3"]) -> Float[Array, "n h2 w2 k"]:
        """The trunk's last features (n, h', w', k) of images (n, h, w, 3), times `scale`."""
        return last_features(self.trunk, image) * self.scale

    def padded(
        self, image: Float[Array, "n h w 3"], inside: Bool[Array, "n h w 1"]
    ) -> tuple[Float[Array, "n h2 w2 k"], Bool[Array, "n h2 w2 1"]]:
        """The same of padded images, and where the image is in them; see `padded_features`."""
        features, inside = padded_features(self.trunk, image, inside)
        return features * self.scale, inside

    def describe(self, features: Float[Array, "n h w k"]) -> tuple[Float[Array, "n d"], dict[str, Array]]:
        """Descriptors (n, d) of `features` (n, h', w', k), and `out` as the call has it."""
        warped, out = self.warp(features)
        descriptors, pooled = self.descriptors(warped)
        return descriptors, {"features": features, "warped": warped, "pooled": pooled, **out}

    def warp(self, features: Float[Array, "n h w k"]) -> tuple[Float[Array, "n h2 w2 k"], dict[str, Array]]:
        """The features as they are pooled, and what the warp tells."""
        return (features, {}) if self.transformer is None else self.transformer(features)

    def descriptors(self, warped: Float[Array, "n h w k"]) -> tuple[Float[Array, "n d"], Float[Array, "n d2"]]:
        """Descriptors (n, d) of warped features, and what was pooled of these (n, d')."""
        pooled = self.pool(warped)
        found = _unit(pooled)
        return (found if self.whitening is None else _unit(self.whitening(found))), pooled


def _unit(vectors):
    return unit(vectors.astype(widest(jnp.float32, vectors.dtype)))
