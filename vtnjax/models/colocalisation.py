"""The networks of STN's co-localisation (appendix A.2): what looks for the windows, and what compares them."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vtnjax.models.layers import CNN
from vtnjax.models.pooling import max_pool


class ColocalisationLocaliser(nnx.Module):
    """Eight 9 x 9 filters with stride 2, 2 x 2 max pooling with stride 2, and two layers of 8 units (A.2).

    The paper has a stride of 4 and counts 100,000 parameters, which its images of 84 x 84 pixels do not have together:
    with stride 4 and no padding they are 5,920, with stride 1 and a padding of 4 pixels 113,632. Stride 2 with that
    padding has 28,960 and costs a fourth of stride 1; 27 more have the three units that follow in an
    `nn.SpatialTransformer`.
    """

    features = 8

    def __init__(self, shape: Sequence[int], *, rngs: nnx.Rngs):
        """Make a localiser.

        Args:
            shape: (h, w, c) of the images.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if the images are smaller than 3 x 3 pixels.
        """
        h, w, c = shape
        if min(h, w) < 3:
            raise ValueError(f"shape must be at least 3 x 3 pixels for the localiser, not {h} x {w}")
        # The images are almost all black: by the usual small weights the few units would learn slowly, or die first.
        bold, he = (nnx.initializers.variance_scaling(scale, "fan_in", "normal") for scale in (18.0, 2.0))
        self.conv = nnx.Conv(c, 8, (9, 9), strides=(2, 2), padding=4, kernel_init=bold, rngs=rngs)
        cells = ((h - 1) // 2 + 1) // 2 * (((w - 1) // 2 + 1) // 2)
        self.layers = nnx.List([nnx.Linear(size, 8, kernel_init=he, rngs=rngs) for size in (8 * cells, 8)])

    def __call__(self, image: Float[Array, "n h w c"]) -> Float[Array, "n 8"]:
        """Features of the last layer."""
        x = max_pool(nnx.relu(self.conv(image)), 2)
        x = x.reshape(x.shape[0], -1)
        for layer in self.layers:
            x = nnx.relu(layer(x))
        return x


def describe_crops(classifier: CNN, image: Float[Array, "n h w c"]) -> Float[Array, "n d"]:
    """The encoding e of A.2: a CNN's two hidden layers, after pooling, and its logits, side by side in one descriptor.

    The convolutions are matrix products of neighbouring rows with banded matrices: XLA's gradient of a convolution to
    its input, which is all that a frozen encoder needs, is several times slower on a CPU.
    """
    activations, x = [], image
    for layer in (classifier.conv1, classifier.conv2):
        x = max_pool(nnx.relu(_convolve(layer, x)), 2, ceil=True)
        activations.append(x.reshape(x.shape[0], -1))
    return jnp.concatenate([*activations, classifier.classifier(activations[-1])], axis=1)


def _convolve(layer: nnx.Conv, x: Array) -> Array:
    kernel, bias = layer.kernel[...], layer.bias
    assert bias is not None
    rows, columns, inputs, filters = kernel.shape
    h, w = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    # What each of the w outputs of a row takes from all the pixels of `rows` rows.
    shifted = [jnp.pad(kernel, ((0, 0), (i, w - 1 - i), (0, 0), (0, 0))) for i in range(w)]
    band = jnp.stack(shifted, axis=3).reshape(rows * x.shape[2] * inputs, w * filters)
    lines = x.reshape(*x.shape[:2], x.shape[2] * inputs)
    windows = jnp.concatenate([lines[:, i : i + h] for i in range(rows)], axis=2)
    y = (windows @ band).reshape(x.shape[0], h, w, filters)
    return y + jnp.broadcast_to(bias[...], y.shape)
