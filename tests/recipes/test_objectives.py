"""Losses of the papers inside the training step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from numpy.testing import assert_allclose

from vtnjax import losses
from vtnjax.recipes import Consistency, CrossEntropy, Distillation
from vtnjax.train import create_state, make_train_step

RNG = np.random.default_rng(0)
BATCH = {"image": jnp.asarray(RNG.normal(size=(8, 4, 4, 2)), jnp.float32), "label": jnp.arange(8) % 4}
OWN = {"triplet_image": jnp.asarray(RNG.normal(size=(6, 4, 4, 2)), jnp.float32), "triplet_label": jnp.arange(6) % 3}
LABELS = jnp.arange(6) % 4
SIX = {"image": jnp.asarray(RNG.normal(size=(6, 4, 4, 2)), jnp.float32), "label": LABELS}


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
@pytest.mark.daily("batch1")
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

    def drawn(key):
        p, n = losses.draw_triplets(key, labels)
        return losses.consistency_loss(warped, warped[p], warped[n], margin=1.0, positions="mean", normalise=True)

    every = jax.jit(jax.vmap(drawn))(jax.random.split(jax.random.key(0), 40)).tolist()
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


# ---- Distillation


def logits(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def cross_entropy(logits, labels):
    each = [-np.log(np.exp(row[label]) / np.exp(row).sum()) for row, label in zip(logits, labels, strict=True)]
    return sum(each) / len(each)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.daily("2")
def test_the_loss_is_the_weighted_sum_of_its_terms(parts):
    shared, master, attention = (np.asarray(logits(6, 4)) for _ in range(3))
    part, shared_part = (np.asarray(logits(6, parts, 4)) for _ in range(2))
    out = {
        "attention_logits": attention,
        "master_logits": master,
        "part_logits": part,
        "shared_part_logits": shared_part,
    }
    chosen = Distillation(attention=0.7, heads=0.4, soft=3.0, temperature=2.0)
    loss, beside = jax.jit(chosen.terms)(jnp.asarray(shared), jax.tree.map(jnp.asarray, out), LABELS)
    heads = cross_entropy(shared, LABELS) + cross_entropy(master, LABELS)
    for each in (part, shared_part):
        heads += np.mean([cross_entropy(each[:, i], LABELS) for i in range(parts)])
    soft = np.mean([losses.soft_cross_entropy(master, part[:, i], temperature=2.0) for i in range(parts)])
    assert_allclose(beside["soft_loss"], soft, rtol=1e-5)
    assert_allclose(beside["attention_loss"], cross_entropy(attention, LABELS), rtol=1e-5)
    assert_allclose(loss, 0.7 * beside["attention_loss"] + 0.4 * heads + 3.0 * soft, rtol=1e-5)


def test_a_master_alone_has_no_soft_loss():
    shared, master = logits(6, 4), logits(6, 4)
    loss, beside = Distillation().terms(shared, {"master_logits": master}, LABELS)
    assert not beside
    assert_allclose(loss, 0.5 * (cross_entropy(shared, LABELS) + cross_entropy(master, LABELS)), rtol=1e-5)


class Drawing(nnx.Module):
    """Two heads, and logits that move with the random stream."""

    draws = True

    def __init__(self, rngs):
        self.master = nnx.Linear(2, 4, rngs=rngs)
        self.shared = nnx.Linear(2, 4, rngs=rngs)

    def __call__(self, image, *, rngs):
        pooled = image.mean((1, 2)) + 0.1 * jax.random.normal(rngs(), (1, 2))
        return self.shared(pooled), {"master_logits": self.master(pooled)}


def test_the_step_gives_the_network_a_random_stream_of_each_step():
    optimiser = optax.sgd(0.0)
    graphdef, state = create_state(Drawing(nnx.Rngs(0)), optimiser, 0)
    step = jax.jit(make_train_step(graphdef, optimiser, lambda key, images: images, Distillation()))
    found = []
    for _ in range(3):
        state, metrics = step(state, SIX)
        found.append(float(metrics["loss"]))
    assert len(set(found)) == 3
    again = float(step(create_state(Drawing(nnx.Rngs(0)), optimiser, 0)[1], SIX)[1]["loss"])
    assert again == found[0]


class Plain(Warped):
    """The classifier alone."""

    def __call__(self, image):
        return super().__call__(image)[0], {}


def test_an_objective_that_does_not_fit_is_refused_by_its_key():
    made = create_state(Plain(nnx.Rngs(0)), optax.sgd(0.1), 0)
    step = make_train_step(made[0], optax.sgd(0.1), lambda key, x: x, Consistency(1.0, 1.0))
    with pytest.raises(ValueError, match=r"objective\.name must not be 'consistency' for a network that warps nothing"):
        jax.eval_shape(step, made[1], BATCH)
    step = make_train_step(made[0], optax.sgd(0.1), lambda key, x: x, Distillation())
    with pytest.raises(ValueError, match="must not be 'distillation' for images with several labels"):
        jax.eval_shape(step, made[1], {**BATCH, "label": jnp.zeros((8, 2), jnp.int32)})
