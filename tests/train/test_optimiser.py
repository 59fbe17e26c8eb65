import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from ml_collections import ConfigDict

from vtnjax.train import create_state, learning_rate_schedule, make_optimiser
from vtnjax.train.state import named_leaves

BASE = {
    "steps": 100,
    "batch_size": 32,
    "learning_rate": 0.5,
    "schedule": "constant",
    "warmup_steps": 0,
    "boundaries": (0.2, 0.6),
    "decay_factor": 0.1,
    "optimiser": "sgd",
    "momentum": 0.9,
    "weight_decay": 0.0,
    "clip_norm": 0.0,
    "localiser_multiplier": 1.0,
}


def config(**changes):
    return ConfigDict({**BASE, **changes})


def rates(steps, **changes):
    schedule = learning_rate_schedule(config(**changes))
    return [float(schedule(step)) for step in steps]


def updates(gradients, params, *, steps=1, **changes):
    """What the optimiser does with the same gradients, step by step."""
    optimiser = make_optimiser(config(**changes))
    state, out = optimiser.init(params), []
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an integer
        for _ in range(steps):
            update, state = optimiser.update(gradients, state, params)
            params = optax.apply_updates(params, update)
            out.append(update)
    return out


class Warped(nnx.Module):
    """A network with a localiser and a list of layers."""

    def __init__(self, rngs):
        self.transformer = nnx.List([nnx.Linear(2, 3, rngs=rngs)])
        self.classifier = nnx.Linear(2, 3, rngs=rngs)


def warped_params():
    return nnx.state(Warped(nnx.Rngs(0)), nnx.Param)


def test_constant_schedule():
    assert rates([0, 50, 99]) == [0.5, 0.5, 0.5]


def test_step_schedule_falls_at_its_boundaries():
    found = rates([0, 19, 20, 59, 60, 99], schedule="step")
    assert found == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005, 0.005])


def test_cosine_schedule_ends_at_zero():
    assert rates([0, 25, 50, 100], schedule="cosine") == pytest.approx(
        [0.5, 0.25 * (1 + np.sqrt(0.5)), 0.25, 0], abs=1e-7
    )


@pytest.mark.parametrize(("schedule", "after"), [("constant", 0.5), ("step", 0.05), ("cosine", 0.25)])
def test_warm_up_grows_linearly_from_zero_and_the_schedule_follows(schedule, after):
    found = rates([0, 5, 10, 55], schedule=schedule, warmup_steps=10)
    assert found == pytest.approx([0, 0.25, 0.5, after])


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine"])
def test_a_run_of_no_step_has_an_optimiser(schedule):
    assert learning_rate_schedule(config(steps=0, schedule=schedule))(0) == config().learning_rate


def test_boundaries_count_steps_of_the_run_with_warm_up_too():
    assert rates([19, 20, 59, 60], schedule="step", warmup_steps=10) == pytest.approx([0.5, 0.05, 0.05, 0.005])


def test_boundaries_that_fall_on_one_step_of_a_short_run_all_count():
    schedule = learning_rate_schedule(config(schedule="step", steps=3, boundaries=(0.3, 0.4, 0.7)))
    assert [float(schedule(step)) for step in range(3)] == pytest.approx([0.5, 0.005, 0.0005])


def test_what_a_schedule_does_not_use_is_not_asked_about():
    assert rates([0], boundaries=(2, 3), decay_factor=0.0) == [0.5]


def test_sgd_and_momentum_by_hand():
    gradients, params = {"w": jnp.array([1.0, -2.0])}, {"w": jnp.zeros(2)}
    (plain,) = updates(gradients, params)
    np.testing.assert_allclose(plain["w"], [-0.5, 1])
    _, second = updates(gradients, params, steps=2, optimiser="momentum")
    np.testing.assert_allclose(second["w"], -0.5 * 1.9 * gradients["w"])


def test_adam_takes_steps_of_the_learning_rate():
    (first,) = updates({"w": jnp.array([3.0, -0.01])}, {"w": jnp.zeros(2)}, optimiser="adam")
    np.testing.assert_allclose(first["w"], [-0.5, 0.5], rtol=1e-5)


@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "adam"])
def test_weight_decay_pulls_towards_zero(optimiser):
    (update,) = updates({"w": jnp.zeros(1)}, {"w": jnp.array([4.0])}, optimiser=optimiser, weight_decay=0.1)
    np.testing.assert_allclose(update["w"], [-0.5 * 0.1 * 4], rtol=1e-6)


def test_gradients_are_clipped_by_their_norm_over_all_parameters():
    gradients = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    params = jax.tree.map(jnp.zeros_like, gradients)
    (clipped,) = updates(gradients, params, clip_norm=1.0)
    np.testing.assert_allclose([clipped["a"][0], clipped["b"][0]], [-0.5 * 0.6, -0.5 * 0.8], rtol=1e-6)
    (small,) = updates(gradients, params, clip_norm=10.0)
    np.testing.assert_allclose([small["a"][0], small["b"][0]], [-1.5, -2])


@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize(("before", "after"), [(0.0, 1.0), (1.0, 0.0), (1.0, 2.0)])
def test_clipping_may_come_and_go_while_the_state_keeps_its_names(optimiser, before, after):
    params, gradients = {"w": jnp.zeros(2)}, {"w": jnp.array([3.0, 4.0])}
    history = [{"step": 3, "key": "clip_norm", "before": before, "after": after}]
    began = make_optimiser(config(optimiser=optimiser, clip_norm=before))
    goes_on = make_optimiser(config(optimiser=optimiser, clip_norm=after), history=history)
    changed = make_optimiser(config(optimiser=optimiser, clip_norm=after))
    state = goes_on.init(params)
    assert named_leaves(state).keys() == named_leaves(began.init(params)).keys()
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam raises a float to an integer
        found, state = goes_on.update(gradients, state, params)
        wanted, _ = changed.update(gradients, changed.init(params), params)
    assert named_leaves(state).keys() == named_leaves(began.init(params)).keys()
    np.testing.assert_array_equal(found["w"], wanted["w"])


@pytest.mark.parametrize("optimiser", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("multiplier", [0.0, 0.5, 2.0])
@pytest.mark.daily("2.0-sgd")
def test_a_rate_of_its_own_scales_a_parameters_updates_only(optimiser, multiplier):
    params = warped_params()
    gradients = jax.tree.map(jnp.ones_like, params)

    def rates(path):
        return (multiplier if "transformer" in path else 1.0), 0

    both = []
    for chosen in (None, rates):
        made = make_optimiser(config(optimiser=optimiser), chosen)
        with jax.numpy_dtype_promotion("standard"):  # optax's Adam needs it
            both.append(made.update(gradients, made.init(params), params)[0])
    before, after = ({"own": jax.tree.leaves(u["transformer"]), "rest": jax.tree.leaves(u["classifier"])} for u in both)
    for one, other in zip(before["own"], after["own"], strict=True):
        np.testing.assert_allclose(other, multiplier * one)
    for one, other in zip(before["rest"], after["rest"], strict=True):
        np.testing.assert_array_equal(other, one)
        assert (other != 0).all()


def test_a_parameter_learns_from_its_first_step_on():
    params = {"early": jnp.ones(2), "late": jnp.ones(2)}
    made = make_optimiser(config(optimiser="sgd"), lambda path: (1.0, 2 if path == ("late",) else 0))
    state, moved = made.init(params), []
    for _ in range(4):
        updates_, state = made.update(jax.tree.map(jnp.ones_like, params), state, params)
        moved.append({name: bool((update != 0).all()) for name, update in updates_.items()})
    assert [step["early"] for step in moved] == [True] * 4
    assert [step["late"] for step in moved] == [False, False, True, True]


def test_the_optimisers_state_is_made_of_arrays_whatever_the_rates():
    for rates in (None, lambda path: (0.5, 0)):
        _, state = create_state(Warped(nnx.Rngs(0)), make_optimiser(config(optimiser="momentum"), rates), 0)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimiser": "momentun"}, "did you mean 'momentum'"),
        ({"schedule": "stepp"}, "did you mean 'step'"),
        ({"warmup_steps": 100}, "warmup_steps must be from 0 to below steps"),
        ({"warmup_steps": -1}, "warmup_steps must be from 0"),
        ({"clip_norm": -1.0}, "at least 0"),
        ({"weight_decay": -0.1}, "at least 0"),
        ({"localiser_multiplier": -1.0}, "at least 0"),
        ({"localiser_multiplier": float("nan")}, "config.localiser_multiplier must be at least 0 and finite, not nan"),
        ({"clip_norm": float("nan")}, "config.clip_norm must be at least 0 and finite, not nan"),
        ({"weight_decay": float("inf")}, "config.weight_decay must be at least 0 and finite, not inf"),
        ({"momentum": 1.0}, "config.momentum must be at least 0 and below 1, not 1.0"),
        ({"momentum": -0.5}, "config.momentum must be at least 0 and below 1"),
        ({"learning_rate": -0.1}, "config.learning_rate must be above 0"),
        ({"warmup_steps": 0.5}, "config.warmup_steps must be a whole number"),
        ({"schedule": "step", "decay_factor": 0.0}, "config.decay_factor must be above 0 and below 1, not 0.0"),
        ({"schedule": "step", "decay_factor": 10.0}, "config.decay_factor must be above 0 and below 1, not 10.0"),
        ({"schedule": "step", "decay_factor": float("nan")}, "config.decay_factor must be above 0"),
        (
            {"schedule": "step", "boundaries": (2, 3)},
            r"increasing fractions of the run, above 0 and below 1, not \(2, 3\); steps .* of 100 are \(0.02, 0.03\)",
        ),
        ({"schedule": "step", "boundaries": (0.5, 0.5)}, "increasing fractions"),
        ({"schedule": "step", "boundaries": (0.6, 0.2)}, "increasing fractions"),
        ({"schedule": "step", "boundaries": (0.0, 0.5)}, "increasing fractions"),
        ({"schedule": "step", "boundaries": (-0.1, 0.5)}, "increasing fractions"),
        ({"schedule": "step", "boundaries": (0.5, 1.0)}, "increasing fractions"),
        ({"schedule": "step", "boundaries": (0.5, float("nan"))}, "increasing fractions"),
        ({"schedule": "step", "boundaries": ("0.5",)}, "increasing fractions"),
        ({"schedule": "step", "boundaries": ()}, "increasing fractions"),
        ({"schedule": "step", "boundaries": 0.5}, "increasing fractions .*, not 0.5$"),
        ({"schedule": "step", "warmup_steps": 20}, "after the warm-up of 20 steps, not at step 20"),
    ],
)
def test_bad_settings_are_named(changes, words):
    with pytest.raises(ValueError, match=words):
        make_optimiser(config(**changes))
