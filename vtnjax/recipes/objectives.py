"""The objectives of the papers: the loss that a network minimises, and what is logged beside it."""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, PRNGKeyArray

from vtnjax import distort, evaluate, losses
from vtnjax._checks import check_at_least_0, check_choice, check_positive
from vtnjax.recipes.ranking import Contrastive, Triplet
from vtnjax.train import Batch, Prepare


@dataclasses.dataclass(frozen=True)
class CrossEntropy:
    """Softmax cross-entropy of a network that returns `(logits, out)`.

    Labels are (n,), or (n, k) for logits (n, k, classes), whose losses are added and of which all must be right. A
    network whose attribute `draws` is true is called with random streams. Beside the loss "accuracy" is logged.

    Attributes:
        triplets: whether triplets of the batch are compared, which needs several images of a class in it.
        label_smoothing: the share of a label that is spread evenly over all classes, in [0, 1).
        class_weights: how much the images of each class count in the mean; empty: all alike.
    """

    triplets: ClassVar[bool] = False
    label_smoothing: float = dataclasses.field(default=0.0, kw_only=True)
    class_weights: tuple[float, ...] = dataclasses.field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be at least 0 and below 1, not {self.label_smoothing!r}")
        if not all(0 < weight < math.inf for weight in self.class_weights):
            raise ValueError(f"class_weights must be above 0 and finite, not {self.class_weights}")

    def inputs(self, batch: Batch, key: PRNGKeyArray, prepare: Prepare) -> Batch:
        """The batch with its images prepared by the step's own key."""
        return {**batch, "image": prepare(key, batch["image"])}

    def __call__(
        self, model: Any, inputs: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """The mean loss of the global batch, and what is logged beside it."""
        loss, logged, _ = self.task(model, inputs, key)
        return loss, logged

    def task(
        self, model: Any, inputs: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], dict[str, Array], dict[str, Array]]:
        """The loss, what is logged beside it, and what the network returned beside its logits."""
        logits, out = call(model, inputs["image"], key)
        return self.cross_entropy(logits, inputs["label"]), _accuracy(logits, inputs), out

    def cross_entropy(self, logits: Float[Array, "n *k classes"], labels: Int[Array, "n *k"]) -> Float[Array, ""]:
        """The mean over the images, weighted by their classes; the losses of several labels of an image are added.

        With `class_weights` or `label_smoothing` alone it is PyTorch's. With both, PyTorch weights what is spread over
        the classes by each of them, and this by the image's own.
        """
        if self.label_smoothing:
            targets = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
            each = optax.softmax_cross_entropy(logits, optax.smooth_labels(targets, self.label_smoothing))
        else:
            each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
        several = tuple(range(1, each.ndim))
        if not self.class_weights:
            return each.sum(several).mean()
        weights = jnp.asarray(self.class_weights, each.dtype)[labels]
        return (weights * each).mean(0).sum() / weights.mean(0).sum() * each[0].size


@dataclasses.dataclass(frozen=True)
class Consistency(CrossEntropy):
    """VTN's consistency loss beside the task's: L_task + weight * L_cons (section 3.4), on the warped features.

    They are `out["warped_features"]` of a network that warps images too, else `out["warped"]`. The triplets are drawn
    from the batch, or from its "triplet_image" and "triplet_label" where it holds them.
    "consistency" is logged before its weight.

    Attributes:
        weight: the factor lambda of the consistency loss; the paper's is 1.
        margin: the margin alpha of `losses.consistency_loss`.
        positions: "sum" or "mean", how `losses.consistency_loss` joins the positions.
        normalise: True scales the features at each position to unit length.
    """

    triplets: ClassVar[bool] = True
    weight: float
    margin: float
    positions: str = "sum"
    normalise: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("weight", self.weight)
        check_at_least_0("margin", self.margin)

    def inputs(self, batch: Batch, key: PRNGKeyArray, prepare: Prepare) -> Batch:
        """The inputs of `CrossEntropy`, and the triplets' images, which are prepared by a key of their own."""
        # Streams of their own: without triplets a run draws what it did before there were any.
        own, _ = _triplet_keys(key)
        triplets = {"triplet_image": prepare(own, batch["triplet_image"])} if "triplet_image" in batch else {}
        return {**super().inputs(batch, key, prepare), **triplets}

    def __call__(
        self, model: Any, inputs: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """The mean loss of the global batch, and what is logged beside it."""
        loss, logged, out = self.task(model, inputs, key)
        consistency = self.consistency(model, out, inputs, key)
        return loss + self.weight * consistency, {**logged, "consistency": consistency}

    def consistency(self, model: Any, out: dict[str, Array], inputs: Batch, key: PRNGKeyArray) -> Float[Array, ""]:
        """The loss, before its weight, of what the network returned for the batch's images."""
        warped, labels = _warped_features(out), inputs["label"]
        if "triplet_image" in inputs:
            out = call(model, inputs["triplet_image"], key)[1]
            warped, labels = _warped_features(out), inputs["triplet_label"]
        positive, negative = losses.draw_triplets(_triplet_keys(key)[1], labels)
        return losses.consistency_loss(
            warped,
            warped[positive],
            warped[negative],
            margin=self.margin,
            positions=self.positions,
            normalise=self.normalise,
        )


@dataclasses.dataclass(frozen=True)
class Distillation(CrossEntropy):
    """The loss of a `models.TASN` (section 3.3), with the weights of the reference implementation.

    The attention network's cross-entropy, those of the master's and the parts' own and shared logits, and the soft one
    between the master's own logits and the parts'; of several parts the mean. The paper's Eq. 8 has `heads=1.0` and
    `soft=2.0`: the same ratio. "attention_loss" and "soft_loss" are logged before their weights.

    Attributes:
        attention: the weight of the attention network's cross-entropy.
        heads: the weight of the cross-entropy of each head.
        soft: the weight of the soft cross-entropy.
        temperature: the temperature of `losses.soft_cross_entropy`.
        detach_teacher: True lets no gradient of the soft cross-entropy reach the parts.
    """

    attention: float = 1.0
    heads: float = 0.5
    soft: float = 1.0
    temperature: float = 10.0
    detach_teacher: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("attention", "heads", "soft"):
            check_at_least_0(name, getattr(self, name))
        check_positive("temperature", self.temperature)
        if not self.attention + self.heads + self.soft:
            raise ValueError(
                "one of attention, heads and soft must be above 0, not all of them 0, or nothing is learned"
            )

    def task(
        self, model: Any, inputs: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], dict[str, Array], dict[str, Array]]:
        """The loss, what is logged beside it, and what the network returned beside its logits."""
        if inputs["label"].ndim > 1:
            raise ValueError("config.objective.name must not be 'distillation' for images with several labels")
        logits, out = call(model, inputs["image"], key)
        loss, terms = self.terms(logits, out, inputs["label"])
        return loss, {**_accuracy(logits, inputs), **terms}, out

    def terms(
        self, logits: Float[Array, "n classes"], out: dict[str, Array], labels: Int[Array, "n"]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        """The loss of what a `models.TASN` returned in training, and two of its terms before their weights."""
        heads = [logits, *(out[name] for name in ("master_logits", "part_logits", "shared_part_logits") if name in out)]
        loss, terms = self.heads * sum((self._of_each(head, labels) for head in heads), jnp.zeros(())), {}
        if "attention_logits" in out:
            terms["attention_loss"] = self._of_each(out["attention_logits"], labels)
            loss = loss + self.attention * terms["attention_loss"]
        if "part_logits" in out:
            master = jnp.broadcast_to(out["master_logits"][:, None], out["part_logits"].shape)
            options = {"temperature": self.temperature, "detach_teacher": self.detach_teacher}
            terms["soft_loss"] = losses.soft_cross_entropy(master, out["part_logits"], **options)
            loss = loss + self.soft * terms["soft_loss"]
        return loss, terms

    def _of_each(self, logits, labels):
        """The mean cross-entropy of one head, or of the heads of several parts."""
        if logits.ndim == 2:
            return self.cross_entropy(logits, labels)
        return self.cross_entropy(logits, jnp.broadcast_to(labels[:, None], logits.shape[:2])) / logits.shape[1]


@dataclasses.dataclass(frozen=True)
class ConsistentDistillation(Distillation, Consistency):
    """The loss of a `models.TASN` whose nets warp their features: that of `Distillation` and weight * L_cons.

    The consistency loss is that of the master-net's features (VTN Table 3). Its attributes are those of `Consistency`.
    """

    def consistency(self, model: Any, out: dict[str, Array], inputs: Batch, key: PRNGKeyArray) -> Float[Array, ""]:
        """The loss, before its weight, of what the network returned for the batch's images."""
        if "warped_features" not in out:
            raise ValueError(
                "config.objective.name must not be 'consistent_distillation' for a network that does not warp its "
                "features"
            )
        return super().consistency(model, out, inputs, key)


@dataclasses.dataclass(frozen=True)
class Destruction(CrossEntropy):
    """The loss of a `models.DCL` (Chen et al. 2019) for images as they are and, beside each, shuffled.

    The cross-entropies of the classes and of the adversarial layer, and the location loss, each the mean over both
    kinds of images. "adversarial_loss" and "location_loss" are logged before their weights, and the accuracy is that of
    the images as they are. As in the reference code the adversary is helped and not fought.

    Attributes:
        adversarial: the weight of the adversarial layer's cross-entropy.
        location: the weight of the location loss.
        reach: the argument of `distort.shuffle_regions`.
        scheme: its law, "paper" or "reference".
    """

    adversarial: float = 1.0
    location: float = 1.0
    reach: int = 2
    scheme: str = "paper"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("adversarial", "location"):
            check_at_least_0(name, getattr(self, name))
        if not hasattr(self.reach, "__index__") or self.reach < 0:
            raise ValueError(f"reach must be a whole number of at least 0, not {self.reach!r}")
        check_choice("scheme", self.scheme, distort.SCHEMES)

    def task(
        self, model: Any, inputs: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], dict[str, Array], dict[str, Array]]:
        """The loss, what is logged beside it, and what the network returned for the images as they are."""
        regions, images, labels = getattr(model, "regions", None), inputs["image"], inputs["label"]
        if regions is None:
            raise ValueError("config.objective.name must not be 'destruction' for a network other than 'dcl'")
        if labels.ndim > 1:
            raise ValueError("config.objective.name must not be 'destruction' for images with several labels")
        shuffled, places = distort.shuffle_batch(
            jax.random.fold_in(key, 3), images, regions=regions, reach=self.reach, scheme=self.scheme
        )
        logits, out = call(model, _beside(images, shuffled), key)
        told = labels, labels + logits.shape[-1]
        if out["adversarial"].shape[-1] == 2:
            told = jnp.ones_like(labels), jnp.zeros_like(labels)
        here = jnp.broadcast_to(jnp.arange(regions**2, dtype=places.dtype).reshape(regions, regions), places.shape)
        terms = {
            "adversarial_loss": CrossEntropy().cross_entropy(out["adversarial"], _beside(*told)),
            "location_loss": losses.location_loss(out["places"], _beside(here, places)),
        }
        loss = self.cross_entropy(logits, _beside(labels, labels))
        loss += self.adversarial * terms["adversarial_loss"] + self.location * terms["location_loss"]
        whole, seen = jax.tree.map(lambda x: x.reshape(-1, 2, *x.shape[1:])[:, 0], (logits, out))
        return loss, {**_accuracy(whole, inputs), **terms}, seen


@dataclasses.dataclass(frozen=True)
class ConsistentDestruction(Destruction, Consistency):
    """The loss of a `models.DCL` whose features are warped: that of `Destruction` and weight * L_cons.

    The consistency loss is that of the images as they are (VTN Table 3). Its attributes are those of `Consistency`.
    """


OBJECTIVES = {
    "cross_entropy": CrossEntropy,
    "consistency": Consistency,
    "distillation": Distillation,
    "consistent_distillation": ConsistentDistillation,
    "destruction": Destruction,
    "consistent_destruction": ConsistentDestruction,
    "contrastive": Contrastive,
    "triplet": Triplet,
}


def call(model: Any, images: Array, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
    """The output of a network for images in training; a network that draws is given random streams."""
    if getattr(model, "draws", False):
        return model(images, rngs=nnx.Rngs(jax.random.fold_in(key, 2)))
    return model(images)


def _warped_features(out):
    warped = out.get("warped_features", out.get("warped"))
    if warped is None:
        raise ValueError("config.objective.name must not be 'consistency' for a network that warps nothing")
    return warped


def _beside(whole, other):
    """Each of one batch and then its counterpart: a batch spread over devices stays where it is."""
    return jnp.stack([whole, other], axis=1).reshape(-1, *whole.shape[1:])


def _triplet_keys(key):
    return jax.random.split(jax.random.fold_in(key, 1))


def _accuracy(logits, inputs):
    return {"accuracy": jnp.mean(evaluate.all_right(logits, inputs["label"]), dtype=jnp.float32)}
