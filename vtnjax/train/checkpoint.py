"""Checkpoints by Orbax: written in the background, whole or not at all; the latest two and the best one are kept."""

import concurrent.futures
import contextlib
import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils

from vtnjax.train.ending import finish_first
from vtnjax.train.mirror import Mirror, whole_steps
from vtnjax.train.state import named_leaves
from vtnjax.train.store import is_store

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

    Of several processes the first one writes and reads, and sends what it read to the others.
    """

    def __init__(self, workdir: epath.PathLike, *, read_only: bool = False, say: Callable[[str], None] = print):
        self._place = epath.Path(workdir) / "checkpoints"
        self._read_only = read_only  # another process may be writing there: nothing is tidied or set aside
        self._say = say
        self._first = jax.process_index() == 0
        self._mirror: Mirror | None = None
        self._sent: concurrent.futures.Future | None = None
        if self._first:
            if is_store(self._place):
                with self._reading():
                    self._mirror = Mirror(self._place)
            # Orbax writes to a folder, which is the place itself or what is copied there.
            self._directory = self._mirror.folder if self._mirror else self._place.resolve()
            if not read_only:
                self._directory.mkdir(parents=True, exist_ok=True)
            self._manager = _open_manager(self._directory, read_only)
            self._sender = concurrent.futures.ThreadPoolExecutor(1)
            finish_first(self.wait)

    def save(self, step: int, state: Any, position: dict[str, Any]) -> None:
        """Begin to write a checkpoint; the state may be donated as soon as this returns.

        Args:
            step: the number of steps done.
            state: the state, a pytree of arrays, each whole on every process.
            position: the position of the data, which JSON can hold, such as an iterator's `get_state` gives.

        Raises:
            NotFiniteError: if a number of the state is not finite.
            SaveError: if this checkpoint, or the one begun before, cannot be written.
        """
        if not self._first or step in self._manager.all_steps():
            return
        self.wait()
        # A copy, since a CPU's buffers would be read in place after the next step has taken them over.
        copies = {name: np.array(leaf) for name, leaf in jax.device_get(named_leaves(state)).items()}
        wrong = [name for name, leaf in copies.items() if not np.isfinite(leaf).all()]
        if wrong:
            raise NotFiniteError(f"{wrong[0]} holds numbers that are not finite")
        position = json.loads(json.dumps(position))  # a copy too, since the caller may go on changing it
        self._check_room(sum(leaf.nbytes for leaf in copies.values()))
        beside = {"position": position, "arrays": _describe(copies), "checksum": _checksum(copies, position)}
        args = ocp.args.Composite(state=ocp.args.StandardSave(copies), position=ocp.args.JsonSave(beside))
        with self._writing():
            self._manager.save(step, args=args)
            if self._mirror:
                self._sent = self._sender.submit(self._send, self._mirror, step)

    def record(self, step: int, figure: float) -> None:
        """Put a test figure beside a saved checkpoint: the best one has the highest when the next one is saved.

        Raises:
            SaveError: if it, or the checkpoint, cannot be written.
        """
        if not self._first:
            return
        self.wait()
        with self._writing():
            if self._manager.metrics(step) is None:
                # Orbax lays a figure out like this when it is given one with the state, whole or not at all.
                folder = self._directory / str(step)
                partial = folder / "metrics.partial"
                partial.mkdir(exist_ok=True)
                (partial / "metrics").write_text(json.dumps({"figure": figure}))
                partial.replace(folder / "metrics")
                self._manager.reload()
                if self._mirror:
                    self._mirror.send_file(folder / "metrics" / "metrics")

    def discard(self, step: int) -> None:
        """Delete a checkpoint that turned out not to be worth keeping.

        Raises:
            SaveError: if it, or one begun before, cannot be written or deleted.
        """
        if not self._first:
            return
        self.wait()
        with self._writing():
            self._manager.delete(step)
            if self._mirror:
                self._mirror.forget_others()

    def wait(self) -> None:
        """Wait until every checkpoint that was begun is on the disk, or in the bucket.

        Raises:
            SaveError: if it could not be written.
        """
        if self._first:
            with self._writing():
                self._manager.wait_until_finished()
                sent, self._sent = self._sent, None
                if sent:
                    sent.result()

    def latest(self) -> int | None:
        """The step of the latest checkpoint that is whole on the disk."""
        return latest_step(self._place)

    def restore(self, state: Any, *, step: int | str = "latest") -> tuple[Any, dict[str, Any]] | None:
        """A checkpoint as (state, position), or None if there is none.

        A damaged one is reported and set aside as `checkpoints/damaged-STEP`; instead of a damaged latest one the one
        before it is taken.

        Args:
            state: a state with the structure, shapes, dtypes and shardings of the saved one.
            step: which one: "latest", "best", the one of the highest test figure, or the number of its step.

        Raises:
            ValueError: if there are checkpoints but not that one, none can be read, or one is of another network.
        """
        read = self._read_first(self._wanted(step), named_leaves(state)) if self._first else None
        if jax.process_count() > 1:
            read = _from_the_first(read, named_leaves(state))
        if read is None:
            return None
        leaves, position = read
        found = [_place(leaves[name], like) for name, like in named_leaves(state).items()]
        return jax.tree.unflatten(jax.tree.structure(state), found), position

    def close(self) -> None:
        """Wait for what was begun, and release what Orbax holds."""
        if self._first:
            self.wait()
            self._sender.shutdown()
            self._manager.close()
            if self._mirror:
                self._mirror.close()

    def _send(self, mirror, step):
        self._manager.wait_until_finished()
        mirror.send(step)
        mirror.forget_others()

    def _wanted(self, step):
        """The steps to try, one after the other."""
        steps = sorted(self._manager.all_steps(), reverse=True)
        if step == "latest" or not steps:
            return steps
        if step == "best":
            found = {each: figures for each in steps if (figures := self._manager.metrics(each))}
            if not found:
                raise ValueError(f"no checkpoint in {self._place} has a test figure, so that none is the best")
            return [max(found, key=lambda each: _only_figure(found[each]))]
        if step not in steps:
            raise ValueError(f"step must be 'latest', 'best' or one of {steps} in {self._place}, not {step!r}")
        return [step]

    def _read_first(self, steps, leaves):
        for step in steps:
            if self._mirror:
                with self._reading():
                    self._mirror.fetch_state(step)
            try:
                return self._read(step, leaves)
            except _OtherNetworkError as error:
                raise ValueError(str(error)) from None
            except Exception as error:  # whatever the storage layers raise, the one before may be whole
                instead = "" if step == steps[-1] else "; trying the one before it"
                self._say(f"checkpoint {step} is damaged ({_first_line(error)}){instead}")
            self._set_aside(step)
        if steps:
            kept = "" if self._read_only else "; they were set aside there, and the same command now begins anew"
            raise ValueError(f"none of the checkpoints {steps} in {self._place} can be read{kept}")
        return None

    def _read(self, step, leaves):
        read = self._manager.restore(step, args=ocp.args.Composite(position=ocp.args.JsonRestore()))
        beside = read["position"]
        saved, wanted = beside["arrays"], _describe(leaves)
        for name in sorted({*saved, *wanted}):
            if saved.get(name) != wanted.get(name):
                raise _OtherNetworkError(
                    f"checkpoint {step} in {self._place} must be of this network, not of another: {name} must be "
                    f"{wanted.get(name, 'absent')}, not {saved.get(name, 'absent')}"
                )
        abstract = {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in leaves.items()}
        read = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract)))
        if _checksum(read["state"], beside["position"]) != beside["checksum"]:
            raise ValueError("its numbers do not have the checksum they were saved with")
        return read["state"], beside["position"]

    def _set_aside(self, step):
        if self._read_only:
            return
        aside = self._directory / f"damaged-{step}"
        shutil.rmtree(aside, ignore_errors=True)
        (self._directory / str(step)).replace(aside)
        if self._mirror:
            self._mirror.set_aside(step, aside.name)
        self._manager.reload()

    def _check_room(self, size: int) -> None:
        # Orbax and TensorStore print pages when a disk is full.
        free = shutil.disk_usage(self._directory).free
        if free < size:
            raise SaveError(f"a checkpoint needs {size:,} bytes, but {self._directory} has only {free:,} left")

    def _writing(self) -> contextlib.AbstractContextManager[None]:
        return _errors_as(SaveError, f"a checkpoint could not be written to {self._place}")

    def _reading(self) -> contextlib.AbstractContextManager[None]:
        return _errors_as(OSError, f"the checkpoints in {self._place} cannot be read")


def latest_step(directory: epath.PathLike) -> int | None:
    """The step of the latest checkpoint that is whole in a folder of checkpoints; None without one, or a folder."""
    directory = epath.Path(directory)
    # Not by Orbax, which counts one it is writing or failed to write.
    if is_store(directory):
        names = whole_steps(directory)
    else:
        names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return max((int(name) for name in names if name.isdecimal()), default=None)


def read_state(
    workdir: epath.PathLike, state: Any, say: Callable[[str], None] = print, *, step: int | str = "latest"
) -> Any | None:
    """The state of a checkpoint of a run, as `Checkpoints.restore` reads it; nothing is written."""
    checkpoints = Checkpoints(workdir, read_only=True, say=say)
    try:
        restored = checkpoints.restore(state, step=step)
    finally:
        checkpoints.close()
    return None if restored is None else restored[0]


class _OtherNetworkError(Exception):
    pass


@contextlib.contextmanager
def _errors_as(kind: type[OSError], what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # whatever the storage layers raise
        raise kind(f"{what} ({_first_line(error)})") from error


def _open_manager(directory: epath.Path, read_only: bool) -> ocp.CheckpointManager:
    best = _MANAGERS.BestN(n=1, get_metric_fn=_only_figure, keep_checkpoints_without_metrics=False)
    options = ocp.CheckpointManagerOptions(
        preservation_policy=_MANAGERS.AnyPreservationPolicy([_MANAGERS.LatestN(_LATEST), best]),
        read_only=read_only,
        create=False,
        cleanup_tmp_directories=not read_only,
        multiprocessing_options=ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}),
    )
    return ocp.CheckpointManager(directory, options=options)


def _only_figure(figures: dict[str, float]) -> float:
    (figure,) = figures.values()
    return figure


def _from_the_first(read: Any, leaves: dict[str, Any]) -> Any:
    """The state and position that the first process read, in every process, to the last bit; None without any."""
    send = multihost_utils.broadcast_one_to_all
    text = json.dumps(None if read is None else read[1]).encode()
    length = int(send(np.array(len(text))))
    position = json.loads(bytes(send(np.frombuffer(text.ljust(length)[:length], np.uint8))))
    if position is None:
        return None
    # As bytes, since the broadcast is a sum, in which -0 becomes 0.
    found = read[0] if read else {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in leaves.items()}
    sent = send({name: _bytes_of(leaf) for name, leaf in found.items()})
    views = {name: np.asarray(each).view(leaves[name].dtype) for name, each in sent.items()}
    return {name: view.reshape(leaves[name].shape) for name, view in views.items()}, position


def _place(value: np.ndarray, like: Any) -> jax.Array:
    return jax.make_array_from_callback(like.shape, like.sharding, lambda index: value[index])


def _describe(leaves: dict[str, Any]) -> dict[str, str]:
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in leaves.items()}


def _checksum(leaves: dict[str, Any], position: dict[str, Any]) -> int:
    total = zlib.crc32(json.dumps(position, sort_keys=True).encode())
    for name in sorted(leaves):
        total = zlib.crc32(_bytes_of(leaves[name]).data, total)
    return total


def _bytes_of(leaf: Any) -> np.ndarray:
    return np.ascontiguousarray(leaf).reshape(-1).view(np.uint8)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
