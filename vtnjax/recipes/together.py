"""Several seeds of one small network trained together, in one compiled step."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Array

from vtnjax.recipes.evaluating import make_evaluate
from vtnjax.recipes.recipe import check_config, read_recipe
from vtnjax.train.checkpoint import latest_step
from vtnjax.train.config import Config
from vtnjax.train.fit import Job, fit
from vtnjax.train.lock import Lock
from vtnjax.train.loop import Renewed
from vtnjax.train.mesh import data_mesh, replicated
from vtnjax.train.metrics import MetricsFile
from vtnjax.train.optimiser import make_optimiser
from vtnjax.train.state import TrainState, create_state, merged
from vtnjax.train.store import find_workdir
from vtnjax.train.workdir import open_workdir, own_data


def train_together(
    config: Config, seeds: Sequence[int], workdir: epath.PathLike, *, say: Callable[[str], None] = print
) -> list[dict[str, float]]:
    """Train a config with several seeds at once: each its own weights, batches and distortions, as in runs of its own.

    On an accelerator, which a small network leaves idle, they cost little more than one. Runs on one device, leaves
    what a run leaves but its picture, and goes on where an earlier call was stopped. The figures of `metrics.jsonl` are
    means over the seeds; beside them stand "test/loss_SEED" and "test/accuracy_SEED".

    Args:
        config: the run's config, whose own seed is not used.
        seeds: the seed of each run.
        workdir: the folder of all the runs.
        say: the function that shows a line.

    Returns:
        Each seed's "loss" and "accuracy" on the test set after the last step.

    Raises:
        ValueError: if there are no seeds or one comes twice, or a value of the config is wrong.
        DivergedError: if one of the runs diverges.
        OSError, StoppedError: in the cases of `Loop.run`.
        LockedError: if another process trains in the workdir.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be different numbers, at least one, not {list(seeds)}")
    for seed in seeds:
        check_config(_with_seed(config, seed))
    workdir = find_workdir(workdir)
    with Lock(workdir, say=say) as lock:
        return _run(config, seeds, workdir, say, lock)


def _run(config, seeds, workdir, say, lock):
    history = open_workdir(workdir, _with_seed(config, list(seeds)), write=True)
    recipe, mesh = read_recipe(config), data_mesh(jax.devices()[:1])
    own_data(workdir, recipe.train, recipe.test, write=True)
    pretrained = latest_step(workdir / "checkpoints") is None
    optimiser = make_optimiser(config, recipe.rates, history=history)
    members = [
        create_state(recipe.network(seed, pretrained=pretrained), optimiser, seed, average=config.ema > 0)
        for seed in seeds
    ]
    graphdef, state = members[0][0], _stack([state for _, state in members])
    step = recipe.training_step(graphdef, optimiser)
    evaluate = make_evaluate(recipe, config.batch_size, mesh)

    def evaluate_all(state):
        return _of_all(seeds, [evaluate(merged(graphdef, _member(state, i))) for i in range(len(seeds))])

    streams = [recipe.batches(seed) for seed in seeds]
    if isinstance(streams[0], Renewed):
        raise ValueError("config.batches must not be renewed by the network where seeds are trained together")
    job = Job(
        step=together(step),
        batches=Stacked(streams),
        spec={name: _stacked(len(seeds), spec) for name, spec in recipe.spec.items()},
        evaluate=evaluate_all,
        figure=recipe.evaluation.figure,
        how=recipe.evaluation.how,
    )
    fit(config, workdir, job, jax.device_put(state, replicated(mesh)), mesh=mesh, lock=lock, say=say)
    final = MetricsFile(workdir).final(config.steps) or {}
    names = [name for name in final if f"{name}_{seeds[0]}" in final]
    return [{name.removeprefix("test/"): final[f"{name}_{seed}"] for name in names} for seed in seeds]


def together(step: Callable[..., tuple[TrainState, dict[str, Array]]]) -> Callable[..., Any]:
    """A training step of stacked states and batches, the seeds first; the metrics are means over the seeds."""
    each = jax.vmap(step)

    def all_seeds(state, batch):
        state, metrics = each(state, batch)
        return state, jax.tree.map(jnp.mean, metrics)

    return all_seeds


class Stacked:
    """Batches of several streams on top of each other, with the positions of all."""

    def __init__(self, streams: Sequence[Any]):
        self._streams = list(streams)

    def __iter__(self) -> "Stacked":
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        return jax.tree.map(lambda *each: np.stack(each), *[next(stream) for stream in self._streams])

    def get_state(self) -> dict[str, Any]:
        """The positions of all streams, which JSON can hold."""
        return {"streams": [stream.get_state() for stream in self._streams]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on at positions that `get_state` gave."""
        for stream, each in zip(self._streams, state["streams"], strict=True):
            stream.set_state(each)


def _with_seed(config, seed):
    copy = config.copy_and_resolve_references()
    with copy.ignore_type():
        copy.seed = seed
    return copy


def _stacked(count, spec):
    return jax.ShapeDtypeStruct((count, *spec.shape), spec.dtype)


def _stack(states):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def _member(states, number):
    return jax.tree.map(lambda leaves: leaves[number], states)


def _of_all(seeds, figures):
    """Means over the seeds, and each seed's figures."""
    means = {name: float(np.mean([each[name] for each in figures])) for name in figures[0]}
    pairs = zip(seeds, figures, strict=True)
    return {**means, **{f"{name}_{seed}": value for seed, each in pairs for name, value in each.items()}}
