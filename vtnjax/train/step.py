"""The training step: a pure function (state, batch) -> (state, metrics)."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Num, PRNGKeyArray

from vtnjax import losses
from vtnjax.train.state import TrainState

Prepare = Callable[[PRNGKeyArray, Num[Array, "n h w c"]], Float[Array, "n h2 w2 c"]]


@dataclasses.dataclass(frozen=True)
class Consistency:
    """VTN's consistency loss beside the task's: L_task + weight * L_cons (section 3.4).

    Attributes:
        weight: lambda; the paper's is 1.
        margin: alpha, as in `losses.consistency_loss`.
        positions: as there.
        normalise: as there.
    """

    weight: float
    margin: float
    positions: str = "sum"
    normalise: bool = False


def make_train_step(
    graphdef: nnx.GraphDef,
    optimiser: optax.GradientTransformation,
    prepare: Prepare,
    consistency: Consistency | None = None,
) -> Callable[[TrainState, dict[str, Array]], tuple[TrainState, dict[str, Array]]]:
    """A step of softmax cross-entropy training for a model that returns `(logits, out)`.

    Args:
        graphdef: the model's structure, from `create_state`.
        optimiser: optax's.
        prepare: makes the network's input of the batch's images, with the step's own key.
        consistency: adds that loss on `out["warped"]`, over triplets drawn from the global batch; None is without.

    Returns:
        `(state, batch) -> (state, metrics)`; the batch holds "image" (n, h, w, c) and "label" (n,), the metrics are
        means over the global batch: "loss", of all that is minimised, "accuracy", "gradient_norm" and, with that loss,
        "consistency" before its weight. If the batch holds "triplet_image" and "triplet_label" too, the triplets are
        drawn from those.
    """
    return functools.partial(_train_step, graphdef, optimiser, prepare, consistency)


def _train_step(graphdef, optimiser, prepare, consistency, state, batch):
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    images = prepare(key, batch["image"])
    # Streams of their own: without triplets a run draws what it did before there were any.
    triplet_keys = jax.random.split(jax.random.fold_in(key, 1))
    own = prepare(triplet_keys[0], batch["triplet_image"]) if "triplet_image" in batch else None

    def loss_of(params):
        # A copy: the merged variables are changed inside the transform, which NNX refuses for the originals.
        model = nnx.merge(graphdef, params, state.statistics, copy=True)
        model.train()
        logits, out = model(images)
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()
        beside = {}
        if consistency is not None:
            warped, labels = out["warped"], batch["label"]
            if own is not None:
                warped, labels = model(own)[1]["warped"], batch["triplet_label"]
            beside["consistency"] = _consistency_loss(consistency, triplet_keys[1], warped, labels)
            loss = loss + consistency.weight * beside["consistency"]
        return loss, (logits, beside, nnx.state(model, nnx.Not(nnx.Param)))

    (loss, (logits, beside, statistics)), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    updates, optimiser_state = optimiser.update(gradients, state.optimiser, state.params)
    metrics = {
        "loss": loss,
        "accuracy": jnp.mean(logits.argmax(-1) == batch["label"], dtype=jnp.float32),
        "gradient_norm": optax.tree.norm(gradients),
        **beside,
    }
    state = dataclasses.replace(
        state,
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        statistics=statistics,
        optimiser=optimiser_state,
    )
    return state, metrics


def _consistency_loss(consistency, key, warped, labels):
    positive, negative = losses.draw_triplets(key, labels)
    return losses.consistency_loss(
        warped,
        warped[positive],
        warped[negative],
        margin=consistency.margin,
        positions=consistency.positions,
        normalise=consistency.normalise,
    )
