"""Seeds trained together are the runs of their own that they stand for."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from config_files import get_config
from numpy.testing import assert_allclose

from vtnjax import recipes, train
from vtnjax.recipes.together import Stacked, together
from vtnjax.train.checkpoint import Checkpoints
from vtnjax.train.loop import Loop
from vtnjax.train.state import named_leaves


def config(seed=0, **changes):
    made = get_config("distorted_digits", "smoke,model=st_fcn")
    made.update({"seed": seed, "optimiser": "sgd", "steps": 6, "log_every": 2, "eval_every": 3, "checkpoint_every": 3})
    made.update({"batch_size": 32, "schedule": "constant", **changes})
    return made


@functools.cache
def recipe():
    return recipes.read_recipe(config())


@functools.cache
def alone(seed):
    """Parameters and losses of a run of its own."""
    made = config(seed)
    optimiser = train.make_optimiser(made)
    graphdef, state = train.create_state(recipe().network(seed), optimiser, seed)
    step = jax.jit(train.make_train_step(graphdef, optimiser, recipe().prepare, recipe().objective))
    batches, losses = recipe().batches(seed), []
    for _ in range(made.steps):
        state, metrics = step(state, next(batches))
        losses.append(float(metrics["loss"]))
    return named_leaves(state.params), losses


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("together")
    figures = recipes.train_together(config(), [0, 3], workdir, say=lambda text: None)
    return workdir, figures


def test_batches_that_the_network_renews_are_refused(tmp_path, monkeypatch):
    class Renewing(Stacked):
        renew_every = 2

        def renew(self, step, predict):
            """Nothing."""

    made = recipe()._replace(batches=lambda seed: Renewing([]))
    monkeypatch.setattr("vtnjax.recipes.together.read_recipe", lambda config: made)
    with pytest.raises(ValueError, match="must not be renewed by the network where seeds are trained together"):
        recipes.train_together(config(), [0, 3], tmp_path, say=lambda text: None)


def saved(workdir, state):
    checkpoints = Checkpoints(workdir, read_only=True)
    return checkpoints.restore(state)[0]


def stacked_state():
    optimiser = train.make_optimiser(config())
    states = [train.create_state(recipe().network(seed), optimiser, seed)[1] for seed in (0, 3)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def test_each_seed_ends_as_in_a_run_of_its_own(ran):
    workdir, _ = ran
    params = named_leaves(saved(workdir, stacked_state()).params)
    for number, seed in enumerate((0, 3)):
        wanted, _ = alone(seed)
        for name, leaf in wanted.items():
            assert_allclose(params[name][number], leaf, atol=1e-5, err_msg=name)


def test_the_figures_are_each_seeds_and_their_means(ran):
    workdir, figures = ran
    lines = train.MetricsFile(workdir).read()
    last = lines[-1]
    assert [figure["loss"] for figure in figures] == [last["test/loss_0"], last["test/loss_3"]]
    assert last["test/loss"] == pytest.approx((last["test/loss_0"] + last["test/loss_3"]) / 2)
    assert figures[0] != figures[1]
    first = next(line for line in lines if "train/loss" in line)  # the mean of two steps of two seeds
    assert first["train/loss"] == pytest.approx(np.mean([alone(seed)[1][:2] for seed in (0, 3)]), rel=1e-4)


@pytest.mark.slow
def test_a_stopped_call_goes_on_to_the_same_end(ran, tmp_path, monkeypatch):
    workdir, figures = ran
    real = Loop._save

    def stop(self, step, *rest):
        real(self, step, *rest)
        self.checkpoints.wait()
        if step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Loop, "_save", stop)
    with pytest.raises(KeyboardInterrupt):
        recipes.train_together(config(), [0, 3], tmp_path, say=lambda text: None)
    monkeypatch.setattr(Loop, "_save", real)
    said = []
    assert recipes.train_together(config(), [0, 3], tmp_path, say=said.append) == figures
    assert "resuming from step 3" in said
    chex.assert_trees_all_equal(saved(tmp_path, stacked_state()), saved(workdir, stacked_state()))


def test_a_finished_call_gives_its_figures_again(ran):
    workdir, figures = ran
    assert recipes.train_together(config(), [0, 3], workdir, say=lambda text: None) == figures


def test_other_seeds_need_another_workdir(ran):
    with pytest.raises(ValueError, match=r"seed must be \[0, 3\], not \[0, 4\]"):
        recipes.train_together(config(), [0, 4], ran[0])


def test_a_workdir_in_which_another_trains_is_refused_and_is_free_after_a_call(ran, tmp_path):
    workdir, _ = ran
    train.Lock(workdir).release()
    with train.Lock(tmp_path), pytest.raises(train.LockedError, match="is being trained by process"):
        recipes.train_together(config(), [0, 3], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_are_some_and_different(tmp_path, seeds):
    with pytest.raises(ValueError, match="seeds must be different numbers"):
        recipes.train_together(config(), seeds, tmp_path)


def test_a_seed_that_diverges_shows_in_the_mean():
    step = together(lambda state, batch: (state, {"loss": batch}))
    _, metrics = step(np.zeros(2), np.array([1.0, np.nan]))
    assert np.isnan(metrics["loss"])


def test_positions_of_all_streams_are_kept():
    def streams():
        return Stacked([recipe().batches(seed) for seed in (0, 3)])

    first = streams()
    next(first)
    position, wanted = first.get_state(), next(first)
    again = streams()
    again.set_state(position)
    chex.assert_trees_all_equal(next(again), wanted)
