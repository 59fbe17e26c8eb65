"""Loss and accuracy over a test set."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int


def make_classify(graphdef: nnx.GraphDef) -> Callable[[Any, Any, dict[str, Array]], dict[str, Array]]:
    """A pure function that scores one batch with a model that returns `(logits, out)`.

    Args:
        graphdef: the model's structure.

    Returns:
        `(params, statistics, batch) -> sums`: the batch holds "image", "label" (n,) or (n, k), of which all must be
        right and whose losses are added, and "mask", 0 where a record only fills the batch up; the sums are "loss",
        "correct" and "count" over the others.
    """
    return functools.partial(_classify, graphdef)


def classification(
    classify: Callable[[dict[str, Array]], dict[str, Array]], batches: Iterable[dict[str, Array]]
) -> dict[str, float]:
    """Mean "loss" and "accuracy", in 0..1, over all batches.

    Raises:
        ValueError: if there is no record to score.
    """
    total: dict[str, float] = {"loss": 0.0, "correct": 0.0, "count": 0.0}
    # All batches are under way before the first result is waited for.
    for sums in jax.device_get([classify(batch) for batch in batches]):
        total = {name: total[name] + float(sums[name]) for name in total}
    if not total["count"]:
        raise ValueError("the test set must hold at least one record, but it is empty")
    return {"loss": total["loss"] / total["count"], "accuracy": total["correct"] / total["count"]}


def _classify(graphdef, params, statistics, batch):
    model = nnx.merge(graphdef, params, statistics, copy=True)
    model.eval()
    logits, _ = model(batch["image"])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    losses = losses.sum(tuple(range(1, losses.ndim)))
    correct, mask = all_right(logits, batch["label"]).astype(jnp.float32), batch["mask"]
    return {"loss": jnp.sum(losses * mask), "correct": jnp.sum(correct * mask), "count": jnp.sum(mask)}


def all_right(logits: Float[Array, "n *k classes"], labels: Int[Array, "n *k"]) -> Bool[Array, " n"]:
    """Whether the likeliest class is the label, of several labels all: sequence accuracy is the mean of it."""
    right = logits.argmax(-1) == labels
    return right.all(tuple(range(1, right.ndim)))
