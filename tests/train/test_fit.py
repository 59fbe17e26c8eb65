"""A run of a model of one's own, with batches that the network has a part in making, from Python."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import train_runs as runs
from flax import nnx
from ml_collections import ConfigDict

from vtnjax import train

CONFIG = {"steps": 20, "batch_size": 8, "log_every": 4, "eval_every": 7, "checkpoint_every": 3, "tensorboard": False}
CONFIG |= {"learning_rate": 0.05, "schedule": "constant", "warmup_steps": 0}
X = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
Y = X[:, :1] * X[:, 1:]


class StopError(Exception):
    pass


class Hardest:
    """Batches of the half of the records whose predictions are worst, chosen anew every few steps."""

    def __init__(self, renew_every=5, stop_at=None, forgets=False):
        self.renew_every, self.place, self.chosen = renew_every, 0, []
        self.renewals, self.stop_at, self.forgets = [], stop_at, forgets

    def renew(self, step, predict):
        self.renewals.append(step)
        errors = np.abs(np.asarray(predict(X)) - Y)[:, 0]
        self.chosen = np.argsort(errors)[32:].tolist()

    def __iter__(self):
        return self

    def __next__(self):
        if self.place == self.stop_at:
            raise StopError
        rng = np.random.default_rng(self.place)
        self.place += 1
        picked = rng.choice(np.array(self.chosen), 8, replace=False)
        return {"x": X[picked], "y": Y[picked]}

    def get_state(self):
        return {"place": self.place, "chosen": [] if self.forgets else self.chosen}

    def set_state(self, state):
        self.place, self.chosen = state["place"], state["chosen"]


class Squares:
    def inputs(self, batch, key, prepare):
        return batch

    def __call__(self, model, inputs, key):
        loss = ((model(inputs["x"]) - inputs["y"]) ** 2).mean()
        return loss, {"root": loss**0.5}


def run(workdir, batches, said=None, evaluate=None, **changes):
    """`fit` of a small network as a user would call it."""
    rngs, optimiser, mesh = nnx.Rngs(0), optax.sgd(0.05), train.data_mesh(jax.devices()[:1])
    model = nnx.Sequential(nnx.Linear(2, 8, rngs=rngs), nnx.tanh, nnx.Linear(8, 1, rngs=rngs))
    graphdef, state = train.create_state(model, optimiser, 0)

    def nearness(state):
        return {"nearness": float(-np.abs(train.merged(graphdef, state)(X) - Y).mean())}

    job = train.Job(
        step=train.make_train_step(graphdef, optimiser, lambda key, x: x, Squares()),
        batches=batches,
        spec={"x": jax.ShapeDtypeStruct((8, 2), jnp.float32), "y": jax.ShapeDtypeStruct((8, 1), jnp.float32)},
        evaluate=evaluate or nearness,
        figure="nearness",
        predict=jax.jit(lambda state, x: train.merged(graphdef, state)(x)),
    )
    state = jax.device_put(state, train.replicated(mesh))
    config, say = ConfigDict({**CONFIG, **changes}), (lambda text: None) if said is None else said.append
    with jax.numpy_dtype_promotion("standard"):
        return train.fit(config, workdir, job, state, mesh=mesh, say=say)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    workdir, batches = tmp_path_factory.mktemp("unbroken"), Hardest()
    run(workdir, batches)
    return workdir, batches


@pytest.mark.slow
def test_batches_are_renewed_by_the_network_every_few_steps(unbroken):
    workdir, batches = unbroken
    assert batches.renewals == [0, 5, 10, 15]
    lines = runs.metrics(workdir)
    assert [line["step"] for line in lines if "test/nearness" in line] == [7, 14, 20]
    assert all("train/root" in line for line in lines if "train/loss" in line)


@pytest.mark.slow
def test_the_best_checkpoint_is_that_of_the_highest_figure(tmp_path):
    figures = {7: 0.1, 14: -3.0, 21: -4.0, 28: -5.0}
    run(tmp_path, Hardest(), evaluate=lambda state: {"nearness": figures[int(state.step)]}, steps=28)
    assert runs.checkpoints(tmp_path) == [7, 27, 28]


@pytest.mark.slow
@pytest.mark.parametrize(("at", "resumed", "renewals"), [(8, 7, [10, 15]), (10, 9, [10, 15]), (15, 15, [15])])
def test_a_run_stopped_between_two_renewals_ends_as_if_it_had_not(unbroken, tmp_path, at, resumed, renewals):
    with pytest.raises(StopError):
        run(tmp_path, Hardest(stop_at=at))
    said, batches = [], Hardest()
    run(tmp_path, batches, said)
    assert f"resuming from step {resumed}" in said
    assert batches.renewals == renewals
    runs.assert_same_run(tmp_path, unbroken[0], 20)


def test_a_source_that_forgets_what_it_chose_would_be_noticed(tmp_path):
    with pytest.raises(StopError):
        run(tmp_path, Hardest(stop_at=8, forgets=True))
    with pytest.raises(ValueError, match=r"larger sample|empty"):
        run(tmp_path, Hardest(forgets=True))


def test_a_finished_run_is_left_alone(unbroken):
    workdir, _ = unbroken
    before = (workdir / "metrics.jsonl").read_text()
    batches = Hardest()
    state, ran = run(workdir, batches)
    assert (ran, batches.renewals, int(state.step)) == (False, [], 20)
    assert (workdir / "metrics.jsonl").read_text() == before


def test_a_run_of_no_step_saves_and_tests_the_network_as_it_is(tmp_path, unbroken):
    batches, said = Hardest(), []
    state, ran = run(tmp_path, batches, said, steps=0)
    assert (ran, int(state.step), batches.renewals) == (True, 0, [])
    assert runs.checkpoints(tmp_path) == [0]
    (line,) = runs.metrics(tmp_path)
    assert sorted(line) == ["step", "test/nearness"]
    assert run(tmp_path, Hardest(), steps=0)[1] is False
    (tmp_path / "metrics.jsonl").unlink()  # as of a run that was killed in its test
    assert run(tmp_path, Hardest(), steps=0)[1] is True
    assert runs.metrics(tmp_path) == [line]


@pytest.mark.slow
def test_a_run_goes_on_behind_the_network_as_it_was(tmp_path, unbroken):
    run(tmp_path, Hardest(), steps=0)
    run(tmp_path, Hardest())
    whole = runs.metrics(unbroken[0])
    assert runs.metrics(tmp_path)[1:] == whole
