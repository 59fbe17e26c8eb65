"""Checkpoints by Orbax: written in the background, whole or not at all; the latest two and the best one are kept."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from vtnjax.train.state import named_leaves

_MANAGERS = ocp.checkpoint_managers
_LATEST = 2  # the one before the latest is what a damaged latest falls back to


class Checkpoints:
    """The checkpoints below `workdir/checkpoints`.

    A checkpoint holds a state, any pytree of arrays, and the position of the data as JSON. The state is stored as a flat
    dictionary of its paths, so that no class of this library or of Flax is needed to read one.
    """

    def __init__(self, workdir: Path, *, say: Callable[[str], None] = print):
        self._directory = (workdir / "checkpoints").resolve()
        self._say = say
        best = _MANAGERS.BestN(
            n=1, get_metric_fn=lambda metrics: metrics["accuracy"], keep_checkpoints_without_metrics=False
        )
        policy = _MANAGERS.AnyPreservationPolicy([_MANAGERS.LatestN(_LATEST), best])
        options = ocp.CheckpointManagerOptions(preservation_policy=policy, cleanup_tmp_directories=True)
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def save(self, step: int, state: Any, position: dict[str, Any], *, accuracy: float | None = None) -> None:
        """Begin to write a checkpoint; the state may be donated as soon as this returns.

        Args:
            step: steps done.
            state: a pytree of arrays.
            position: what the data iterator's `get_state` gave.
            accuracy: the test accuracy at this step, where it was measured: what the best checkpoint is chosen by.
        """
        if step in self._manager.all_steps():
            return
        # A copy, since Orbax may read a CPU's buffers in place after the next step has taken them over.
        copies = jax.tree.map(jnp.copy, named_leaves(state))
        args = ocp.args.Composite(state=ocp.args.StandardSave(copies), position=ocp.args.JsonSave(position))
        self._manager.save(step, args=args, metrics=None if accuracy is None else {"accuracy": accuracy})

    def wait(self) -> None:
        """Until what was begun is on the disk."""
        self._manager.wait_until_finished()

    def latest(self) -> int | None:
        """The step of the latest checkpoint."""
        return self._manager.latest_step()

    def restore(self, state: Any) -> tuple[Any, dict[str, Any]] | None:
        """The latest checkpoint that can be read, as (state, position), or None if there is none.

        A damaged one is reported and set aside as `checkpoints/damaged-STEP`, and the one before it is taken.

        Args:
            state: a state of the same structure, shapes, dtypes and shardings.

        Raises:
            ValueError: if there are checkpoints and none can be read, or one is of another structure.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                return self._restore(step, state)
            except Exception as error:  # noqa: BLE001 (whatever the storage layers raise, the one before may be whole)
                self._say(f"checkpoint {step} is damaged ({_first_line(error)}); trying the one before it")
                self._set_aside(step)
        if steps:
            raise ValueError(
                f"none of the checkpoints {steps} in {self._directory} can be read; they were set aside there"
            )
        return None

    def close(self) -> None:
        """Wait and release what Orbax holds."""
        self._manager.close()

    def _restore(self, step, state):
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, named_leaves(state))
        args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), position=ocp.args.JsonRestore())
        read = self._manager.restore(step, args=args)
        leaves = [read["state"][name] for name in named_leaves(state)]
        return jax.tree.unflatten(jax.tree.structure(state), leaves), read["position"]

    def _set_aside(self, step):
        if jax.process_index() == 0:
            aside = self._directory / f"damaged-{step}"
            shutil.rmtree(aside, ignore_errors=True)
            (self._directory / str(step)).replace(aside)
        self._manager.reload()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
