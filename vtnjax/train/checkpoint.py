"""Checkpoints by Orbax: written in the background, whole or not at all; the latest two and the best one are kept."""

import contextlib
import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from vtnjax.train.state import named_leaves

_MANAGERS = ocp.checkpoint_managers
_LATEST = 2  # the one before the latest is what a damaged latest falls back to


class SaveError(OSError):
    """A checkpoint could not be written."""


class NotFiniteError(ValueError):
    """A state with numbers that are not finite, which is not worth keeping."""


class Checkpoints:
    """The checkpoints below `workdir/checkpoints`.

    A checkpoint holds a state, any pytree of arrays, and the position of the data as JSON. The state is stored as a
    flat dictionary of its paths, so that no class of this library or of Flax is needed to read one. Beside the position
    stand the arrays' shapes and a checksum, because Orbax does not notice a flipped bit.
    """

    def __init__(self, workdir: Path, *, read_only: bool = False, say: Callable[[str], None] = print):
        self._directory = (workdir / "checkpoints").resolve()
        self._read_only = read_only  # another process may be writing there: nothing is tidied or set aside
        self._say = say
        best = _MANAGERS.BestN(
            n=1, get_metric_fn=lambda metrics: metrics["accuracy"], keep_checkpoints_without_metrics=False
        )
        policy = _MANAGERS.AnyPreservationPolicy([_MANAGERS.LatestN(_LATEST), best])
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policy, read_only=read_only, create=not read_only, cleanup_tmp_directories=not read_only
        )
        self._manager = ocp.CheckpointManager(self._directory, options=options)

    def save(self, step: int, state: Any, position: dict[str, Any], *, accuracy: float | None = None) -> None:
        """Begin to write a checkpoint; the state may be donated as soon as this returns.

        Args:
            step: steps done.
            state: a pytree of arrays, each whole on every process.
            position: what JSON can hold, such as what the data iterator's `get_state` gave.
            accuracy: the test accuracy at this step, where it was measured: what the best checkpoint is chosen by.

        Raises:
            NotFiniteError: if a number of the state is not finite.
            SaveError: if this checkpoint, or the one begun before, cannot be written.
        """
        if step in self._manager.all_steps():
            return
        # A copy, since Orbax may read a CPU's buffers in place after the next step has taken them over.
        copies = jax.tree.map(jnp.copy, named_leaves(state))
        wrong = [name for name, leaf in copies.items() if not np.isfinite(np.asarray(leaf)).all()]
        if wrong:
            raise NotFiniteError(f"{wrong[0]} holds numbers that are not finite")
        position = json.loads(json.dumps(position))  # a copy too, since the caller may go on changing it
        self._check_room(sum(leaf.nbytes for leaf in copies.values()))
        beside = {"position": position, "arrays": _describe(copies), "checksum": _checksum(copies, position)}
        args = ocp.args.Composite(state=ocp.args.StandardSave(copies), position=ocp.args.JsonSave(beside))
        with self._named_errors():
            self._manager.save(step, args=args, metrics=None if accuracy is None else {"accuracy": accuracy})

    def wait(self) -> None:
        """Until what was begun is on the disk.

        Raises:
            SaveError: if it could not be written.
        """
        with self._named_errors():
            self._manager.wait_until_finished()

    def latest(self) -> int | None:
        """The step of the latest checkpoint that is whole on the disk."""
        return latest_step(self._directory)

    def restore(self, state: Any) -> tuple[Any, dict[str, Any]] | None:
        """The latest checkpoint that can be read, as (state, position), or None if there is none.

        A damaged one is reported and set aside as `checkpoints/damaged-STEP`, and the one before it is taken.

        Args:
            state: a state of the same structure, shapes, dtypes and shardings.

        Raises:
            ValueError: if there are checkpoints and none can be read, or one is of another network.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            read, problem = self._attempt(step, state)
            if not problem:
                return read
            self._say(f"checkpoint {step} is damaged ({problem}); trying the one before it")
            self._set_aside(step)
        if steps:
            kept = "" if self._read_only else "; they were set aside there, and the same command now begins anew"
            raise ValueError(f"none of the checkpoints {steps} in {self._directory} can be read{kept}")
        return None

    def close(self) -> None:
        """Wait and release what Orbax holds."""
        with self._named_errors():
            self._manager.close()

    def _attempt(self, step, state):
        """What a checkpoint holds and what is wrong with it, the same in every process."""
        read, problem = None, ""
        try:
            read = self._restore(step, state)
        except _OtherNetworkError as error:
            raise ValueError(str(error)) from None
        except Exception as error:  # whatever the storage layers raise, the one before may be whole
            problem = _first_line(error)
        if jax.process_count() > 1 and multihost_utils.process_allgather(np.array(bool(problem))).any():
            problem = problem or "another process cannot read it"
        return read, problem

    def _restore(self, step, state):
        leaves = named_leaves(state)
        read = self._manager.restore(step, args=ocp.args.Composite(position=ocp.args.JsonRestore()))
        beside = read["position"]
        differences = [
            f"{name} is {beside['arrays'].get(name, 'absent')} there and {_describe(leaves).get(name, 'absent')} here"
            for name in sorted({*beside["arrays"], *leaves})
            if beside["arrays"].get(name) != _describe(leaves).get(name)
        ]
        if differences:
            raise _OtherNetworkError(f"checkpoint {step} in {self._directory} is of another network: {differences[0]}")
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, leaves)
        read = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))
        if _checksum(read["state"], beside["position"]) != beside["checksum"]:
            raise ValueError("its numbers do not have the checksum they were saved with")
        found = [read["state"][name] for name in leaves]
        return jax.tree.unflatten(jax.tree.structure(state), found), beside["position"]

    def _set_aside(self, step):
        if self._read_only:
            return
        if jax.process_index() == 0:
            aside = self._directory / f"damaged-{step}"
            shutil.rmtree(aside, ignore_errors=True)
            (self._directory / str(step)).replace(aside)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"damaged-{step}")
        self._manager.reload()

    def _check_room(self, size: int) -> None:
        # Orbax and TensorStore print pages when a disk is full.
        free = shutil.disk_usage(self._directory).free
        if free < size:
            raise SaveError(f"a checkpoint needs {size:,} bytes, but {self._directory} has only {free:,} left")

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever the storage layers raise
            raise SaveError(f"a checkpoint could not be written to {self._directory} ({_first_line(error)})") from error


def latest_step(directory: Path) -> int | None:
    """The step of the latest checkpoint that is whole in a folder of checkpoints; None without one, or a folder."""
    # Not by Orbax, which counts one it is writing or failed to write.
    paths = directory.iterdir() if directory.is_dir() else ()
    return max((int(path.name) for path in paths if path.name.isdecimal()), default=None)


class _OtherNetworkError(Exception):
    pass


def _describe(leaves: dict[str, Any]) -> dict[str, str]:
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in leaves.items()}


def _checksum(leaves: dict[str, Any], position: dict[str, Any]) -> int:
    total = zlib.crc32(json.dumps(position, sort_keys=True).encode())
    for name in sorted(leaves):
        total = zlib.crc32(np.ascontiguousarray(leaves[name]).reshape(-1).view(np.uint8).data, total)
    return total


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
