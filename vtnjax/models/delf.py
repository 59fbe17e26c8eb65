"""DELF: features of the places in an image, and attention that says which of them to keep."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from vtnjax._arrays import widest
from vtnjax._checks import check_at_least_1, check_choice, check_positive
from vtnjax.models.backbones._layers import ConvNorm
from vtnjax.models.backbones.resnet import ResNet
from vtnjax.models.layers import PooledClassifier, padded_features
from vtnjax.ops.pooling import unit

STAGES = ("features", "attention")
_HIDDEN = 512


class Attention(nnx.Module):
    """How much each position counts: two 1 x 1 convolutions, BatchNorm and ReLU between them, and softplus.

    The first convolution has 512 channels, and BatchNorm in place of a bias, as the reference code has it (DELF,
    `delf_v1.py`).
    """

    def __init__(self, channels: int, *, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        self.hidden = ConvNorm(channels, _HIDDEN, 1, dtype=dtype, rngs=rngs)
        self.last = nnx.Linear(_HIDDEN, 1, dtype=dtype, rngs=rngs)

    def __call__(self, features: Float[Array, "n h w c"]) -> Float[Array, "n h w"]:
        """Scores above 0, at least float32."""
        scores = self.last(self.hidden.rectified(features))[..., 0]
        return nnx.softplus(scores.astype(widest(jnp.float32, scores.dtype)))


class DELF(nnx.Module):
    """Attentive local features (DELF, Noh et al. 2017), with a warp of the features where wanted (VTN Table 6).

    It is trained to classify in two stages, each a network of its own. With `stage="features"` the trunk and the warp
    learn: a linear layer classifies the mean of the features. With `stage="attention"` they stay as they are, their
    BatchNorm included, and the attention and its linear layer learn: it classifies the mean over the positions of
    attention * feature / |feature|. The attention reads the features before they are brought to length 1.

    Calling it with images (n, h, w, 3) returns `(logits, out)`: logits (n, classes), float32; `out["features"]`
    (n, h', w', k) of the trunk, `out["warped"]` as they are classified, what the warp tells, such as `coords` in pixels
    of the feature map, and in the stage of attention `out["attention"]` (n, h', w') and `out["pooled"]` (n, k).

    The reference code of 2017 has a ResNet-50 whose third stage has a cell every 32 pixels, because its stride is in
    the last block; here, as in torchvision, it has one every 16. Later code learns both stages in one run, where the
    mean of the fourth stage is classified and the attention reads the third.
    """

    def __init__(
        self,
        trunk: Any,
        classes: int,
        *,
        stage: str = "attention",
        layer: str | None = None,
        transformer: Callable[[Array], tuple[Array, dict[str, Array]]] | None = None,
        scale: float = 1.0,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        """Put it together.

        Args:
            trunk: a module from images to features by name, with their `channels` by name. A ResNet loses the stages
                behind `layer`.
            classes: of the logits.
            stage: of the training, "features" or "attention". The second begins with the weights of the first.
            layer: which features; None: `local_layer` of the trunk.
            transformer: a module from features to `(warped, out)`, such as a VTN; None: no warp.
            scale: a factor of the features, as in `WarpedFeatures`.
            dtype: of the computation.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if a name is wrong, or a number out of range.
        """
        check_choice("stage", stage, STAGES)
        check_at_least_1("classes", classes)
        check_positive("scale", scale)
        self.layer = local_layer(trunk) if layer is None else layer
        check_choice("layer", self.layer, tuple(trunk.channels))
        if isinstance(trunk, ResNet):
            trunk.cut(self.layer)
        self.backbone: Any = trunk
        self.transformer, self.scale = transformer, scale
        channels = trunk.channels[self.layer]
        if stage == "features":
            self.attention = None
            self.classifier = PooledClassifier(channels, classes, dtype=dtype, rngs=rngs)
        else:
            self.attention = Attention(channels, dtype=dtype, rngs=rngs)
            self.attentive_classifier = nnx.Linear(channels, classes, dtype=dtype, rngs=rngs)

    def __call__(self, image: Float[Array, "n h w c"]) -> tuple[Float[Array, "n classes"], dict[str, Array]]:
        """Logits and what there is to see; see the class."""
        return self.classify(self.features(image))

    def features(self, image: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 k"]:
        """The trunk's features (n, h', w', k) of images (n, h, w, 3), times `scale`."""
        return self._as_it_is(self.backbone)(image)[self.layer] * self.scale

    def padded(
        self, image: Float[Array, "n h w c"], inside: Bool[Array, "n h w 1"]
    ) -> tuple[Float[Array, "n h2 w2 k"], Bool[Array, "n h2 w2 1"]]:
        """The same of padded images, and where the image is in them; see `padded_features`."""
        features, inside = padded_features(self.backbone, image, inside, layer=self.layer)
        return features * self.scale, inside

    def classify(self, features: Float[Array, "n h2 w2 k"]) -> tuple[Float[Array, "n classes"], dict[str, Array]]:
        """Logits (n, classes) of `features` (n, h', w', k), and `out` as the call has it."""
        warped, out = self.warp(features)
        out = {"features": features, "warped": warped, **out}
        if self.attention is None:
            return self.classifier(warped).astype(jnp.float32), out
        attention = self.scores(warped)
        wide = warped.astype(attention.dtype)
        pooled = (attention[..., None] * unit(wide)).mean((1, 2))
        logits = self.attentive_classifier(pooled.astype(warped.dtype)).astype(jnp.float32)
        return logits, {**out, "attention": attention, "pooled": pooled}

    def warp(self, features: Float[Array, "n h w k"]) -> tuple[Float[Array, "n h2 w2 k"], dict[str, Array]]:
        """The features as they are classified, through which no gradient passes in the stage of attention."""
        if self.transformer is None:
            warped, out = features, {}
        else:
            warped, out = self._as_it_is(self.transformer)(features)
        return (warped if self.attention is None else lax.stop_gradient(warped)), out

    def scores(self, warped: Float[Array, "n h w k"]) -> Float[Array, "n h w"]:
        """How much each position counts, at least float32: its attention, or before that is learned its length."""
        if self.attention is not None:
            return self.attention(warped)
        wide = warped.astype(widest(jnp.float32, warped.dtype))
        return jnp.sqrt((wide**2).sum(-1))

    def _as_it_is(self, module):
        """A module that learns, or in the stage of attention a copy in evaluation mode."""
        if self.attention is None:
            return module
        copy = nnx.merge(*nnx.split(module), copy=True)
        copy.eval()
        return copy


def local_layer(trunk: Any) -> str:
    """Which of a trunk's features `DELF` reads: a ResNet's third stage, and the last ones of another trunk."""
    return "stage3" if isinstance(trunk, ResNet) else list(trunk.channels)[-1]
