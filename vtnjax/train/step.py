"""The training step: a pure function (state, batch) -> (state, metrics)."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from vtnjax import evaluate, losses
from vtnjax.train.state import TrainState

Prepare = Callable[[PRNGKeyArray, Num[Array, "n h w c"]], Float[Array, "n *sizes c"]]


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


@dataclasses.dataclass(frozen=True)
class Distillation:
    """What TASN minimises (section 3.3), by the weights of the reference implementation.

    The attention network's cross-entropy, those of the master's and the parts' own and shared logits, and the soft one
    between the master's own logits and the parts'; of several parts the mean. The paper's Eq. 8 has `heads=1.0` and
    `soft=2.0`: the same ratio.

    Attributes:
        attention: weight of the first.
        heads: weight of each of the others.
        soft: weight of the soft one.
        temperature: as in `losses.soft_cross_entropy`.
        detach_teacher: as there.
    """

    attention: float = 1.0
    heads: float = 0.5
    soft: float = 1.0
    temperature: float = 10.0
    detach_teacher: bool = False

    def __call__(
        self, logits: Float[Array, "n classes"], out: dict[str, Array], labels: Int[Array, "n"]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The loss of what a `models.TASN` returned in training, and two of its terms before their weights."""

        def cross_entropy(logits):
            each = labels if logits.ndim == 2 else jnp.broadcast_to(labels[:, None], logits.shape[:2])
            return optax.softmax_cross_entropy_with_integer_labels(logits, each).mean()

        heads = [logits, *(out[name] for name in ("master_logits", "part_logits", "shared_part_logits") if name in out)]
        loss, beside = self.heads * sum(map(cross_entropy, heads), jnp.zeros(())), {}
        if "attention_logits" in out:
            beside["attention_loss"] = cross_entropy(out["attention_logits"])
            loss = loss + self.attention * beside["attention_loss"]
        if "part_logits" in out:
            master = jnp.broadcast_to(out["master_logits"][:, None], out["part_logits"].shape)
            options = {"temperature": self.temperature, "detach_teacher": self.detach_teacher}
            beside["soft_loss"] = losses.soft_cross_entropy(master, out["part_logits"], **options)
            loss = loss + self.soft * beside["soft_loss"]
        return loss, beside


def make_train_step(
    graphdef: nnx.GraphDef,
    optimiser: optax.GradientTransformation,
    prepare: Prepare,
    consistency: Consistency | None = None,
    distillation: Distillation | None = None,
) -> Callable[[TrainState, dict[str, Array]], tuple[TrainState, dict[str, Array]]]:
    """A step of softmax cross-entropy training for a model that returns `(logits, out)`.

    Args:
        graphdef: the model's structure, from `create_state`.
        optimiser: optax's.
        prepare: makes the network's input of the batch's images, with the step's own key.
        consistency: adds that loss on `out["warped"]`, over triplets drawn from the global batch; None is without.
        distillation: takes the place of cross-entropy, for a `models.TASN`, which is called with random streams.

    Returns:
        `(state, batch) -> (state, metrics)`; the batch holds "image" (n, h, w, c) and "label" (n,), or (n, k) for
        logits (n, k, classes), whose losses are added and of which all must be right; a model with an attribute `draws`
        that is true is called with random streams. The metrics are means over the global batch: "loss", of all that is
        minimised, "accuracy", "gradient_norm" and, with that loss, "consistency" before its weight, or a distillation's
        terms. If the batch holds "triplet_image" and "triplet_label" too, the triplets are drawn from those.
    """
    return functools.partial(_train_step, graphdef, optimiser, prepare, consistency, distillation)


def _train_step(graphdef, optimiser, prepare, consistency, distillation, state, batch):
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    images = prepare(key, batch["image"])
    # Streams of their own: without triplets a run draws what it did before there were any.
    triplet_keys = jax.random.split(jax.random.fold_in(key, 1))
    own = prepare(triplet_keys[0], batch["triplet_image"]) if "triplet_image" in batch else None

    def loss_of(params):
        # A copy: the merged variables are changed inside the transform, which NNX refuses for the originals.
        model = nnx.merge(graphdef, params, state.statistics, copy=True)
        model.train()
        draws = distillation is not None or getattr(model, "draws", False)
        logits, out = model(images, rngs=nnx.Rngs(jax.random.fold_in(key, 2))) if draws else model(images)
        if distillation is None:
            each = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
            loss, beside = each.sum(tuple(range(1, each.ndim))).mean(), {}
        else:
            loss, beside = distillation(logits, out, batch["label"])
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
        "accuracy": jnp.mean(evaluate.all_right(logits, batch["label"]), dtype=jnp.float32),
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
