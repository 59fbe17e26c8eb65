"""The training loop: steps, figures, evaluations and checkpoints, and an orderly end whatever happens."""

import collections
import contextlib
import dataclasses
import functools
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
from jax.experimental import multihost_utils
from jaxtyping import Array

from vtnjax.train.checkpoint import Checkpoints, NotFiniteError
from vtnjax.train.config import Config
from vtnjax.train.ending import StoppedError
from vtnjax.train.lock import Lock
from vtnjax.train.mesh import by_the_first
from vtnjax.train.metrics import Console, MetricsFile, describe
from vtnjax.train.state import TrainState

_LAG = 2  # steps under way before the first one's figures are fetched: the device never waits for the host


class DivergedError(RuntimeError):
    """The loss or a parameter is no longer a number."""


@runtime_checkable
class Renewed(Protocol):
    """Batches that are made by the network, such as negatives that it finds hard."""

    @property
    def renew_every(self) -> int:
        """Steps between two renewals."""
        ...

    def renew(self, step: int, predict: Callable[[Any], Any]) -> None:
        """Make what the batches of the next `renew_every` steps are drawn from.

        It is called at each step that `renew_every` divides, at 0 too, before the batch behind it is asked for. A
        batch of a later stretch must not be made before its renewal, and `get_state` must hold what was made, so that
        a run that is stopped in between goes on as if it had not been. Of several processes each is called, and each
        must make the same.

        Args:
            step: the number of steps done.
            predict: the function from an input to the network's prediction, in evaluation mode.
        """
        ...


@dataclasses.dataclass
class Loop:
    """The loop, and the parts it works with.

    Attributes:
        config: the run's config.
        train_step: the compiled training step, `(state, batch) -> (state, metrics)`, whose state is donated.
        evaluate: the function from a state to test figures, one of which has the name `figure`.
        schedule: the function from a step to the learning rate.
        checkpoints: the checkpoints of the run.
        metrics: the file of the figures.
        console: the console that shows figures.
        lock: the lock of the workdir, if this process holds one: the loop ends when it is lost.
        figure: the name of the test figure, the higher the better, by which the best checkpoint is chosen.
        predict: the function `(state, input) -> prediction`, for batches that are `Renewed`.
        how: what is said beside the test figures, or nothing.
    """

    config: Config
    train_step: Callable[[TrainState, dict[str, Array]], tuple[TrainState, dict[str, Array]]]
    evaluate: Callable[[TrainState], dict[str, float]]
    schedule: Callable[[int], Any]
    checkpoints: Checkpoints
    metrics: MetricsFile
    console: Console
    lock: Lock | None = None
    figure: str = "accuracy"
    predict: Callable[[TrainState, Any], Any] | None = None
    how: str = ""

    def run(
        self,
        state: TrainState,
        start: int,
        batches: Iterator[Any],
        position: Callable[[], dict[str, Any]],
        recent: Sequence[dict[str, float]] = (),
        *,
        renewed: Renewed | None = None,
    ) -> TrainState:
        """Train from step `start` to the last one; where there is none, save and test the state as it is.

        A checkpoint's JSON is `{"data": position(), "recent": [...]}`: with the figures of the steps since the last
        line, the next line's means are those of a run that was never stopped.

        Args:
            state: the state at step `start`; it is donated.
            start: the number of steps done.
            batches: the batches on the devices, from the position of step `start` on.
            position: the function that gives the data's position after the batch that was taken last.
            recent: the list `recent` of the checkpoint that was restored.
            renewed: the source of the batches, if the network is needed to make them.

        Returns:
            The state after the last step.

        Raises:
            DivergedError: if a loss or the state is not finite, naming the step and the last good checkpoint.
            OSError: if a line or a checkpoint cannot be written, or data cannot be read, naming the last good
                checkpoint.
            ValueError: if data cannot be read, naming the last good checkpoint.
            StoppedError: on SIGTERM or an interrupt, after saving.
        """
        try:
            kept = _Recent(self.schedule, self.config.batch_size, recent)
            return self._run(state, start, batches, position, kept, renewed)
        except DivergedError as error:
            hint = "A lower learning rate or gradient clipping (config.clip_norm) may help"
            raise DivergedError(f"{error}; {self._kept()[0]}. {hint}") from None
        except StoppedError:
            raise
        except OSError as error:
            raise OSError(f"{error}; {'. '.join(self._kept())}") from error
        except ValueError as error:
            raise ValueError(f"{error}; {'. '.join(self._kept())}") from error
        except Exception as error:
            error.add_note(". ".join(self._kept()))
            raise

    def _run(self, state, start, batches, position, recent, renewed):
        config = self.config
        if start and self._is_tested(start):
            self._make_up_for(start, state)
        if not config.steps:  # the network as it is
            self._save(0, state, {"data": position(), "recent": []})
            self._wait_for_save(0)
            self._test(0, state)
        with _Signals() as signals, jax.transfer_guard("disallow"):
            for step in range(start + 1, config.steps + 1):
                if renewed is not None and (step - 1) % renewed.renew_every == 0:
                    with recent.paused():
                        self._renew(step - 1, state, renewed)
                with recent.waiting_for_input():
                    batch = next(batches)
                state, metrics = self.train_step(state, batch)
                recent.add(step, metrics)
                if self.lock is not None:
                    self.lock.check()
                self.console.advance()
                stop, last = signals.asked(step), step == config.steps
                if step % config.log_every == 0 or last:
                    self._log(step, "train", recent.figures())
                if step % config.checkpoint_every == 0 or self._is_tested(step) or stop:
                    recent.fetch_all()
                    with recent.paused():
                        self._save(step, state, {"data": position(), "recent": recent.values})
                if stop:
                    self.checkpoints.wait()
                    raise StoppedError(f"stopped by {stop}: saved step {step}; the same command goes on from there")
                if self._is_tested(step):
                    with recent.paused():
                        self._wait_for_save(step)  # whatever happens in the test, the step is kept
                        self._test(step, state)
        self.checkpoints.wait()
        return state

    def _is_tested(self, step):
        return step % self.config.eval_every == 0 or step == self.config.steps

    def _renew(self, step, state, renewed):
        if self.predict is None:
            raise ValueError("predict must be given for batches that are made by the network")
        with jax.transfer_guard("allow"):
            renewed.renew(step, functools.partial(self.predict, state))

    def _make_up_for(self, step, state):
        """The test before which an earlier run was stopped, or what was left to do after it."""
        name = f"test/{self.figure}"
        tested = [line[name] for line in self.metrics.read() if line["step"] == step and name in line]
        if by_the_first(bool(tested)):
            if tested:
                self.checkpoints.record(step, tested[-1])
        else:
            self._test(step, state)

    def _test(self, step, state):
        with jax.transfer_guard("allow"):
            figures = self.evaluate(state)
        for name, value in figures.items():
            if not math.isfinite(value):
                self.checkpoints.discard(step)
                raise DivergedError(f"the test {name} of step {step} is {value}")
        self._log(step, "test", figures)
        self.checkpoints.record(step, figures[self.figure])

    def _save(self, step, state, beside):
        try:
            self.checkpoints.save(step, state, beside)
        except NotFiniteError as error:
            raise DivergedError(f"after step {step} {error}") from None

    def _wait_for_save(self, step):
        self.checkpoints.wait()
        if jax.process_count() > 1:
            with jax.transfer_guard("allow"):
                multihost_utils.sync_global_devices(f"saved step {step}")

    def _kept(self):
        """The checkpoint that is on the disk, and what to do about it."""
        with contextlib.suppress(OSError):
            self.checkpoints.wait()
        kept = self.checkpoints.latest()
        if kept is None:
            return "no checkpoint was saved yet", "The same command begins anew"
        return f"the last good checkpoint is step {kept}", "The same command goes on from there"

    def _log(self, step, group, figures):
        named = {f"{group}/{name}": value for name, value in figures.items()}
        self.metrics.write(step, named)
        if group == "test":
            self.console.say(f"step {step}: {describe(named, self.figure, self.how)}")
        else:
            self.console.show(step, figures)


class _Recent:
    """The figures of the steps since the last line, fetched a few steps late."""

    def __init__(self, schedule, batch_size, values):
        self._schedule, self._batch_size = schedule, batch_size
        self._pending = collections.deque()
        self._step = 0
        self._clear()
        self.values, self._earlier = list(values), len(values)

    def add(self, step, metrics):
        self._pending.append((step, metrics))
        if len(self._pending) > _LAG:
            self._fetch()

    def fetch_all(self):
        """Wait for every step under way: what is saved must be finite."""
        while self._pending:
            self._fetch()

    def figures(self) -> dict[str, float]:
        """Means since the last call."""
        self.fetch_all()
        count = len(self.values)
        passed = max(time.perf_counter() - self._began - self._paused, 1e-9)
        means = {name: sum(values[name] for values in self.values) / count for name in self.values[0]}
        with jax.transfer_guard("allow"):
            means["learning_rate"] = float(self._schedule(self._step - 1))
        means["images_per_second"] = (count - self._earlier) * self._batch_size / passed
        means["input_wait"] = self._waited / passed
        self._clear()
        return means

    @contextlib.contextmanager
    def waiting_for_input(self):
        began = time.perf_counter()
        yield
        # While a step is under way the device does not wait, whatever the host does meanwhile.
        if not self._pending or self._pending[-1][1]["loss"].is_ready():
            self._waited += time.perf_counter() - began

    @contextlib.contextmanager
    def paused(self):
        began = time.perf_counter()
        yield
        self._paused += time.perf_counter() - began

    def _clear(self):
        self.values: list[dict[str, float]] = []
        self._earlier = 0  # how many of the values the stopped run had
        self._waited, self._paused, self._began = 0.0, 0.0, time.perf_counter()

    def _fetch(self):
        self._step, metrics = self._pending.popleft()
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not (math.isfinite(values["loss"]) and math.isfinite(values["gradient_norm"])):
            raise DivergedError(
                f"the loss of step {self._step} is {values['loss']} and its gradient's norm {values['gradient_norm']}"
            )
        self.values.append(values)


class _Signals:
    """SIGTERM and SIGINT end the run after the step under way."""

    def __enter__(self):
        self._seen: str | None = None
        # With several processes JAX listens itself, so that all stop at one step.
        wanted = () if jax.process_count() > 1 else (signal.SIGTERM, signal.SIGINT)
        self._before = {number: signal.signal(number, self._handle) for number in wanted}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def asked(self, step: int) -> str | None:
        """The signal's name, once every process may stop at this step."""
        if jax.process_count() > 1:
            return "SIGTERM" if multihost_utils.reached_preemption_sync_point(step) else None
        return self._seen

    def _handle(self, number, _):
        self._seen = signal.Signals(number).name
