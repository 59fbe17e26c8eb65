"""Where in an image a network sees a class: Grad-CAM (Selvaraju et al. 2017), and HiResCAM (Draelos & Carin 2020)."""

from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from vtnjax._arrays import check_floating, check_rank, widest
from vtnjax._checks import check_choice


@runtime_checkable
class OneTrunk(Protocol):
    """A network that is one trunk and what classifies its last features, as `models.WarpedFeatures` is."""

    def features(self, image: Array) -> Array:
        """The last features (n, h', w', k) of images (n, h, w, c)."""
        ...

    def classify(self, features: Array) -> tuple[Array, dict[str, Array]]:
        """Logits (n, classes) of the last features, and what there is to see."""
        ...


def grad_cam(features: Float[ArrayLike, "h w c"], gradients: Float[ArrayLike, "h w c"]) -> Float[Array, "h w"]:
    """The heat map of a class: the channels' sum, each weighted by its mean gradient, and 0 where that is negative.

    Of a network with mean pooling and one linear layer it is the class activation map, rectified, over h w.

    Args:
        features: (h, w, c), the features of one image.
        gradients: (h, w, c), the gradient of the class's logit with respect to them.

    Returns:
        (h, w), at least 0, in the wider of float32 and the features' dtype.

    Raises:
        ValueError: if they are not floating or not (h, w, c), or of different shapes.
    """
    features, gradients = _pair(features, gradients)
    return jax.nn.relu(jnp.sum(features * gradients.mean((0, 1), keepdims=True), axis=-1))


def hires_cam(features: Float[ArrayLike, "h w c"], gradients: Float[ArrayLike, "h w c"]) -> Float[Array, "h w"]:
    """The heat map of a class: the channels' sum, each weighted at each position by its gradient there.

    It is `grad_cam` where the gradient is the same at every position, as with mean pooling and one linear layer. Where
    it has both signs, as before a covariance, its mean says little, and this map is the one that tells which positions
    raise the logit. Arguments, result and errors are those of `grad_cam`.
    """
    features, gradients = _pair(features, gradients)
    return jax.nn.relu(jnp.sum(features * gradients, axis=-1))


METHODS = {"grad_cam": grad_cam, "hires_cam": hires_cam}


def check_heat(model: Any) -> None:
    """Raise a ValueError unless a network is an `OneTrunk`."""
    if not isinstance(model, OneTrunk):
        raise ValueError(
            "the network must be one trunk and a classifier of its last features, as warped_features and dcl are, to "
            f"have a heat map, not {type(model).__name__}"
        )


def with_heat(
    model: Any, image: Float[Array, "n h w c"], label: Int[Array, "n"] | None = None, *, method: str = "grad_cam"
) -> tuple[Float[Array, "n classes"], dict[str, Array]]:
    """A network's logits and `out` with `heat`, a map (n, h', w') of its trunk's last features for each image.

    Where the network warps these features, the gradients go through the warp, and the heat is that of the features
    before it: in the image's frame.

    Args:
        model: the network, an `OneTrunk`, in evaluation mode.
        image: (n, h, w, c), the network's input.
        label: (n,), the class whose heat it is for each image; None: the likeliest.
        method: "grad_cam" or "hires_cam", which of the two maps it is.

    Raises:
        ValueError: if the network has no `features` and `classify`, or `method` is another name.
    """
    check_heat(model)
    check_choice("method", method, tuple(METHODS))

    def of_class(features):
        logits, out = model.classify(features)
        chosen = logits.argmax(-1) if label is None else label
        # An image's logits depend on its own features alone, so that the gradient of the sum holds each one's.
        return jnp.take_along_axis(logits, chosen[:, None], axis=-1).sum(), (logits, out)

    features = model.features(image)
    gradients, (logits, out) = jax.grad(of_class, has_aux=True)(features)
    return logits, {**out, "heat": jax.vmap(METHODS[method])(features, gradients)}


def _pair(features, gradients):
    """Both as floating arrays of one shape, in the dtype of the map."""
    features, gradients = jnp.asarray(features), jnp.asarray(gradients)
    for name, each in (("features", features), ("gradients", gradients)):
        check_floating(name, each)
        check_rank(name, each, "h w c")
    if features.shape != gradients.shape:
        raise ValueError(f"gradients must have the shape {features.shape} of the features, not {gradients.shape}")
    dtype = widest(features.dtype, jnp.float32)
    return features.astype(dtype), gradients.astype(dtype)
