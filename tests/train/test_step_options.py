"""Parameters that are held, and the moving average of all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from normed import Normed
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax.recipes import CrossEntropy
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
