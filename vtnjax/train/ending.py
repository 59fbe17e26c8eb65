"""The end of several processes: an error in one ends all, with its sentence, and none waits for a dead one."""

import atexit
import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

# JAX has no public name for the service by which its processes know of each other.
from jax._src import distributed

_POLL = 0.5  # seconds
_PATIENCE = 10.0  # seconds for all to notice that one has failed
_FAILED, _FINISHED, _LEFT = (f"vtnjax/{word}/" for word in ("failed", "finished", "left"))


class StoppedError(Exception):
    """A signal asked the run to end; it has saved what it had."""


def finish_first(call: Callable[[], object]) -> None:
    """Call this before an error of another process ends this one: something is under way that must not be lost."""
    for others in _watching:
        others.finish.append(call)


def watch_others() -> None:
    """Begin to listen for an error of another process, once JAX's processes are connected."""
    state = distributed.global_state
    others = _Others(state.client, state.process_id, state.num_processes)
    atexit.register(others.leave)  # before JAX's own, which waits minutes for a process that is stuck
    _watching.append(others)


@contextlib.contextmanager
def ended_together() -> Iterator[None]:
    """Let an error end the other processes too. With one process this does nothing."""
    try:
        yield
    except (StoppedError, SystemExit):  # of all processes at once
        raise
    except BaseException as error:
        for others in _watching:
            others.tell("; ".join([str(error) or type(error).__name__, *getattr(error, "__notes__", [])[-1:]]))
        raise


class _Others:
    """The other processes, as the service of JAX's coordinator knows them."""

    def __init__(self, client: Any, index: int, count: int):
        self.finish: list[Callable[[], object]] = []
        self._client, self._index, self._count = client, index, count
        self._failed, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def tell(self, sentence: str) -> None:
        """Say to the others that this process fails."""
        self._failed.set()
        with contextlib.suppress(Exception):
            self._client.key_value_set(f"{_FAILED}{self._index}", sentence)

    def leave(self) -> None:
        """At the end of this process: wait until all end, or one has failed."""
        self._ending.set()
        self._thread.join()
        if self._failed.is_set():
            self._leave_with_the_others()
        with contextlib.suppress(Exception):  # the service may be gone
            self._client.key_value_set(f"{_FINISHED}{self._index}", "")
            while len(self._client.key_value_dir_get(_FINISHED)) < self._count:
                self._end_if_another_failed()
                time.sleep(0.1)

    def _listen(self):
        with contextlib.suppress(Exception):
            while not self._ending.wait(_POLL):
                self._end_if_another_failed()

    def _end_if_another_failed(self):
        said = self._client.key_value_dir_get(_FAILED)
        if not said or self._failed.is_set():
            return
        key, sentence = said[0]
        for call in self.finish:
            with contextlib.suppress(Exception):
                call()
        print(f"train.py: process {key.removeprefix(_FAILED)} ended: {sentence}", file=sys.stderr)
        self._leave_with_the_others()

    def _leave_with_the_others(self) -> NoReturn:
        # The main thread may be waiting for the process that failed, where nothing but this ends it.
        with contextlib.suppress(Exception):
            self._client.key_value_set(f"{_LEFT}{self._index}", "")
            until = time.monotonic() + _PATIENCE
            while len(self._client.key_value_dir_get(_LEFT)) < self._count and time.monotonic() < until:
                time.sleep(0.1)
        if self._index == 0:
            time.sleep(_POLL)  # the service ends with this process, and whoever still asks it complains at length
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


_watching: list[_Others] = []
