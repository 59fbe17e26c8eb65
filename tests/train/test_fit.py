"""A run of a model and an objective of one's own, from Python."""

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


class Drawn:
    """Batches of records drawn by their own number."""

    def __init__(self, stop_at=None):
        self.place, self.stop_at = 0, stop_at

    def __iter__(self):
        return self

    def __next__(self):
        if self.place == self.stop_at:
            raise StopError
        picked = np.random.default_rng(self.place).choice(64, 8, replace=False)
        self.place += 1
        return {"x": X[picked], "y": Y[picked]}

    def get_state(self):
        return {"place": self.place}

    def set_state(self, state):
        self.place = state["place"]


class Squares:
    def inputs(self, batch, key, prepare):
        return batch

    def __call__(self, model, inputs, key):
        loss = ((model(inputs["x"]) - inputs["y"]) ** 2).mean()
        return loss, {"root": loss**0.5}


def run(workdir, batches, said=None):
    """`fit` of a small network as a user would call it."""
    rngs, optimiser, mesh = nnx.Rngs(0), optax.sgd(0.05), train.data_mesh(jax.devices()[:1])
    model = nnx.Sequential(nnx.Linear(2, 8, rngs=rngs), nnx.tanh, nnx.Linear(8, 1, rngs=rngs))
    graphdef, state = train.create_state(model, optimiser, 0)

    def evaluate(state):
        errors = np.abs(np.asarray(train.merged(graphdef, state)(X)) - Y)
        return {"loss": float(errors.mean()), "accuracy": float((errors < 0.5).mean())}

    job = train.Job(
        step=train.make_train_step(graphdef, optimiser, lambda key, x: x, Squares()),
        batches=batches,
        spec={"x": jax.ShapeDtypeStruct((8, 2), jnp.float32), "y": jax.ShapeDtypeStruct((8, 1), jnp.float32)},
        evaluate=evaluate,
    )
    say = (lambda text: None) if said is None else said.append
    state = jax.device_put(state, train.replicated(mesh))
    with jax.numpy_dtype_promotion("standard"):
        return train.fit(ConfigDict(CONFIG), workdir, job, state, mesh=mesh, say=say)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    workdir, said = tmp_path_factory.mktemp("unbroken"), []
    state, ran = run(workdir, Drawn(), said)
    assert (ran, int(state.step)) == (True, 20)
    assert [text.partition(" in ")[0] for text in said] == ["compiled the training step"]
    return workdir


def test_what_the_objective_and_the_evaluation_tell_is_written(unbroken):
    lines = runs.metrics(unbroken)
    assert [line["step"] for line in lines if "test/accuracy" in line] == [7, 14, 20]
    trained = [line for line in lines if "train/loss" in line]
    assert [line["step"] for line in trained] == [4, 8, 12, 16, 20]
    assert all(line["train/root"] > 0 for line in trained)


@pytest.mark.parametrize(("at", "resumed"), [(2, None), (8, 7), (10, 9), (19, 18)])
def test_a_run_that_was_stopped_ends_as_if_it_had_not(unbroken, tmp_path, at, resumed):
    with pytest.raises(StopError):
        run(tmp_path, Drawn(stop_at=at))
    said = []
    _, ran = run(tmp_path, Drawn(), said)
    assert ran
    assert (said[0] == f"resuming from step {resumed}") == (resumed is not None)
    runs.assert_same_run(tmp_path, unbroken, 20)


def test_a_finished_run_is_left_alone(unbroken):
    before, batches, said = (unbroken / "metrics.jsonl").read_text(), Drawn(), []
    state, ran = run(unbroken, batches, said)
    assert (ran, int(state.step), said) == (False, 20, [])
    assert batches.place == 20
    assert (unbroken / "metrics.jsonl").read_text() == before
