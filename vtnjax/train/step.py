"""The training step: a pure function (state, batch) -> (state, metrics)."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Num, PRNGKeyArray

from vtnjax.train.state import TrainState

Prepare = Callable[[PRNGKeyArray, Num[Array, "n h w c"]], Float[Array, "n h2 w2 c"]]


def make_train_step(
    graphdef: nnx.GraphDef, optimiser: optax.GradientTransformation, prepare: Prepare
) -> Callable[[TrainState, dict[str, Array]], tuple[TrainState, dict[str, Array]]]:
    """A step of softmax cross-entropy training for a model that returns `(logits, out)`.

    Args:
        graphdef: the model's structure, from `create_state`.
        optimiser: optax's.
        prepare: makes the network's input of the batch's images, with the step's own key.

    Returns:
        `(state, batch) -> (state, metrics)`; the batch holds "image" (n, h, w, c) and "label" (n,), the metrics are
        means over the global batch: "loss", "accuracy" and "gradient_norm".
    """
    return functools.partial(_train_step, graphdef, optimiser, prepare)


def _train_step(graphdef, optimiser, prepare, state, batch):
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    images = prepare(key, batch["image"])

    def loss_of(params):
        # A copy: the merged variables are changed inside the transform, which NNX refuses for the originals.
        model = nnx.merge(graphdef, params, state.statistics, copy=True)
        model.train()
        logits, _ = model(images)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
        return loss, (logits, nnx.state(model, nnx.Not(nnx.Param)))

    (loss, (logits, statistics)), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    updates, optimiser_state = optimiser.update(gradients, state.optimiser, state.params)
    metrics = {
        "loss": loss,
        "accuracy": jnp.mean(logits.argmax(-1) == batch["label"], dtype=jnp.float32),
        "gradient_norm": optax.tree.norm(gradients),
    }
    state = dataclasses.replace(
        state,
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        statistics=statistics,
        optimiser=optimiser_state,
    )
    return state, metrics
