import contextlib
import dataclasses
import errno
import json
import os
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from vtnjax.train import (
    Checkpoints,
    Console,
    DivergedError,
    Lock,
    LockedError,
    Loop,
    MetricsFile,
    StoppedError,
    TrainState,
)

CONFIG = {"steps": 20, "batch_size": 10, "log_every": 4, "eval_every": 7, "checkpoint_every": 3}


class Data:
    """Batches of their own number, which can be put back."""

    def __init__(self):
        self.next = 0
        self.happens = {}

    def __iter__(self):
        return self

    def __next__(self):
        self.happens.get(self.next, lambda: None)()
        self.next += 1
        return jax.device_put(np.float32(self.next))

    def position(self):
        return {"next": self.next}


def toy():
    return TrainState(jnp.zeros((), jnp.int32), {"x": jnp.zeros(())}, {}, (), jnp.zeros(2, jnp.uint32))


@jax.jit
def step(state, batch):
    state = dataclasses.replace(state, step=state.step + 1, params={"x": 0.5 * state.params["x"] + batch})
    return state, {"loss": batch * 2, "gradient_norm": batch}


def evaluate(state):
    return {"loss": float(jax.device_get(state.params["x"])), "accuracy": 0.5}


class Run:
    """The loop over a toy, opened as train.py does."""

    def __init__(self, workdir, *, train_step=step, evaluate=evaluate, lock=None, **changes):
        self.config, self.workdir = ConfigDict({**CONFIG, **changes}), workdir
        self.train_step, self.evaluate, self.data = train_step, evaluate, Data()
        self.metrics = MetricsFile(workdir)
        self.state, self.lock = None, lock

    def go(self):
        state = toy()
        checkpoints = Checkpoints(self.workdir, say=lambda text: None)
        restored, start, recent = checkpoints.restore(state), 0, []
        if restored is not None:
            state, beside = restored
            start, self.data.next, recent = int(state.step), beside["data"]["next"], beside["recent"]
        self.metrics.cut_back(start)
        console = Console(self.config.steps, start)
        shown = (checkpoints, self.metrics, console)
        loop = Loop(self.config, self.train_step, self.evaluate, lambda n: 0.1 * n, *shown, self.lock)
        with contextlib.closing(checkpoints):
            self.state = loop.run(state, start, self.data, self.data.position, recent)
        return start

    def lines(self):
        return [
            {key: value for key, value in line.items() if key not in ("train/images_per_second", "train/input_wait")}
            for line in self.metrics.read()
        ]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("unbroken"))
    run.go()
    return run


def assert_same(run, unbroken):
    chex.assert_trees_all_equal(run.state, unbroken.state)
    assert run.lines() == unbroken.lines()


def test_figures_are_means_over_the_steps_since_the_last_line(tmp_path):
    run = Run(tmp_path, steps=10)
    run.go()
    lines = [line for line in run.metrics.read() if "train/loss" in line]
    assert [line["step"] for line in lines] == [4, 8, 10]
    assert [line["train/loss"] for line in lines] == [2 * np.mean(b) for b in ([1, 2, 3, 4], [5, 6, 7, 8], [9, 10])]
    assert [line["train/learning_rate"] for line in lines] == pytest.approx([0.3, 0.7, 0.9])
    assert all(line["train/images_per_second"] > 0 and 0 <= line["train/input_wait"] <= 1 for line in lines)


def test_waiting_for_input_is_reported_and_tests_do_not_slow_the_images_per_second(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])

    def slow_evaluate(state):
        clock[0] += 1000
        return evaluate(state)

    def slow_step(state, batch):
        clock[0] += 1
        return jax.block_until_ready(step(state, batch))  # done before the next batch is asked for

    run = Run(tmp_path, train_step=slow_step, evaluate=slow_evaluate, steps=8, eval_every=1)
    for number in range(8):
        run.data.happens[number] = lambda: clock.__setitem__(0, clock[0] + 3)
    run.go()
    for line in run.metrics.read():
        if "train/loss" in line:
            assert line["train/input_wait"] == pytest.approx(0.75)
            assert line["train/images_per_second"] == pytest.approx(10 / 4)


def test_the_last_line_has_the_test_figures_of_the_last_step(unbroken):
    assert unbroken.lines()[-1] == {"step": 20, "test/loss": float(unbroken.state.params["x"]), "test/accuracy": 0.5}
    assert [line["step"] for line in unbroken.lines() if "test/loss" in line] == [7, 14, 20]


@pytest.mark.slow
@pytest.mark.parametrize("at", [*range(1, 16, 2), 18, 19])
def test_a_run_that_crashes_anywhere_goes_on_as_if_it_had_not(unbroken, tmp_path, at):
    def crash():
        raise CrashError

    run = Run(tmp_path)
    run.data.happens[at] = crash
    with pytest.raises(CrashError):
        run.go()
    with run.metrics.path.open("a") as file:
        file.write('{"step": 1')
    again = Run(tmp_path)
    assert again.go() == max(n for n in (0, 3, 6, 7, 9, 12, 15, 18) if n <= at)
    assert_same(again, unbroken)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("at", [1, 4, 5, 7, 14, 20])
@pytest.mark.daily("14-15")
def test_a_signal_saves_the_step_and_the_run_goes_on_as_if_nothing_had_been(unbroken, tmp_path, at, number):
    run, before = Run(tmp_path), signal.getsignal(number)
    run.data.happens[at - 1] = lambda: os.kill(os.getpid(), number)
    with pytest.raises(StoppedError, match=f"stopped by {number.name}: saved step {at};"):
        run.go()
    assert signal.getsignal(number) is before
    again = Run(tmp_path)
    assert again.go() == at
    assert_same(again, unbroken)


class CrashError(Exception):
    pass


def failing_at(step, error, otherwise=evaluate):
    """The test of one step, which cannot be made."""

    def failing(state):
        if int(jax.device_get(state.step)) == step:
            raise error
        return otherwise(state)

    return failing


@pytest.mark.slow
@pytest.mark.parametrize("at", [7, 14, 20])
def test_a_run_that_ends_in_a_test_has_saved_its_step_and_makes_the_missing_test_first(unbroken, tmp_path, at):
    with pytest.raises(CrashError):
        Run(tmp_path, evaluate=failing_at(at, CrashError())).go()
    again = Run(tmp_path)
    assert again.go() == at
    assert_same(again, unbroken)
    assert figures_of(tmp_path) == figures_of(unbroken.workdir)


def rising_to_the_second(state):
    step = int(jax.device_get(state.step))
    return {"loss": 1.0, "accuracy": {7: 0.2, 14: 0.9}.get(step, 0.3)}


def figures_of(workdir):
    """The checkpoints that are kept, and the figure beside each."""
    steps = [path for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal()]
    return {int(path.name): (path / "metrics" / "metrics").read_text() for path in steps if (path / "metrics").exists()}


@pytest.mark.slow
def test_the_figure_of_a_test_made_up_for_reaches_the_checkpoint_that_is_chosen_by_it(tmp_path):
    whole = Run(tmp_path / "whole", evaluate=rising_to_the_second, steps=40)
    whole.go()
    broken = Run(tmp_path / "broken", evaluate=failing_at(14, CrashError(), rising_to_the_second), steps=40)
    with pytest.raises(CrashError):
        broken.go()
    again = Run(tmp_path / "broken", evaluate=rising_to_the_second, steps=40)
    again.go()
    assert_same(again, whole)
    assert figures_of(tmp_path / "broken") == figures_of(tmp_path / "whole")
    assert figures_of(tmp_path / "whole")[14] == '{"figure": 0.9}'


@pytest.mark.slow
def test_a_figure_that_was_written_but_has_not_reached_its_checkpoint_does_so(tmp_path, monkeypatch):
    whole = Run(tmp_path / "whole", evaluate=rising_to_the_second, steps=40)
    whole.go()

    def crash(*_):
        raise CrashError

    broken = Run(tmp_path / "broken", evaluate=rising_to_the_second, steps=40)
    broken.data.happens[13] = lambda: monkeypatch.setattr(Checkpoints, "record", crash)
    with pytest.raises(CrashError):
        broken.go()
    monkeypatch.undo()
    again = Run(tmp_path / "broken", evaluate=rising_to_the_second, steps=40)
    assert again.go() == 14
    assert_same(again, whole)
    assert figures_of(tmp_path / "broken") == figures_of(tmp_path / "whole")


@pytest.mark.parametrize("error", [ValueError, OSError])
@pytest.mark.parametrize(
    ("at", "kept"),
    [
        (2, "no checkpoint was saved yet. The same command begins anew"),
        (4, "the last good checkpoint is step 3. The same command goes on from there"),
    ],
)
def test_a_batch_that_cannot_be_read_ends_with_what_is_kept(tmp_path, error, at, kept):
    def unreadable():
        raise error("cat.jpg is cut off")

    run = Run(tmp_path)
    run.data.happens[at] = unreadable
    with pytest.raises(error, match=f"cat.jpg is cut off; {kept}"):
        run.go()


@pytest.mark.parametrize("error", [ValueError, OSError])
def test_a_test_that_cannot_be_made_ends_with_what_is_kept(tmp_path, error):
    said = r"cat.jpg is cut off; the last good checkpoint is step 7\. The same command goes on from there"
    for _ in range(2):
        with pytest.raises(error, match=said):
            Run(tmp_path, evaluate=failing_at(7, error("cat.jpg is cut off"))).go()


def test_any_other_error_has_a_note_of_what_is_kept(tmp_path):
    run = Run(tmp_path, evaluate=failing_at(7, CrashError()))
    with pytest.raises(CrashError) as caught:
        run.go()
    assert caught.value.__notes__ == ["the last good checkpoint is step 7. The same command goes on from there"]


def test_a_workdir_that_another_trainer_took_over_is_left_alone(tmp_path, monkeypatch):
    def check(_):
        if run.data.next == 5:
            raise LockedError("the workdir was taken over")

    monkeypatch.setattr(Lock, "check", check)
    with Lock(tmp_path) as held:
        run = Run(tmp_path, lock=held)
        with pytest.raises(OSError, match="the workdir was taken over; the last good checkpoint is step 3"):
            run.go()
    assert max(line["step"] for line in run.lines()) == 4


def diverging(at, value):
    def bad(state, batch):
        state, metrics = step(state, batch)
        return state, {**metrics, "loss": jnp.where(state.step >= at, value, metrics["loss"])}

    return jax.jit(bad)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("at", "kept"), [(2, "no checkpoint was saved yet"), (3, "no checkpoint"), (9, "is step 7")])
@pytest.mark.daily("3-no checkpoint-inf")
def test_a_loss_that_is_not_finite_stops_the_run_with_the_step_and_the_last_good_checkpoint(tmp_path, value, at, kept):
    run = Run(tmp_path, train_step=diverging(at, value))
    with pytest.raises(DivergedError, match=f"the loss of step {at} is {value}.*{kept}"):
        run.go()
    text = run.metrics.path.read_text() if run.metrics.path.exists() else ""
    assert "NaN" not in text
    assert "Infinity" not in text


@pytest.mark.parametrize("every", [1, 3])
def test_parameters_that_are_not_finite_are_never_saved_though_the_loss_is(tmp_path, every):
    def overflow(state, batch):
        state, metrics = step(state, batch)
        x = jnp.where(state.step >= 6, jnp.inf, state.params["x"])
        return dataclasses.replace(state, params={"x": x}), metrics

    run = Run(tmp_path, train_step=jax.jit(overflow), checkpoint_every=every, eval_every=100)
    with pytest.raises(DivergedError, match=r"after step 6 params/x holds .* the last good checkpoint is step"):
        run.go()
    state, _ = Checkpoints(tmp_path, read_only=True).restore(toy())
    assert np.isfinite(state.params["x"])


def test_a_test_loss_that_is_not_finite_stops_the_run(tmp_path):
    run = Run(tmp_path, evaluate=lambda state: {"loss": float("nan"), "accuracy": 0.1})
    with pytest.raises(DivergedError, match="the test loss of step 7 is nan; the last good checkpoint is step 6"):
        run.go()
    assert Run(tmp_path, steps=7).go() == 6


def test_a_full_disk_under_the_figures_names_the_last_good_checkpoint_and_loses_nothing(
    unbroken, tmp_path, monkeypatch
):
    run = Run(tmp_path)
    run.data.happens[10] = lambda: monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(
        OSError, match=r"metrics.jsonl cannot be written: .*No space.*; the last good checkpoint is step 9"
    ):
        run.go()
    monkeypatch.undo()
    again = Run(tmp_path)
    assert again.go() == 9
    assert_same(again, unbroken)


def no_space(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_the_best_checkpoint_is_kept_besides_the_latest_two(tmp_path):
    figures = iter([0.2, 0.8, 0.3, 0.4, 0.5])
    run = Run(
        tmp_path,
        steps=25,
        eval_every=5,
        checkpoint_every=100,
        evaluate=lambda state: {"loss": 1.0, "accuracy": next(figures)},
    )
    run.go()
    kept = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert kept == [10, 20, 25]
    assert json.loads(run.metrics.path.read_text().splitlines()[-1])["test/accuracy"] == 0.5  # the last, not the best
