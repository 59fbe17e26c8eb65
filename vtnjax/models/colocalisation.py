"""The networks of STN's co-localisation (appendix A.2): what looks for the windows, and what compares them."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from vtnjax.models.pooling import max_pool
from vtnjax.models.stn import CNN


class ColocalisationLocaliser(nnx.Module):
    """Eight 9 x 9 filters with stride 4, 2 x 2 max pooling with stride 2, and two layers of 8 units (A.2).

    The paper counts 100,000 parameters; on its images of 84 x 84 pixels these layers have 5,920, and 27 the three units
    that follow in an `nn.SpatialTransformer`. Convolution and pooling are without padding.
    """

    features = 8

    def __init__(self, shape: Sequence[int], *, rngs: nnx.Rngs):
        """Make a localiser.

        Args:
            shape: (h, w, c) of the images.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if the images are smaller than 13 x 13 pixels.
        """
        h, w, c = shape
        if min(h, w) < 13:
            raise ValueError(f"shape must be at least 13 x 13 pixels for the localiser, not {h} x {w}")
        # The images are almost all black: by the usual small weights the few units would learn slowly, or die first.
        bold, he = (nnx.initializers.variance_scaling(scale, "fan_in", "normal") for scale in (18.0, 2.0))
        self.conv = nnx.Conv(c, 8, (9, 9), strides=(4, 4), padding="VALID", kernel_init=bold, rngs=rngs)
        cells = ((h - 9) // 4 + 1) // 2 * (((w - 9) // 4 + 1) // 2)
        self.layers = nnx.List([nnx.Linear(size, 8, kernel_init=he, rngs=rngs) for size in (8 * cells, 8)])

    def __call__(self, image: Float[Array, "n h w c"]) -> Float[Array, "n 8"]:
        """Features of the last layer."""
        x = max_pool(nnx.relu(self.conv(image)), 2)
        x = x.reshape(len(x), -1)
        for layer in self.layers:
            x = nnx.relu(layer(x))
        return x


def describe_crops(classifier: CNN, image: Float[Array, "n h w c"]) -> Float[Array, "n d"]:
    """The encoding e of A.2: a CNN's two hidden layers, after pooling, and its logits, side by side in one descriptor.

    The convolutions are matrix products of windows laid out side by side: XLA's gradient of a convolution to its
    input, which is all that a frozen encoder needs, is several times slower on a CPU.
    """
    activations, x = [], image
    for layer in (classifier.conv1, classifier.conv2):
        x = max_pool(nnx.relu(_convolve(layer, x)), 2, ceil=True)
        activations.append(x.reshape(len(x), -1))
    return jnp.concatenate([*activations, classifier.classifier(activations[-1])], axis=1)


def _convolve(layer: nnx.Conv, x: Array) -> Array:
    kernel, bias = layer.kernel[...], layer.bias
    rows, columns, inputs, filters = kernel.shape
    h, w = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    windows = [x[:, i : i + h, j : j + w] for i in range(rows) for j in range(columns)]
    y = jnp.concatenate(windows, axis=-1) @ kernel.reshape(rows * columns * inputs, filters)
    assert bias is not None
    return y + jnp.broadcast_to(bias[...], y.shape)
