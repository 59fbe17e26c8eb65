"""The training of a localiser on a set of images, by the triplet hinge of Eq. 8."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray

from vtnjax import losses, models, nn
from vtnjax.evaluate import window_boxes
from vtnjax.experiments.colocalisation.images import CANVAS, WINDOW

DIGIT_SCALE = (WINDOW[0] - 1) / (CANVAS[0] - 1)  # of the window that copies a square of WINDOW pixels
BATCH, BLOCK = 16, 25
JITTERED = 0.6


class Recipe(NamedTuple):
    """How a localiser is trained. `AS_WRITTEN` keeps to the paper.

    The gradient of a window tells no more than its own pixels do: where no digit is near, nothing, and clutter tells
    wrong things. So windows are moved at random while training, ever less, which is the gradient of a smoother loss.

    As written, all crops can become alike by showing nothing: a window off the image, or many times its size, sees
    black, which is at no distance from other black. Then each hinge is at most the margin.

    Attributes:
        steps: of Adam, each on BATCH images, all pairs of them, and random crops of each.
        rate: the learning rate at its highest, after a tenth of the steps; it falls to 0 by a cosine.
        margin: alpha of Eq. 8, in squared units of the descriptors, whose squared distances are thousands.
        scale: the windows' size over the image's, fixed at a digit's; None: learned, beginning at the whole image.
        detached: whether a pair's hinge moves the window of its first image alone; see `losses.colocalisation_loss`.
        inside: weight of the squared normalised distance by which a window leaves the image.
        jitter: the standard deviation of a window's random move at first, normalised; 0 after JITTERED of the steps.
        looks: how often a step moves the windows and cuts random crops; their losses are averaged.
    """

    steps: int = 800
    rate: float = 1e-3
    margin: float = 150.0
    scale: float | None = DIGIT_SCALE
    detached: bool = True
    inside: float = 10_000.0
    jitter: float = 0.25
    looks: int = 4


AS_WRITTEN = Recipe(margin=1.0, scale=None, detached=False, inside=0.0, jitter=0.0, looks=1)


def random_crop(key: PRNGKeyArray, image: Float[Array, "h w c"]) -> Float[Array, "28 28 c"]:
    """I^rand: WINDOW pixels at a random whole-pixel place, whatever the localiser's scale is."""
    room = jnp.array([c - w + 1 for c, w in zip(CANVAS, WINDOW, strict=True)], jnp.int32)
    y, x = jax.random.randint(key, (2,), jnp.zeros(2, jnp.int32), room)
    return jax.lax.dynamic_slice(image, (y, x, jnp.zeros((), jnp.int32)), (*WINDOW, image.shape[-1]))


class Colocaliser:
    """Trains localisers for sets of images, compiled once."""

    def __init__(self, describe: Callable[[Array], Array], recipe: Recipe):
        self._describe, self._recipe = describe, recipe
        rate = optax.warmup_cosine_decay_schedule(0.0, recipe.rate, max(1, recipe.steps // 10), recipe.steps)
        self._optimiser = optax.adam(rate)
        self._graphdef, _ = nnx.split(self._make(0))
        self._block = jax.jit(self._run_block)
        self._boxes = jax.jit(self._run_boxes)

    def run(
        self, images: Float[Array, "n 84 84 1"], seed: int, *, say: Callable[[str], None] = print
    ) -> tuple[Float[np.ndarray, "blocks n 4"], float]:
        """The images' boxes before the first step and after every BLOCK steps, and the mean loss of the last block."""
        _, params = nnx.split(self._make(seed))
        state, boxes, loss = (params, self._optimiser.init(params)), [self._boxes(params, images)], jnp.nan
        steps = self._recipe.steps
        keys = jax.random.split(jax.random.key(seed), steps)
        jitter = self._recipe.jitter * np.maximum(0, 1 - np.arange(steps, dtype=np.float32) / (JITTERED * steps))
        for start in range(0, steps, BLOCK):
            state, loss = self._block(state, images, keys[start : start + BLOCK], jitter[start : start + BLOCK])
            boxes.append(self._boxes(state[0], images))
            if (start // BLOCK) % 4 == 3:
                say(f"  step {start + BLOCK}: loss {float(loss):.4g}")
        return np.stack(jax.device_get(boxes)), float(loss)

    def _make(self, seed):
        rngs = nnx.Rngs(seed)
        localiser = models.ColocalisationLocaliser((*CANVAS, 1), rngs=rngs)
        options: dict[str, Any] = {"warp": "attention", "shape": WINDOW, "scale": self._recipe.scale}
        return nn.SpatialTransformer(localiser, localiser.features, **options, rngs=rngs)

    def _windows(self, theta):
        """The windows' scale and translation, (n, 3)."""
        if self._recipe.scale is None:
            return theta
        return jnp.concatenate([jnp.full((len(theta), 1), self._recipe.scale), theta], axis=1)

    def _run_boxes(self, params, images):
        theta = nnx.merge(self._graphdef, params, copy=True).predict(images)
        return window_boxes(self._windows(theta), CANVAS, WINDOW)

    def _objective(self, params, images, key, jitter):
        """What is minimised, and the loss of Eq. 8 in it."""
        transformer = nnx.merge(self._graphdef, params, copy=True)
        theta = transformer.predict(images)
        options: dict[str, Any] = {"margin": self._recipe.margin, "detach_partner": self._recipe.detached}
        options["reduction"] = "mean"

        def look(key):
            move_key, crop_key = jax.random.split(key)
            moves = jitter * jax.random.normal(move_key, (len(images), 2))
            crops, _ = transformer.warp(images, theta.at[:, -2:].add(moves))  # I^T
            random = jax.vmap(random_crop)(jax.random.split(crop_key, len(images)), images)
            return losses.colocalisation_loss(self._describe(cast(Array, crops)), self._describe(random), **options)

        loss = jax.vmap(look)(jax.random.split(key, self._recipe.looks)).mean()
        windows = self._windows(theta)
        beyond = jax.nn.relu(jnp.abs(windows[:, 1:]) + windows[:, :1] - 1)
        return loss + self._recipe.inside * jnp.sum(beyond**2, axis=1).mean(), loss

    def _run_block(self, state, images, keys, jitter):
        def step(state, drawn):
            params, slots = state
            key, jitter = drawn
            batch_key, look_key = jax.random.split(key)
            chosen = jax.random.choice(batch_key, len(images), (min(BATCH, len(images)),), replace=False)
            batch = jnp.take(images, chosen, axis=0)
            slopes, loss = jax.grad(self._objective, has_aux=True)(params, batch, look_key, jitter)
            updates, slots = self._optimiser.update(slopes, slots, params)
            return (optax.apply_updates(params, updates), slots), loss

        state, found = jax.lax.scan(step, state, (keys, jitter))
        return state, found.mean()
