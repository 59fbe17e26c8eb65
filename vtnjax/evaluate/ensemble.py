"""Predictions averaged over the mirrored image and over several trained networks (TASN Tables 6, 8 and 9)."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float


def make_ensemble(
    graphdefs: Sequence[nnx.GraphDef], *, flip: bool
) -> Callable[[Sequence[tuple[Any, Any]], Sequence[Array], dict[str, Array]], dict[str, Array]]:
    """A pure function that scores one batch by the mean of the members' probabilities.

    Args:
        graphdefs: the members' structures; each returns `(logits, out)`.
        flip: whether each also sees the images mirrored, left to right.

    Returns:
        `(states, images, batch) -> sums`, as `make_classify` has them: `states` holds (params, statistics) and `images`
        the batch's images as each member takes them; the loss is that of the averaged probabilities.
    """

    def score(states, images, batch):
        each = [
            _probabilities(graphdef, params, statistics, image, flip)
            for graphdef, (params, statistics), image in zip(graphdefs, states, images, strict=True)
        ]
        probabilities = sum(each[1:], each[0]) / len(each)
        right = jnp.take_along_axis(probabilities, batch["label"][:, None], axis=1)[:, 0]
        losses = -jnp.log(jnp.maximum(right, jnp.finfo(right.dtype).tiny))
        correct = (probabilities.argmax(-1) == batch["label"]).astype(jnp.float32)
        mask = batch["mask"]
        return {"loss": jnp.sum(losses * mask), "correct": jnp.sum(correct * mask), "count": jnp.sum(mask)}

    return score


def _probabilities(graphdef, params, statistics, images, flip) -> Float[Array, "n classes"]:
    def predict(images):
        model = nnx.merge(graphdef, params, statistics, copy=True)
        model.eval()
        return jax.nn.softmax(model(images)[0])

    found = predict(images)
    return (found + predict(images[..., ::-1, :])) / 2 if flip else found
