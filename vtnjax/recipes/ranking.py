"""Objectives that order images: a query shall be nearer to what shows the same than to what does not."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from vtnjax import losses
from vtnjax._checks import check_at_least_0, check_choice, check_positive
from vtnjax.train import Batch, Prepare
from vtnjax.train.config import naming


@dataclasses.dataclass(frozen=True)
class Consistent:
    """VTN's consistency loss on each tuple's query, positive and first negative, which is the hardest.

    Attributes:
        weight, margin, positions, normalise: as of `recipes.Consistency`.
    """

    weight: float
    margin: float
    positions: str = "sum"
    normalise: bool = False

    def __post_init__(self) -> None:
        check_positive("weight", self.weight)
        check_at_least_0("margin", self.margin)
        check_choice("positions", self.positions, losses.POSITIONS)

    def __call__(self, warped: Float[Array, "n k h w c"]) -> Float[Array, ""]:
        """The loss, before its weight, of the warped features of tuples."""
        options = {"margin": self.margin, "positions": self.positions, "normalise": self.normalise}
        return losses.consistency_loss(warped[:, 0], warped[:, 1], warped[:, 2], **options)


@dataclasses.dataclass(frozen=True)
class _Ranking:
    """The loss of a `models.RetrievalNet` for the tuples of the batches "tuples".

    A tuple's losses are added up over its negatives, as in the reference code of Radenovic (2018), and the mean is
    taken over the tuples, where that code takes the sum over the 5 of a batch: so the batch's size does not scale the
    gradient. Adam, with which both train, does not see the factor. Beside the loss "positive_distance" and
    "negative_distance" are logged, the mean distances of queries to positives and to negatives.

    Attributes:
        margin: that of the loss.
        consistency: the options of `Consistent`, whose loss is added with its weight and logged without it; empty:
            no such loss.
    """

    triplets: ClassVar[bool] = False
    loss: ClassVar[Callable[..., Array]]
    margin: float
    consistency: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        check_at_least_0("margin", self.margin)
        self._consistent()  # refuses what cannot be

    def inputs(self, batch: Batch, key: PRNGKeyArray, prepare: Prepare) -> Batch:
        """The batch with its images (tuples, images, h, w, c) prepared by the step's own key."""
        images = batch["image"]
        prepared = prepare(key, images.reshape(-1, *images.shape[2:]))
        return {**batch, "image": prepared.reshape(*images.shape[:2], *prepared.shape[1:])}

    def __call__(
        self, model: Any, inputs: Batch, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """The mean loss of the tuples of the global batch, and what is logged beside it."""
        count, each = inputs["image"].shape[:2]
        descriptors, out = model(inputs["image"].reshape(-1, *inputs["image"].shape[2:]))
        query, others = jnp.split(descriptors.reshape(count, each, -1), [1], axis=1)
        query, positive, negatives = query[:, 0], others[:, 0], others[:, 1:]
        loss = type(self).loss(query, positive, negatives, margin=self.margin, reduction="mean")
        logged = {
            "positive_distance": _mean_distance(query, positive),
            "negative_distance": _mean_distance(query[:, None], negatives),
        }
        if (consistent := self._consistent()) is None:
            return loss, logged
        if getattr(model, "transformer", None) is None:
            raise ValueError("config.objective.consistency must be empty for a network that warps nothing")
        logged["consistency"] = consistent(out["warped"].reshape(count, each, *out["warped"].shape[1:]))
        return loss + consistent.weight * logged["consistency"], logged

    def _consistent(self) -> Consistent | None:
        with naming("objective.consistency"):
            return Consistent(**self.consistency) if self.consistency else None


@dataclasses.dataclass(frozen=True)
class Contrastive(_Ranking):
    """`losses.contrastive_loss`, with the margin that the reference code has for a ResNet-101 with GeM."""

    loss: ClassVar[Callable[..., Array]] = staticmethod(losses.contrastive_loss)
    margin: float = 0.85


@dataclasses.dataclass(frozen=True)
class Triplet(_Ranking):
    """`losses.triplet_loss`, with the margin of Gordo (2017)."""

    loss: ClassVar[Callable[..., Array]] = staticmethod(losses.triplet_loss)
    margin: float = 0.1


def _mean_distance(a, b):
    return jnp.linalg.norm(a - b, axis=-1).mean(dtype=jnp.float32)
