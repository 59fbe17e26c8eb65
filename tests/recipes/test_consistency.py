"""The consistency loss inside the training step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from numpy.testing import assert_allclose

from vtnjax import losses
from vtnjax.recipes import Consistency, CrossEntropy
from vtnjax.train import create_state, make_train_step

RNG = np.random.default_rng(0)
BATCH = {"image": jnp.asarray(RNG.normal(size=(8, 4, 4, 2)), jnp.float32), "label": jnp.arange(8) % 4}
OWN = {"triplet_image": jnp.asarray(RNG.normal(size=(6, 4, 4, 2)), jnp.float32), "triplet_label": jnp.arange(6) % 3}


class Warped(nnx.Module):
    """A classifier of "warped" features."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 3, (1, 1), rngs=rngs)
        self.linear = nnx.Linear(3, 4, rngs=rngs)

    def __call__(self, image):
        warped = self.conv(image)
        return self.linear(warped.mean((1, 2))), {"warped": warped}


def as_they_are(key, images):
    return images


def step_of(consistency, batch):
    optimiser = optax.sgd(0.1)
    graphdef, state = create_state(Warped(nnx.Rngs(0)), optimiser, 0)
    step = jax.jit(make_train_step(graphdef, optimiser, as_they_are, consistency))
    return graphdef, state, *step(state, batch)


@pytest.mark.parametrize("batch", [BATCH, {**BATCH, **OWN}])
def test_the_loss_is_the_tasks_plus_the_weighted_consistency_of_drawn_triplets(batch):
    chosen = Consistency(weight=0.3, margin=1.0, positions="mean", normalise=True)
    graphdef, state, after, metrics = step_of(chosen, batch)
    *_, plain = step_of(CrossEntropy(), BATCH)
    assert "consistency" not in plain
    assert_allclose(metrics["loss"], plain["loss"] + 0.3 * metrics["consistency"], rtol=1e-5)
    own = "triplet_image" in batch
    images, labels = (batch["triplet_image"], batch["triplet_label"]) if own else (batch["image"], batch["label"])
    warped = nnx.merge(graphdef, state.params, state.statistics)(images)[1]["warped"]
    # Whatever was drawn: of every triplet that could be, the loss is between the least and the greatest.
    every = []
    for positive in range(40):
        p, n = losses.draw_triplets(jax.random.key(positive), labels)
        every.append(
            losses.consistency_loss(warped, warped[p], warped[n], margin=1.0, positions="mean", normalise=True)
        )
    assert 0.8 * min(every) < metrics["consistency"] < 1.2 * max(every)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), state.params, after.params)
    assert min(jax.tree.leaves(moved)) > 0


def test_each_step_draws_triplets_of_its_own():
    optimiser = optax.sgd(0.0)
    graphdef, state = create_state(Warped(nnx.Rngs(0)), optimiser, 0)
    step = jax.jit(make_train_step(graphdef, optimiser, as_they_are, Consistency(1.0, 1.0)))
    found = []
    for _ in range(4):
        state, metrics = step(state, BATCH)
        found.append(float(metrics["consistency"]))
    assert len(set(found)) > 1
