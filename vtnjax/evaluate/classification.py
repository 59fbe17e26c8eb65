"""Loss and accuracy over a test set."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vtnjax.evaluate.base import Test


@dataclasses.dataclass(frozen=True)
class Classification:
    """Mean "loss" and "accuracy", in 0..1, of a network that returns `(logits, out)`.

    The batches of the test set hold "image", "label" and "mask", which is 0 where a record only fills the batch up.
    Labels are (n,), or (n, k): then the k losses are added, and all k labels must be right.

    Attributes:
        flip: whether the logits are the means of those of each image and of its mirror image, left to right, as
            iSQRT-COV and TASN are tested.
    """

    flip: bool = False

    @property
    def how(self) -> str:
        """What is said beside the figures."""
        return "of images and their mirror images" if self.flip else ""

    @property
    def figure(self) -> str:
        """The name of the figure by which the best checkpoint is chosen."""
        return "accuracy"

    def __call__(self, model: nnx.Module, test: Test) -> dict[str, float]:
        """The figures of a network in evaluation mode.

        The network is compiled once for each structure, so whatever a module keeps beside its variables must be
        hashable.

        Raises:
            ValueError: if there is no record to score.
        """
        graphdef, state = nnx.split(model)
        total: dict[str, float] = {"loss": 0.0, "correct": 0.0, "count": 0.0}
        # All batches are under way before the first result is waited for.
        for sums in jax.device_get([_score(graphdef, state, batch, self.flip) for batch in test()]):
            total = {name: total[name] + float(sums[name]) for name in total}
        if not total["count"]:
            raise ValueError("test must give at least one record, not none")
        return {"loss": total["loss"] / total["count"], "accuracy": total["correct"] / total["count"]}


def all_right(logits: Float[Array, "n *k classes"], labels: Int[Array, "n *k"]) -> Bool[Array, " n"]:
    """Whether the likeliest class is the label, for all k labels of an image; its mean is the sequence accuracy."""
    right = logits.argmax(-1) == labels
    return right.all(tuple(range(1, right.ndim)))


@functools.partial(jax.jit, static_argnums=(0, 3))
def _score(graphdef: nnx.GraphDef, state: Any, batch: dict[str, Array], flip: bool) -> dict[str, Array]:
    model, image = nnx.merge(graphdef, state, copy=True), batch["image"]
    logits, _ = model(image)
    if flip:
        logits = (logits + model(image[..., ::-1, :])[0]) / 2
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    losses = losses.sum(tuple(range(1, losses.ndim)))
    correct, mask = all_right(logits, batch["label"]).astype(jnp.float32), batch["mask"]
    return {"loss": jnp.sum(losses * mask), "correct": jnp.sum(correct * mask), "count": jnp.sum(mask)}
