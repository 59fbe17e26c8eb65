"""Parameters that are held, the moving average of all of them, and batches that are computed part by part."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from normed import Normed
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax.recipes import Consistency, CrossEntropy
from vtnjax.train import create_state, make_train_step, merged
from vtnjax.train.state import named_leaves

IMAGES = np.random.default_rng(0).uniform(size=(8, 6, 6, 1)).astype(np.float32)
BATCH = {"image": jnp.array(IMAGES), "label": jnp.arange(8) % 3}


def as_they_are(key, images):
    return images


def made(*, average=False, **options):
    optimiser = optax.sgd(0.5)
    graphdef, state = create_state(Normed(nnx.Rngs(0)), optimiser, 0, average=average)
    return graphdef, state, jax.jit(make_train_step(graphdef, optimiser, as_they_are, CrossEntropy(), **options))


@pytest.mark.slow
def test_what_is_frozen_has_no_gradient_and_the_rest_the_same():
    _, state, step = made(frozen=lambda path: "norm" in path)
    _, _, free = made()
    (held, metrics), (moved, all_) = step(state, BATCH), free(state, BATCH)
    before, held, moved = (named_leaves(each.params) for each in (state, held, moved))
    for name in before:
        assert_array_equal(held[name], (before if "norm" in name else moved)[name])
    assert not np.array_equal(before["norm/scale"], moved["norm/scale"])
    gradient = [(before[name] - held[name]) / 0.5 for name in held]
    assert_allclose(metrics["gradient_norm"], np.sqrt(sum((each**2).sum() for each in gradient)), rtol=1e-5)
    assert metrics["gradient_norm"] < all_["gradient_norm"]


@pytest.mark.slow
def test_the_average_moves_with_the_parameters_and_soon_forgets_the_first():
    graphdef, state, step = made(average=True, ema=0.3)
    plain = made()[2], made()[1]
    wanted = {name: np.asarray(leaf, np.float64) for name, leaf in named_leaves(state.params).items()}
    other = plain[1]
    for t in range(6):
        state, _ = step(state, BATCH)
        other, _ = plain[0](other, BATCH)
        decay = min(0.3, (1 + t) / (10 + t))
        wanted = {n: decay * wanted[n] + (1 - decay) * leaf for n, leaf in named_leaves(other.params).items()}
    for name, leaf in named_leaves(state.average).items():
        assert_allclose(leaf, wanted[name], atol=1e-6)
        assert_array_equal(named_leaves(state.params)[name], named_leaves(other.params)[name])
    model = merged(graphdef, state)
    assert_array_equal(model.linear.kernel[...], named_leaves(state.average)["linear/kernel"])
    assert not np.array_equal(model.linear.kernel[...], named_leaves(state.params)["linear/kernel"])


def test_a_state_with_an_average_can_be_taken_over():
    """No buffer is given away twice."""
    optimiser = optax.sgd(0.5)
    graphdef, state = create_state(Normed(nnx.Rngs(0)), optimiser, 0, average=True)
    step = jax.jit(make_train_step(graphdef, optimiser, as_they_are, CrossEntropy(), ema=0.9), donate_argnums=0)
    for _ in range(2):
        state, _ = step(state, BATCH)
    assert {name.partition("/")[0] for name in named_leaves(state)} == {
        "average",
        "key",
        "params",
        "statistics",
        "step",
    }


class Plain(nnx.Module):
    """A classifier without batch statistics, whose "warped" features are the image."""

    def __init__(self, rngs):
        self.linear = nnx.Linear(36, 3, rngs=rngs)

    def __call__(self, image):
        return self.linear(jnp.sin(image.reshape(len(image), -1))), {"warped": image}


def step_of(network, batch, objective=None, **options):
    optimiser = optax.sgd(0.5)
    graphdef, state = create_state(network, optimiser, 0)
    prepare = as_they_are if objective else noisy
    return jax.jit(make_train_step(graphdef, optimiser, prepare, objective or CrossEntropy(), **options))(state, batch)


def noisy(key, images):
    return images + jax.random.normal(key, images.shape)


@pytest.mark.parametrize(("micro_batches", "devices"), [(2, 1), (4, 2), (8, 1)])
@pytest.mark.daily("8-1")
def test_micro_batches_make_the_step_of_the_whole_batch(micro_batches, devices):
    """Also with what is drawn for the images; statistics that are frozen change nothing."""
    for network, frozen in ((Plain, None), (Normed, lambda path: True)):
        whole, told = step_of(network(nnx.Rngs(0)), BATCH, frozen_statistics=frozen)
        options = {"frozen_statistics": frozen, "micro_batches": micro_batches, "devices": devices}
        cut, also = step_of(network(nnx.Rngs(0)), BATCH, **options)
        for name, leaf in named_leaves(whole.params).items():
            assert_allclose(named_leaves(cut.params)[name], leaf, atol=1e-6)
        assert told.keys() == also.keys() == {"loss", "accuracy", "gradient_norm"}
        for name in told:
            assert_allclose(also[name], told[name], rtol=1e-5)


def test_statistics_are_those_of_one_part_after_the_other():
    cut, _ = step_of(Normed(nnx.Rngs(0)), BATCH, CrossEntropy(), micro_batches=2)
    first, second = IMAGES.reshape(2, 4, -1).mean(1)
    assert_allclose(named_leaves(cut.statistics)["norm/mean"], 0.5 * (0.5 * first) + 0.5 * second, rtol=1e-5)


class Told(CrossEntropy):
    """An objective that logs the sum of squares of the labels' means: it tells which labels were together."""

    def __call__(self, model, inputs, key):
        loss, logged = super().__call__(model, inputs, key)
        return loss, {**logged, "together": jnp.square(inputs["label"].astype(jnp.float32).mean())}


@pytest.mark.parametrize(("devices", "parts"), [(1, [[0, 1, 2, 3], [4, 5, 6, 7]]), (2, [[0, 1, 4, 5], [2, 3, 6, 7]])])
def test_every_device_cuts_its_own_share(devices, parts):
    batch = {**BATCH, "label": jnp.array([0, 2, 1, 1, 0, 0, 2, 1])}
    _, told = step_of(Plain(nnx.Rngs(0)), batch, Told(), micro_batches=2, devices=devices)
    wanted = np.mean([np.mean(np.asarray(batch["label"])[part]) ** 2 for part in parts])
    assert_allclose(told["together"], wanted, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("labels", "alone"), [([0, 0, 0, 0, 1, 1, 1, 1], True), ([0, 0, 1, 1, 0, 0, 1, 1], False)])
def test_triplets_are_those_of_a_part(labels, alone):
    """Images are alike within a class and far from the other: without a negative in its part each has the margin."""
    images = np.broadcast_to(10 * np.float32(labels).reshape(8, 1, 1, 1), (8, 6, 6, 1))
    batch = {"image": jnp.asarray(images), "label": jnp.array(labels)}
    objective = Consistency(weight=1.0, margin=0.5)
    _, whole = step_of(Plain(nnx.Rngs(0)), batch, objective)
    _, cut = step_of(Plain(nnx.Rngs(0)), batch, objective, micro_batches=2)
    assert whole["consistency"] == 0
    assert (cut["consistency"] > 0) == alone
