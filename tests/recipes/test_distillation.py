"""What a trilinear attention sampling network minimises, inside the training step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from numpy.testing import assert_allclose

from vtnjax import losses
from vtnjax.recipes import Distillation
from vtnjax.train import create_state, make_train_step

RNG = np.random.default_rng(0)
LABELS = jnp.arange(6) % 4
BATCH = {"image": jnp.asarray(RNG.normal(size=(6, 4, 4, 2)), jnp.float32), "label": LABELS}


def logits(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


def cross_entropy(logits, labels):
    each = [-np.log(np.exp(row[label]) / np.exp(row).sum()) for row, label in zip(logits, labels, strict=True)]
    return sum(each) / len(each)


@pytest.mark.parametrize("parts", [1, 2])
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
    loss, beside = chosen.terms(jnp.asarray(shared), jax.tree.map(jnp.asarray, out), LABELS)
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
        state, metrics = step(state, BATCH)
        found.append(float(metrics["loss"]))
    assert len(set(found)) == 3
    again = float(step(create_state(Drawing(nnx.Rngs(0)), optimiser, 0)[1], BATCH)[1]["loss"])
    assert again == found[0]
