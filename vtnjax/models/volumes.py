"""Networks for digits in volumes: a 3-D transformer turns them until a projection is easy to read (STN A.3)."""

from collections.abc import Sequence
from typing import cast

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vtnjax._checks import check_choice
from vtnjax.models.layers import MODELS, PARAMETERS, FCNLocaliser, count_parameters
from vtnjax.models.pooling import average_pool
from vtnjax.models.stn import STN
from vtnjax.nn import SpatialTransformer


class VolumeLocaliser(nnx.Module):
    """Means of cubes of 4 x 4 x 4 voxels, and the three hidden layers of 32 units that an ST-FCN's localiser has (A.4).

    The paper names none for volumes. Small 3-D convolutions cost more on a CPU than all the rest of the network.
    """

    features = FCNLocaliser.features
    pool = 4

    def __init__(self, shape: Sequence[int], *, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        *sizes, channels = shape
        if min(sizes) < self.pool:
            raise ValueError(f"shape must be at least {self.pool} voxels along each axis, not {tuple(sizes)}")
        small = (*(size // self.pool for size in sizes), channels)
        self.layers = FCNLocaliser(small, dtype=dtype, rngs=rngs)

    def __call__(self, volume: Float[Array, "n d h w c"]) -> Float[Array, "n 32"]:
        """Features of the last layer."""
        # A digit fills so few of the cubes that their root mean square is about 1 / 16: it starts at 1.
        return self.layers(16 * average_pool(volume, self.pool))


class VolumeNetwork(nnx.Module):
    """A classifier of the paper that reads a volume's projection along its depth, with a 3-D affine transformer before.

    Calling it with volumes (n, d, h, w, c) returns `(logits, out)`: `plane` (n, h', w', c), the projection before its
    pooling, and `features` of the classifier; of a transformer `theta` (n, 3, 4), `coords` (n, d', h', w', 3) and
    `warped` (n, d', h', w', c).
    """

    def __init__(
        self,
        model: str,
        shape: Sequence[int],
        *,
        classes: int = 10,
        sampled: Sequence[int] | None = None,
        pool: int = 1,
        parameters: int = PARAMETERS,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        """Make a network of about `parameters` parameters.

        Args:
            model: "fcn", "cnn", "st_fcn" or "st_cnn"; those without "st_" project the volume as it is.
            shape: (d, h, w, c) of the volumes.
            classes: how many classes.
            sampled: (d', h', w') of the transformer's output, by default the volumes' size. A smaller one costs less
                and, until theta zooms in, reads the volume without anti-aliasing.
            pool: average pooling of the projection.
            parameters: about how many parameters the whole network has.
            dtype: of the computation, float32 by default; the warp's coordinates stay float32.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if the model's name is wrong, or the volumes or the projection are too small for it.
        """
        check_choice("model", model, MODELS)
        self.pool = pool
        _, h, w, c = shape
        if model.startswith("st_"):
            localiser = VolumeLocaliser(shape, dtype=dtype, rngs=rngs)
            options = {"warp": "affine3d", "shape": sampled}
            self.transformer = SpatialTransformer(localiser, localiser.features, **options, rngs=rngs)
            _, h, w = self.transformer.shape or shape[:3]
        else:
            self.transformer = None
        left = parameters - count_parameters(self.transformer)
        options = {"classes": classes, "parameters": left, "dtype": dtype}
        self.classifier = STN(model.removeprefix("st_"), (h // pool, w // pool, c), **options, rngs=rngs)

    def __call__(self, volume: Float[Array, "n d h w c"]) -> tuple[Float[Array, "n classes"], dict[str, Array]]:
        """Logits in float32 and what there is to see; see the class."""
        out = {}
        if self.transformer is not None:
            warped, out = self.transformer(volume)
            volume = cast(Array, warped)
            out = {**out, "warped": volume}
        plane = project_depth(volume)
        logits, inner = self.classifier(average_pool(plane, self.pool))
        return logits, {**inner, **out, "plane": plane}


def project_depth(volume: Float[Array, "n d h w c"]) -> Float[Array, "n h w c"]:
    """The projection of volumes along their depth, W = sum_l V_l (A.3)."""
    # As a product: a sum would be fused with the sampler's gathers, and run several times slower on a CPU.
    ones = jnp.ones(volume.shape[1], volume.dtype)
    return jnp.einsum("ndhwc,d->nhwc", volume, ones, precision=lax.Precision.HIGHEST)
