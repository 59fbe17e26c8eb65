import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from normed import Normed
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import evaluate, models
from vtnjax.recipes import CrossEntropy
from vtnjax.train import create_state, make_train_step, merged
from vtnjax.train.state import named_leaves

IMAGES = np.random.default_rng(0).uniform(size=(8, 6, 6, 1)).astype(np.float32)
BATCH = {
    "image": jnp.array(IMAGES),
    "label": jnp.arange(8) % 3,
}


def as_they_are(key, images):
    return images


def with_noise(key, images):
    return images + jax.random.normal(key, images.shape)


@functools.cache
def made(prepare=as_they_are, rate=0.1):
    optimiser = optax.sgd(rate)
    graphdef, state = create_state(Normed(nnx.Rngs(0)), optimiser, 0)
    return graphdef, state, jax.jit(make_train_step(graphdef, optimiser, prepare, CrossEntropy()))


def test_a_step_is_a_pure_function():
    _, state, step = made(with_noise)
    before = jax.tree.map(jnp.copy, state)
    first, second = step(state, BATCH), step(state, BATCH)
    chex.assert_trees_all_equal(first, second)
    chex.assert_trees_all_equal(state, before)
    assert int(first[0].step) == 1


class TwoNormed(nnx.Module):
    """A classifier with batch statistics twice."""

    def __init__(self, rngs):
        self.trunk, self.head = Normed(rngs), Normed(rngs)

    def __call__(self, image):
        return self.trunk(image)[0] + self.head(image)[0], {}


@pytest.mark.slow
def test_frozen_statistics_are_used_and_left_as_they_are():
    optimiser = optax.sgd(0.1)
    graphdef, state = create_state(TwoNormed(nnx.Rngs(0)), optimiser, 0)
    made = graphdef, optimiser, as_they_are, CrossEntropy()
    frozen, _ = make_train_step(*made, frozen_statistics=lambda path: "trunk" in path)(state, BATCH)
    free, _ = make_train_step(*made)(state, BATCH)
    before, after, without = (named_leaves(each.statistics) for each in (state, frozen, free))
    assert {name for name in before if np.array_equal(before[name], after[name])} == {
        name for name in before if name.startswith("trunk/")
    }
    assert not any(np.array_equal(before[name], without[name]) for name in before)
    # With running statistics of mean 0 and variance 1 the images reach the linear layer as they are.
    x = IMAGES.reshape(8, -1).astype(np.float64) / np.sqrt(1 + 1e-5)
    first = TwoNormed(nnx.Rngs(0))
    trunk, head = (np.asarray(part.linear.kernel[...], np.float64) for part in (first.trunk, first.head))
    y = IMAGES.reshape(8, -1).astype(np.float64)
    logits = x @ trunk + (y - y.mean(0)) / np.sqrt(y.var(0) + 1e-5) @ head
    slopes = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(3)[np.asarray(BATCH["label"])]
    moved = named_leaves(frozen.params)["trunk/linear/kernel"] - named_leaves(state.params)["trunk/linear/kernel"]
    assert_allclose(moved, -0.1 * x.T @ slopes / 8, atol=1e-6)


def test_each_step_has_randomness_of_its_own():
    _, state, step = made(with_noise, rate=0.0)
    state, first = step(state, BATCH)
    _, second = step(state, BATCH)
    assert float(first["loss"]) != float(second["loss"])
    _, third = make_other_seed()(BATCH)
    assert float(first["loss"]) != float(third["loss"])


def make_other_seed():
    optimiser = optax.sgd(0.0)
    graphdef, state = create_state(Normed(nnx.Rngs(0)), optimiser, 1)
    return functools.partial(jax.jit(make_train_step(graphdef, optimiser, with_noise, CrossEntropy())), state)


def test_statistics_are_those_of_the_batch_in_training():
    _, state, step = made()
    after, _ = step(state, BATCH)
    mean = IMAGES.reshape(8, -1).mean(0)
    assert_allclose(after.statistics["norm"]["mean"][...], 0.5 * mean, rtol=1e-5)
    assert_array_equal(state.statistics["norm"]["mean"][...], 0)


def test_statistics_are_used_and_kept_in_evaluation():
    graphdef, state, step = made()
    state, _ = step(state, BATCH)
    before = jax.tree.map(jnp.copy, state)
    batch = {**BATCH, "mask": jnp.ones(8)}
    evaluation, model = evaluate.Classification(), merged(graphdef, state)
    whole = evaluation(model, lambda: [batch])
    halves = [{name: x[i : i + 4] for name, x in batch.items()} for i in (0, 4)]
    parts = evaluation(model, lambda: halves)
    assert parts == pytest.approx(whole, rel=1e-6)  # with the batch's own statistics they would differ
    chex.assert_trees_all_equal(state, before)


def test_metrics_are_means_over_the_batch():
    graphdef, state, step = made()
    model = nnx.merge(graphdef, state.params, state.statistics, copy=True)
    model.train()
    logits, _ = model(BATCH["image"])
    right = np.asarray(jax.nn.log_softmax(logits))[np.arange(8), BATCH["label"]]
    after, metrics = step(state, BATCH)
    assert float(metrics["loss"]) == pytest.approx(-right.mean(), rel=1e-6)
    assert float(metrics["accuracy"]) == np.mean(np.asarray(logits).argmax(-1) == BATCH["label"])
    moved = jax.tree.map(lambda a, b: (a - b) / 0.1, state.params, after.params)
    assert float(metrics["gradient_norm"]) == pytest.approx(float(optax.tree.norm(moved)), rel=1e-4)


def test_training_lowers_the_loss():
    _, state, step = made()
    losses = []
    for _ in range(20):
        state, metrics = step(state, BATCH)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_transformer_trains_in_either_dtype_and_keeps_its_coordinates_and_parameters_in_float32(dtype):
    model = models.STN("st_fcn", (6, 6, 1), classes=3, parameters=8000, dtype=jnp.dtype(dtype), rngs=nnx.Rngs(0))
    _, out = model(BATCH["image"].astype(dtype))
    assert out["coords"].dtype == out["theta"].dtype == jnp.float32
    assert out["warped"].dtype == dtype
    optimiser = optax.sgd(0.1)
    graphdef, state = create_state(model, optimiser, 0)
    step = jax.jit(make_train_step(graphdef, optimiser, lambda _, images: images.astype(dtype), CrossEntropy()))
    first = None
    for _ in range(30):
        state, metrics = step(state, BATCH)
        first = first or float(metrics["loss"])
    assert float(metrics["loss"]) < 0.95 * first
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    assert metrics["loss"].dtype == jnp.float32


@pytest.mark.slow
def test_a_network_that_draws_trains_by_plain_cross_entropy():
    trunks = [models.SmallTrunk(3, (4, 8, 8), rngs=nnx.Rngs(0)) for _ in range(2)]
    attention = models.AttentionNetwork(trunks[0], 8, 3, size=(16, 16), rngs=nnx.Rngs(0))
    network = models.TASN(attention, trunks[1], 8, 3, shape=(8, 8), rngs=nnx.Rngs(0))
    optimiser = optax.sgd(0.1)
    graphdef, state = create_state(network, optimiser, 0)
    step = make_train_step(graphdef, optimiser, lambda key, images: images, CrossEntropy())

    def metrics(images):
        return step(state, {"image": images, "label": jnp.zeros(4, jnp.int32)})[1]

    assert jax.eval_shape(metrics, jnp.ones((4, 16, 16, 3))).keys() == {"loss", "accuracy", "gradient_norm"}
