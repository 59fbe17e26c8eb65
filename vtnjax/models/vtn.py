"""A trunk, a warp of its last features, and a classifier: the networks of VTN's Table 1, and small ones."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vtnjax._checks import check_positive
from vtnjax.models.layers import last_features


class WarpedFeatures(nnx.Module):
    """A network that warps the last features of its trunk before it classifies them (VTN sections 3.5 and 4.2).

    Calling it with images (n, h, w, c) returns `(logits, out)`: logits (n, classes), float32; `out["features"]`
    (n, h', w', k) as `features` gives them, `out["warped"]` as the classifier takes them, and what the warp tells, such
    as `coords` in pixels of the feature map.
    """

    def __init__(
        self,
        backbone: Callable[[Array], dict[str, Array]],
        transformer: Callable[[Array], tuple[Array, dict[str, Array]]] | None,
        classifier: Callable[[Array], Array],
        *,
        scale: float = 1.0,
    ):
        """Put a network together.

        Args:
            backbone: a module from images to features by name, the last of which are warped.
            transformer: a module from features (n, h, w, k) to `(warped, out)`; None: no warp.
            classifier: a module from warped features to logits.
            scale: a factor of the trunk's last features. Activations of trunks without BatchNorm reach several hundred,
                and warps and classifiers are drawn for features of order one.

        Raises:
            ValueError: if `scale` is not above 0 and finite.
        """
        check_positive("scale", scale)
        self.backbone, self.transformer, self.classifier, self.scale = backbone, transformer, classifier, scale

    def __call__(self, image: Float[Array, "n h w c"]) -> tuple[Float[Array, "n classes"], dict[str, Array]]:
        """Logits and what there is to see; see the class."""
        return self.classify(self.features(image))

    def features(self, image: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 k"]:
        """The trunk's last features (n, h', w', k) of images (n, h, w, c), times `scale`."""
        return last_features(self.backbone, image) * self.scale

    def classify(self, features: Float[Array, "n h2 w2 k"]) -> tuple[Float[Array, "n classes"], dict[str, Array]]:
        """Logits (n, classes) of `features` (n, h', w', k), and `out` as the call has it."""
        warped, out = (features, {}) if self.transformer is None else self.transformer(features)
        return self.classifier(warped).astype(jnp.float32), {"features": features, "warped": warped, **out}
