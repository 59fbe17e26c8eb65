"""Spatial transformers at any depth of a network, which warp features there or the input (Finnveden et al. 2020)."""

import math
from collections.abc import Callable, Sequence
from typing import cast

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vtnjax._checks import check_choice
from vtnjax.models.layers import FCNLocaliser, output_shape
from vtnjax.models.pooling import average_pool
from vtnjax.nn import SpatialTransformer

MODES = ("features", "shared", "deep")


class PlacedSTN(nnx.Module):
    """A network of layers with affine spatial transformers behind some of them.

    At placement X the localiser reads what the first X layers make. What is warped, and by whose layers:

    - "features" (STN-CX): those features. A spatial warp moves them, but a turned image also answers in other channels,
      which no warp undoes (Eq. 1).
    - "shared" (STN-SLX): the input, on which the same layers run again.
    - "deep": the input, too, but the localiser's layers are a copy that learns on its own.

    Where the input is warped at several placements, each predicts from what the one before has made of it, their
    matrices are multiplied and the original input is sampled once, as the authors' code has it.

    Calling it with images (n, h, w, c) returns `(logits, out)`: `features` before the classifier, `theta` (n, 2, 3) and
    `coords` (n, h', w', 2) of the last warp, `warped`, what it made, before pooling. Without placements there are
    `features` only.
    """

    def __init__(
        self,
        layers: Sequence[Callable[[Array], Array]],
        classifier: Callable[[int], Callable[[Array], Array]],
        shape: Sequence[int],
        *,
        placements: Sequence[int] = (0,),
        mode: str = "features",
        localiser: Callable[..., nnx.Module] = FCNLocaliser,
        padding: str = "zeros",
        pool: int = 1,
        draws: bool = False,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        """Put it together.

        Args:
            layers: modules from (n, h, w, c) to (n, h', w', c').
            classifier: makes a module from (n, cells) to logits, given the number of cells of the last layer's output.
            shape: (h, w, c) of the images.
            placements: behind how many layers each transformer stands, 0 for the input, rising.
            mode: "features", "shared" or "deep"; see the class.
            localiser: makes a module with an attribute `features` from a shape, `dtype` and `rngs`.
            padding: what the warps read outside, as `ops.sample` has it; the authors have "border" for digits, "zeros"
                for house numbers.
            pool: average pooling of what the last warp made, or of the image if there is none.
            draws: whether the layers and the classifier draw, as dropout does, and are called with `rngs=`.
            dtype: of the computation, float32 by default; the warps' coordinates stay float32.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if the mode's name is wrong, or the placements do not rise from 0 to the number of layers.
        """
        check_choice("mode", mode, MODES)
        placements, layers = tuple(placements), list(layers)
        if list(placements) != sorted(set(placements)) or not all(0 <= place <= len(layers) for place in placements):
            raise ValueError(f"placements must rise from 0 to at most the {len(layers)} layers, not {placements}")
        self.mode, self.placements, self.pool = mode, placements, pool
        self.draws = draws
        self.layers = nnx.List(layers)
        # Named so that the optimiser knows the localisers' parameters.
        self.transformer = nnx.List(
            [
                _Placed(
                    [nnx.clone(layer, arrays=True) for layer in layers[:place]] if mode == "deep" else [],
                    localiser(_shape(layers[:place], shape), dtype=dtype, rngs=rngs),
                    padding,
                    rngs,
                )
                for place in placements
            ]
        )
        self.classifier = classifier(math.prod(self._features_shape(shape)))

    def __call__(
        self, image: Float[Array, "n h w c"], rngs: nnx.Rngs | None = None
    ) -> tuple[Float[Array, "n *k classes"], dict[str, Array]]:
        """Logits in float32 and what there is to see; see the class. `rngs` are for layers that draw, in training."""
        options = {"rngs": rngs} if self.draws else {}
        x, out = (self._warp_input if self._pools_input else self._warp_features)(image, options)
        logits = self.classifier(x.reshape(x.shape[0], -1), **options)
        return logits.astype(jnp.float32), {"features": x, **out}

    @property
    def _pools_input(self):
        return self.mode != "features" or not self.placements

    def _warp_features(self, image, options):
        x, out, done = image, {}, 0
        for place, transformer in zip(self.placements, self.transformer, strict=True):
            x = _run(self.layers[done:place], x, options)
            x, out = transformer.warp(x, transformer.predict(x))
            out, done = {**out, "warped": x}, place
            x = average_pool(x, self.pool) if place == self.placements[-1] else x
        return _run(self.layers[done:], x, options), out

    def _warp_input(self, image, options):
        x, theta, out = image, None, {}
        for place, transformer in zip(self.placements, self.transformer, strict=True):
            layers = transformer.layers if self.mode == "deep" else self.layers[:place]
            further = transformer.predict(_run(layers, x, options))
            theta = further if theta is None else compose(theta, further)
            x, out = transformer.warp(image, theta)
            out = {**out, "warped": x}
        return _run(self.layers, average_pool(x, self.pool), options), out

    def _features_shape(self, shape):
        h, w, c = shape
        if self._pools_input:
            return _shape(self.layers, (h // self.pool, w // self.pool, c))
        h, w, c = _shape(self.layers[: self.placements[-1]], shape)
        return _shape(self.layers[self.placements[-1] :], (h // self.pool, w // self.pool, c))


class _Placed(nnx.Module):
    """A localiser, the layers of its own before it, and its transformer."""

    def __init__(self, layers, localiser, padding, rngs):
        self.layers, self.localiser = nnx.List(layers), localiser
        self.transformer = SpatialTransformer(None, localiser.features, padding=padding, rngs=rngs)

    def predict(self, features: Array) -> Float[Array, "n 2 3"]:
        return self.transformer.predict(features=self.localiser(features))

    def warp(self, image: Array, theta: Float[Array, "n 2 3"]) -> tuple[Array, dict[str, Array]]:
        warped, out = self.transformer.warp(image, theta)
        return cast(Array, warped), out


def compose(first: Float[Array, "n 2 3"], second: Float[Array, "n 2 3"]) -> Float[Array, "n 2 3"]:
    """The affine matrices of a warp by `first` and of its result by `second`: coordinates pass the second one first."""
    last = jnp.broadcast_to(jnp.asarray([0, 0, 1], second.dtype), (second.shape[0], 1, 3))
    return jnp.einsum(
        "nij,njk->nik", first, jnp.concatenate([second, last], axis=1), precision=jax.lax.Precision.HIGHEST
    )


def _run(layers, x, options):
    for layer in layers:
        x = layer(x, **options)
    return x


def _shape(layers, shape) -> tuple[int, int, int]:
    """(h, w, c) of what layers make of an image of a shape."""

    def read(layers, image):
        for layer in layers:
            layer.eval()
        return _run(layers, image, {})

    return output_shape(read, nnx.List(list(layers)), shape)
