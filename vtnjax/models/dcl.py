"""Destruction and construction learning: a classifier that also says whether and how an image was shuffled."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vtnjax._checks import check_at_least_1, check_choice
from vtnjax.models.layers import PooledClassifier
from vtnjax.models.pooling import region_means
from vtnjax.models.vtn import WarpedFeatures

ADVERSARIES = ("classes", "two")
PREDICTIONS = ("classifier", "all")


class DCL(WarpedFeatures):
    """Destruction and construction learning (Chen et al. 2019), with a warp of the features where wanted (VTN Table 3).

    Calling it with images (n, h, w, c) returns `(logits, out)`: logits (n, classes), float32; `out["adversarial"]` (n,
    2 * classes), the classes of images as they are and then of shuffled ones, or (n, 2), shuffled and not;
    `out["places"]` (n, regions, regions), float32, where each region came from, as `losses.location_loss` takes it;
    `out["features"]` of the trunk, `out["warped"]`, and what the warp tells.

    As in the reference code classifier and adversarial layer have no bias and the gradient of the second is not
    reversed, and places are one number each. They are predicted of the features as the trunk gives them, whose
    positions are those of the image; the other two layers read the warped ones.
    """

    def __init__(
        self,
        trunk: Any,
        classes: int,
        *,
        adversarial: str = "classes",
        regions: int = 7,
        transformer: Callable[[Array], tuple[Array, dict[str, Array]]] | None = None,
        predict: str = "classifier",
        scale: float = 1.0,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        """Put it together.

        Args:
            trunk: a module from images to features by name, the last of which are read, with their `channels` by name.
            classes: of the logits.
            adversarial: "classes" tells the classes of images as they are from those of shuffled ones, "two" only
                shuffled images from others.
            regions: into how many an image is cut along each side.
            transformer: a module from features to `(warped, out)`, such as a VTN; None: no warp.
            predict: whose logits are the network's in evaluation mode: "classifier", or "all", to which both halves of
                the adversarial layer are added, as the reference code tests.
            scale: a factor of the trunk's last features, as in `WarpedFeatures`.
            dtype: of the computation.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if a name or a number is wrong, or "all" is to predict without classes.
        """
        check_choice("adversarial", adversarial, ADVERSARIES)
        check_choice("predict", predict, PREDICTIONS)
        check_at_least_1("regions", regions)
        if predict == "all" and adversarial != "classes":
            raise ValueError(f"predict must be 'classifier' where adversarial is {adversarial!r}, not 'all'")
        channels = list(trunk.channels.values())[-1]
        options: dict[str, Any] = {"dtype": dtype, "rngs": rngs}
        classifier = PooledClassifier(channels, classes, use_bias=False, **options)
        super().__init__(trunk, transformer, classifier, scale=scale)
        self.regions, self.predict, self.deterministic = regions, predict, False
        told = 2 * classes if adversarial == "classes" else 2
        self.adversary = nnx.Linear(channels, told, use_bias=False, **options)
        self.locator = nnx.Linear(channels, 1, **options)

    def classify(self, features: Float[Array, "n h2 w2 k"]) -> tuple[Float[Array, "n classes"], dict[str, Array]]:
        """Logits (n, classes) of `features` (n, h', w', k), and `out` as the call has it."""
        logits, out = super().classify(features)
        adversarial = self.adversary(out["warped"].mean((1, 2))).astype(jnp.float32)
        places = region_means(self.locator(features), self.regions)[..., 0].astype(jnp.float32)
        if self.deterministic and self.predict == "all":
            logits += adversarial.reshape(logits.shape[0], 2, -1).sum(1)
        return logits, {**out, "adversarial": adversarial, "places": places}
