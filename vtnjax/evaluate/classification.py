"""Loss and accuracy over a test set."""

import collections
import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from vtnjax.evaluate.base import Test
from vtnjax.evaluate.folded import folded

# So many batches are computed ahead of the first result that is waited for. Of all at once, the images would fill the
# memory; and processes that share a computation on CPUs stop for ever when more than 32 of them are under way.
_UNDER_WAY = 8


@dataclasses.dataclass(frozen=True)
class Classification:
    """Mean "loss" and "accuracy", in 0..1, of a network that returns `(logits, out)`.

    Of a network that warps there is also "folded", the share of its warps' cells that fold, see `folded`.

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

    def of(self, source: Any) -> "Classification":
        """The same: batches hold all that it needs."""
        return self

    def check(self, model: nnx.Module) -> None:
        """Any network can be evaluated so."""

    def __call__(self, model: nnx.Module, test: Test) -> dict[str, float]:
        """The figures of a network in evaluation mode.

        The network is compiled once for each structure, so whatever a module keeps beside its variables must be
        hashable.

        Raises:
            ValueError: if there is no record to score.
        """
        total = add_up(model, test, flip=self.flip)
        named = {"loss": "loss", "correct": "accuracy", "folded": "folded"}
        return {name: float(total[part] / total["count"]) for part, name in named.items() if part in total}


def add_up(
    model: nnx.Module, test: Test, *, flip: bool, groups: Float[np.ndarray, "classes k"] | None = None
) -> dict[str, Float[np.ndarray, "*k"]]:
    """The "loss", how many records are "correct" and their "count", and what is "folded", added up over a test set.

    Args:
        model: the network in evaluation mode.
        test: the function that gives the batches of the test set.
        flip: whether mirror images are averaged in, as `Classification` says.
        groups: (classes, k), 1 where a class belongs to a group and 0 elsewhere; records are then counted by group.

    Raises:
        ValueError: if there is no record to score.
    """
    graphdef, state = nnx.split(model)
    batches, under_way = [], collections.deque()
    for batch in test():
        under_way.append(_score(graphdef, state, batch, groups, flip))
        if len(under_way) > _UNDER_WAY:
            batches.append(jax.device_get(under_way.popleft()))
    batches += jax.device_get(list(under_way))
    if not batches or not any(sums["count"].any() for sums in batches):
        raise ValueError("test must give at least one record, not none")
    return {name: np.asarray(sum(np.float64(sums[name]) for sums in batches)) for name in batches[0]}


def all_right(logits: Float[Array, "n *k classes"], labels: Int[Array, "n *k"]) -> Bool[Array, " n"]:
    """Whether the likeliest class is the label, for all k labels of an image; its mean is the sequence accuracy."""
    right = logits.argmax(-1) == labels
    return right.all(tuple(range(1, right.ndim)))


@functools.partial(jax.jit, static_argnums=(0, 4))
def _score(
    graphdef: nnx.GraphDef, state: Any, batch: dict[str, Array], groups: Array | None, flip: bool
) -> dict[str, Array]:
    model, image = nnx.merge(graphdef, state, copy=True), batch["image"]
    logits, out = model(image)
    if flip:
        logits = (logits + model(image[..., ::-1, :])[0]) / 2
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    losses = losses.sum(tuple(range(1, losses.ndim)))
    correct, mask = all_right(logits, batch["label"]).astype(jnp.float32), batch["mask"]
    sums = {"loss": jnp.sum(losses * mask), "correct": jnp.sum(correct * mask), "count": jnp.sum(mask)}
    if (share := folded(out)) is not None:
        sums["folded"] = jnp.sum(share * mask)
    if groups is None:
        return sums
    counted = mask[:, None] * groups[batch["label"]]
    return {**sums, "correct": jnp.sum(correct[:, None] * counted, axis=0), "count": jnp.sum(counted, axis=0)}
