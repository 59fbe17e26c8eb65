"""Several attention windows on one photograph, each read by a network of its own: STN section 4.3 and A.6, Fig. 6."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vtnjax.models.layers import FeatureLocaliser, features_shape, last_features
from vtnjax.models.pooling import average_pool
from vtnjax.nn import SpatialTransformer


class WindowLocaliser(nnx.Module):
    """The localiser that all windows share: a trunk without its last pooling, and a `FeatureLocaliser` on it (A.6).

    Calling it with images (n, h, w, c) returns features (n, width), of which a linear layer makes the windows' places.
    """

    def __init__(
        self,
        trunk: nnx.Module,
        shape: Sequence[int],
        *,
        width: int = 128,
        downscale: int = 1,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        """Put it together.

        Args:
            trunk: a module from images to features by name, the last of which are read; its own copy, not a stream's.
            shape: (h, w, c) of the images.
            width: channels of the 1 x 1 convolution and units of the layer behind it.
            downscale: what the images' sides are divided by first, by means of squares of pixels; 2 at 448 pixels.
            dtype: of the computation.
            rngs: NNX's random streams; `params` is used.
        """
        h, w, c = shape
        self.trunk, self.downscale = trunk, downscale
        features = features_shape(trunk, (h // downscale, w // downscale, c))
        self.layers = FeatureLocaliser(features, width, dtype=dtype, rngs=rngs)

    def __call__(self, image: Float[Array, "n h w c"]) -> Float[Array, "n width"]:
        """The features."""
        return self.layers(last_features(self.trunk, average_pool(image, self.downscale)))


class MultiStreamSTN(nnx.Module):
    """Windows of one size that one localiser places, a trunk for each, and one classifier of them all (STN A.6).

    Without windows there is one trunk, which reads the whole image: the paper's CNN.

    Calling it with images (n, h, w, c) returns `(logits, out)`: logits (n, classes), float32; `out["features"]` (n,
    streams, h', w', k), the last of each trunk; and with windows `theta` (n, streams, 2), where they are, `coords`
    (n, streams, h2, w2, 2), in pixels of the images, and `warped` (n, streams, h2, w2, c), what they show.

    Untrained, the windows tile the image (see `tile_centres`), whatever it shows: the localiser's last kernel is zero.
    """

    draws = True

    def __init__(
        self,
        trunk: nnx.Module,
        shape: Sequence[int],
        classes: int,
        *,
        count: int = 2,
        window: Sequence[int] = (224, 224),
        scale: float = 0.5,
        width: int = 128,
        downscale: int = 1,
        dropout: float = 0.7,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        """Put it together.

        Args:
            trunk: a module from images to features by name; the mean over the positions of the last features is a
                window's descriptor. It is the first stream's; the others' and the localiser's begin as copies of it, as
                in the paper all begin as one pretrained Inception.
            shape: (h, w, c) of the images.
            classes: of the logits.
            count: of windows; 2 and 4 in the paper, 0 without.
            window: (h2, w2) of what a window shows.
            scale: the windows' sides as a fraction of the image's, fixed.
            width: of the localiser, see `WindowLocaliser`.
            downscale: what the sides of the localiser's images are divided by, as `WindowLocaliser` has it.
            dropout: which part of the descriptors is dropped before the classifier, in training.
            dtype: of the computation; the coordinates stay float32.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if there is a single window, or fewer than none.
        """
        if count < 0 or count == 1:
            raise ValueError(f"count must be 0, without windows, or at least 2, not {count}")
        self.streams = nnx.List([trunk, *(nnx.clone(trunk, arrays=True) for _ in range(count - 1))])
        if not count:
            self.transformer = None
        else:
            localiser = WindowLocaliser(
                nnx.clone(trunk, arrays=True), shape, width=width, downscale=downscale, dtype=dtype, rngs=rngs
            )
            options = {"warp": "attention", "scale": scale, "count": count, "shape": window}
            # Named so that the optimiser knows the localiser's parameters.
            self.transformer = SpatialTransformer(localiser, width, **options, rngs=rngs)
            self.transformer.head.bias = nnx.Param(jnp.asarray(tile_centres(count).ravel(), jnp.float32))
        read = (*window, shape[-1]) if count else shape
        channels = features_shape(trunk, read)[-1] * len(self.streams)
        self.dropout = nnx.Dropout(dropout)
        self.classifier = nnx.Linear(channels, classes, dtype=dtype, rngs=rngs)

    def __call__(
        self, image: Float[Array, "n h w c"], rngs: nnx.Rngs | None = None
    ) -> tuple[Float[Array, "n classes"], dict[str, Array]]:
        """Logits and what there is to see; see the class. `rngs` are for the dropout, in training."""
        windows, out = (image,), {}
        if self.transformer is not None:
            windows, out = self.transformer(image)
            out["warped"] = jnp.stack(windows, axis=1)
        features = [last_features(stream, window) for stream, window in zip(self.streams, windows, strict=True)]
        descriptor = jnp.concatenate([each.mean((1, 2)) for each in features], axis=-1)
        logits = self.classifier(self.dropout(descriptor, rngs=rngs))
        return logits.astype(jnp.float32), {"features": jnp.stack(features, axis=1), **out}


def tile_centres(count: int) -> Float[np.ndarray, "count 2"]:
    """Where the middles of so many equal parts of an image are, (x, y) from -1 to 1, row by row from the top left.

    The parts are those of the grid nearest to a square, with more columns than rows: two side by side, four as 2 x 2.
    """
    rows = max(n for n in range(1, math.isqrt(count) + 1) if count % n == 0)
    columns = count // rows
    y, x = np.meshgrid(*((2 * np.arange(n) + 1) / n - 1 for n in (rows, columns)), indexing="ij")
    return np.stack([x.ravel(), y.ravel()], axis=-1)
