"""Whether a network sees an object where it is: boxes of heat maps against true boxes."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.experimental import multihost_utils
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpy import ndarray

from vtnjax import ops
from vtnjax._checks import check_choice
from vtnjax.evaluate.base import Test
from vtnjax.evaluate.boxes import check_threshold, intersection_over_union, largest_box
from vtnjax.evaluate.folded import folded
from vtnjax.evaluate.grad_cam import METHODS, check_heat, with_heat

_CLASSES = {"label": "true", "guess": "likeliest"}
_THRESHOLDS = tuple(number / 20 for number in range(20))
_NO_BOX = "the test set must have boxes, as cub, cars, aircraft and scenes have, not {}"
_AMONG = 5


@dataclasses.dataclass(frozen=True)
class Localisation:
    """How often the box of a network's heat map overlaps the true box by half or more (VTN Table 5).

    The heat is that of the trunk's last features, see `with_heat`, resized bilinearly to the image; its box is
    that of `largest_box`. An image whose heat or whose object has no box counts as wrong. The figures are shares of
    the images, in 0..1, so that the papers' errors are what lacks to 1: "accuracy" and "top5_accuracy" of the classes;
    "gt_known", those whose box is right; "top1_localisation" and "top5_localisation", those whose class is right too,
    the likeliest or among the five likeliest; "max_box_acc", the largest that "gt_known" is with any of the thresholds
    0, 0.05, ..., 0.95 (Choe et al. 2020). Beside them "loss", and where the records have masks of their objects
    "inside", the share of an image's heat inside the mask, 0 without heat, as a mean over the images, and of a network
    that warps "folded", see `folded`.

    Attributes:
        threshold: the share of a map's maximum above which heat belongs to a box; 0.15 is Grad-CAM's.
        heat_of: "label", heat of the true class, or "guess", of the likeliest.
        method: "grad_cam", as in the paper, or "hires_cam", which tells more of a head of second order.
    """

    threshold: float = 0.15
    heat_of: str = "label"
    method: str = "grad_cam"

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        check_choice("heat_of", self.heat_of, tuple(_CLASSES))
        check_choice("method", self.method, tuple(METHODS))

    @property
    def how(self) -> str:
        """What is said beside the figures."""
        return f"boxes of the {_CLASSES[self.heat_of]} class's heat above {100 * self.threshold:g} % of its maximum"

    @property
    def figure(self) -> str:
        """The name of the figure by which the best checkpoint is chosen."""
        return "accuracy"

    def of(self, source: Any) -> "Localisation":
        """The same, for a source whose records have a `box`.

        Raises:
            ValueError: if they have none.
        """
        if "box" not in source[0]:
            raise ValueError(_NO_BOX.format(repr(source)))
        return self

    def check(self, model: nnx.Module) -> None:
        """Raise a ValueError unless the network has a heat map."""
        check_heat(model)

    def __call__(self, model: nnx.Module, test: Test) -> dict[str, float]:
        """The figures of a network in evaluation mode.

        Raises:
            ValueError: if the network has no heat map, or there is no record to score, or one without a box.
        """
        graphdef, state = nnx.split(model)
        parts = [self._measure(graphdef, state, batch) for batch in test()]
        if not any(len(part["loss"]) for part in parts):
            raise ValueError("test must give at least one record, not none")
        each = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        first, among, *swept, located = each.pop("first"), each.pop("among"), *each.pop("right").T
        told = {
            "loss": each.pop("loss"),
            "accuracy": first,
            "top5_accuracy": among,
            "top1_localisation": first & located,
            "top5_localisation": among & located,
            "gt_known": located,
            "max_box_acc": max(swept, key=np.mean),
            **each,
        }
        return {name: float(np.mean(values, dtype=np.float64)) for name, values in told.items()}

    def _measure(self, graphdef, state, batch):
        """What is told of each record of a batch; `right` (n, thresholds) ends with the threshold of the figures."""
        if "box" not in batch:
            raise ValueError(_NO_BOX.format("images without any"))
        mask = jnp.asarray(batch["mask"])
        seen = {**_score(graphdef, state, batch, self.heat_of, self.method), "box": batch["box"], "mask": mask}
        seen = {name: _own_rows(jax.device_put(values, mask.sharding)) for name, values in seen.items()}
        heat, box = seen.pop("heat"), seen.pop("box")
        seen["right"] = np.stack([_right(heat, box, t) for t in (*_THRESHOLDS, self.threshold)], axis=1)
        # Every process has the figures of all: they must be the same.
        seen = multihost_utils.process_allgather(seen, tiled=True)
        real = seen.pop("mask") > 0
        return {name: np.asarray(values)[real] for name, values in seen.items()}


def heat_boxes(
    heat: Float[ArrayLike, "n h2 w2"], shape: Sequence[int], *, threshold: float = 0.15
) -> Float[ndarray, "n 4"]:
    """The boxes of `largest_box` of maps (n, h', w') that are resized to images of a shape (h, w)."""
    resized = np.asarray(_resize(jnp.asarray(heat), shape))
    return np.stack([largest_box(each, threshold=threshold) for each in resized])


def _resize(heat: Float[Array, "n h2 w2"], shape: Sequence[int]) -> Float[Array, "n h w"]:
    """Maps at another size, bilinearly."""
    resize = functools.partial(ops.resize, shape=tuple(shape), align_corners=False)
    return jax.vmap(resize)(heat[..., None])[..., 0]


def _own_rows(array: Array) -> ndarray:
    """The rows of an array, spread by its first axis, that are on the devices of this process."""
    if array.is_fully_addressable:
        return np.asarray(array)
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start)
    return np.concatenate([np.asarray(shard.data) for shard in shards])


def _right(heat: ndarray, box: ndarray, threshold: float) -> ndarray:
    """Whether the boxes of maps (n, h, w) overlap boxes (n, 4) by half or more."""
    found = np.array([largest_box(each, threshold=threshold) for each in heat], box.dtype).reshape(-1, 4)
    return np.asarray(intersection_over_union(found, box)) >= 0.5


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def _score(graphdef: nnx.GraphDef, state: Any, batch: dict[str, Array], heat_of: str, method: str) -> dict[str, Array]:
    """The loss of each record, whether its class is the likeliest or among the first, its heat and how much is inside.

    The heat (n, h, w) is of the image's size.
    """
    model, image, label = nnx.merge(graphdef, state, copy=True), batch["image"], batch["label"]
    logits, out = with_heat(model, image, label if heat_of == "label" else None, method=method)
    ranked = jax.lax.top_k(logits, min(_AMONG, logits.shape[-1]))[1] == label[:, None]
    heat = _resize(out["heat"], image.shape[1:3])
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    seen = {"loss": loss, "first": ranked[:, 0], "among": ranked.any(1), "heat": heat}
    if (share := folded(out)) is not None:
        seen["folded"] = share
    if "object" in batch:
        inside, whole = jnp.sum(heat, axis=(1, 2), where=batch["object"]), jnp.sum(heat, axis=(1, 2))
        seen["inside"] = inside / jnp.where(whole > 0, whole, 1)
    return seen
