"""A run from where an earlier one left off to its last step, of one network or of several stacked ones."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from etils import epath
from jax.sharding import Mesh

from vtnjax.train.checkpoint import Checkpoints
from vtnjax.train.config import Config
from vtnjax.train.lock import Lock
from vtnjax.train.loop import Loop, Renewed
from vtnjax.train.mesh import by_the_first, check_divides, split, to_devices
from vtnjax.train.metrics import Console, MetricsFile
from vtnjax.train.optimiser import learning_rate_schedule
from vtnjax.train.state import TrainState
from vtnjax.train.step import Step
from vtnjax.train.workdir import remembered_divergence


@runtime_checkable
class Batches(Protocol):
    """Endless batches, this process's share of each, whose position can be saved. They may be `Renewed` too."""

    def __iter__(self) -> Iterator[Any]: ...

    def __next__(self) -> dict[str, np.ndarray]: ...

    def get_state(self) -> dict[str, Any]:
        """The position, as JSON holds it."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a position."""
        ...


class Job(NamedTuple):
    """The parts of a run.

    Attributes:
        step: the training step, `(state, batch) -> (state, metrics)`, not compiled.
        batches: the batches to train on.
        spec: the shape and dtype of each array of a batch, of all processes together.
        evaluate: the function from a state to the figures of the test set.
        figure: the name of the test figure, the higher the better, by which the best checkpoint is chosen.
        predict: the function `(state, input) -> prediction`, for batches that are `Renewed`.
        how: what is said beside the test figures, or nothing.
    """

    step: Step
    batches: Batches
    spec: dict[str, jax.ShapeDtypeStruct]
    evaluate: Callable[[TrainState], dict[str, float]]
    figure: str = "accuracy"
    predict: Callable[[TrainState, Any], Any] | None = None
    how: str = ""


def fit(
    config: Config,
    workdir: epath.PathLike,
    job: Job,
    state: TrainState,
    *,
    mesh: Mesh,
    lock: Lock | None = None,
    active: bool = True,
    say: Callable[[str], None] = print,
) -> tuple[TrainState, bool]:
    """Train to step `config.steps`, from the latest checkpoint in the workdir, or from `state` if there is none.

    Args:
        config: the run's config.
        workdir: the folder of the run, which `open_workdir` opened.
        job: the parts of the run.
        state: the state at step 0, on the devices of the mesh; it is donated.
        mesh: the mesh over which each batch is split.
        lock: the lock of the workdir, if this process holds it.
        active: True in the process that writes figures and shows them.
        say: the function that shows a line.

    Returns:
        The state after the last step, and whether anything was left to do.

    Raises:
        DivergedError, OSError, ValueError, StoppedError: in the cases of `Loop.run`.
    """
    check_divides(job.spec, mesh)
    checkpoints = Checkpoints(workdir, say=say)
    metrics = MetricsFile(workdir, active=active, tensorboard=config.tensorboard)
    console = None
    try:
        state, start, recent = _resume(checkpoints, state, job.batches)
        if start == config.steps and by_the_first(metrics.final(start) is not None):
            return state, False
        if start:
            say(f"resuming from step {start}")
        metrics.cut_back(start)
        step = jax.jit(job.step, donate_argnums=0)
        if start < config.steps:
            began, sharding = time.perf_counter(), split(mesh)
            batch = {name: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding) for name, s in job.spec.items()}
            step = step.lower(state, batch).compile()
            say(f"compiled the training step in {time.perf_counter() - began:.1f} s")
        console = Console(config.steps, start, active=active, figure=job.figure)
        shown = learning_rate_schedule(config), checkpoints, metrics, console, lock, job.figure, job.predict
        with remembered_divergence(workdir, write=active):
            loop, batches = Loop(config, step, job.evaluate, *shown, how=job.how), to_devices(iter(job.batches), mesh)
            renewed = job.batches if isinstance(job.batches, Renewed) else None
            return loop.run(state, start, batches, job.batches.get_state, recent, renewed=renewed), True
    finally:
        if console is not None:
            console.close()
        checkpoints.close()


def _resume(checkpoints, state, batches):
    """The state and the step where the run left off, and what the next line's means need; the batches go on there."""
    restored = checkpoints.restore(state)
    if restored is None:
        return state, 0, []
    state, beside = restored
    batches.set_state(beside["data"])
    return state, int(np.ravel(jax.device_get(state.step))[0]), beside["recent"]
