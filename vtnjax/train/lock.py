"""One trainer to a workdir: a lock that names its host and its process.

On one machine it is the operating system's lock of a file, free at the holder's death however that came. Other machines
see a record that changes with every beat of the holder; one that has not changed for a while is a dead holder's.
"""

import atexit
import contextlib
import hashlib
import itertools
import json
import os
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from etils import epath

from vtnjax.train.ending import finish_first
from vtnjax.train.store import is_store

try:
    import fcntl
except ImportError:  # on Windows; the beats remain
    fcntl = None

BEAT, STALE = 10.0, 60.0  # seconds
_KEYS = {"host", "process", "machine", "run", "beat"}
_LENGTH = 1024  # of a record in a file


class LockedError(OSError):
    """Another trainer has the workdir."""


class Lock:
    """The lock of a workdir, held until `release` or the end of the process.

    A folder has the file `lock` for both, which is empty when nobody trains there. A bucket has the record, and the
    lock is a file among the machine's temporary ones.

    Args:
        workdir: the folder of the run, which is made if it is missing, or a place in a bucket.
        say: the function that shows a line.

    Raises:
        LockedError: if another trainer has it, naming its host and process.
        OSError: if it cannot be written.
    """

    def __init__(self, workdir: epath.PathLike, *, say: Callable[[str], None] = print):
        self._workdir = epath.Path(workdir)
        self._record = self._workdir / "lock"
        self._taken_by: dict[str, Any] | None = None
        self._ended = threading.Event()
        try:
            self._workdir.mkdir(parents=True, exist_ok=True)
            self._file = os.open(_file_to_lock(self._record), os.O_RDWR | os.O_CREAT, 0o666)
            try:
                self._take(say)
            except BaseException:
                os.close(self._file)
                raise
        except LockedError:
            raise
        except Exception as error:  # whatever the storage layers raise
            raise OSError(f"the workdir {workdir} cannot be written: {error}") from error
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()
        atexit.register(self.release)
        finish_first(self.release)

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def check(self) -> None:
        """Raise a LockedError if another trainer has taken the workdir over, since this one seemed dead."""
        if self._taken_by:
            raise LockedError(f"the workdir {self._workdir} was taken over by {_name(self._taken_by)}")

    def release(self) -> None:
        """Let another trainer have the workdir."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        atexit.unregister(self.release)
        with contextlib.suppress(Exception):  # who comes next waits until the record is old
            if not self._taken_by:
                self._clear()
        os.close(self._file)

    def _take(self, say):
        try:
            machine = _lock(self._file)
        except BlockingIOError:
            raise self._refusal(self._read()) from None
        self._own = {"host": socket.gethostname(), "process": os.getpid(), "machine": machine, "run": str(uuid.uuid4())}
        other = self._read()
        if other and not (machine and other["machine"] == machine):  # else its holder is dead, having lost that lock
            self._wait_for_a_beat(other, say)
        self._write(0)

    def _wait_for_a_beat(self, other, say):
        say(
            f"the workdir {self._workdir} was last trained by {_name(other)}, which may be alive: "
            f"going on in {STALE:.0f} s unless it shows a sign of life"
        )
        until = time.monotonic() + STALE
        while time.monotonic() < until:
            time.sleep(BEAT / 10)
            now = self._read()
            if now is None:  # it ended
                return
            if now != other:
                raise self._refusal(now)

    def _refusal(self, holder):
        name = _name(holder) if holder else "another process of this machine"
        return LockedError(
            f"the workdir {self._workdir} is being trained by {name}: wait for it, or use another --workdir"
        )

    def _beat(self):
        for beat in itertools.count(1):
            if self._ended.wait(BEAT):
                return
            with contextlib.suppress(Exception):  # the next beat may get through
                now = self._read()
                if now and now["run"] != self._own["run"]:
                    self._taken_by = now
                    return
                self._write(beat)

    def _read(self):
        """The holder's record, or None."""
        try:
            record = json.loads(self._record.read_text())
        except (FileNotFoundError, ValueError):
            return None
        return record if isinstance(record, dict) and record.keys() >= _KEYS else None

    def _write(self, beat):
        text = json.dumps({**self._own, "beat": beat})
        if is_store(self._record):
            self._record.write_text(text)
        else:  # in place, since a new file would not be locked, and at once, for whoever reads
            os.lseek(self._file, 0, os.SEEK_SET)
            os.write(self._file, text.ljust(_LENGTH).encode())
            os.fsync(self._file)

    def _clear(self):
        if is_store(self._record):
            self._record.unlink()
        else:
            os.ftruncate(self._file, 0)


def _file_to_lock(record: epath.Path) -> Path:
    if not is_store(record):
        return Path(record)
    user = getattr(os, "getuid", lambda: "")()  # another user could not open it
    number = hashlib.sha256(str(record).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"vtnjax-{user}-{number}.lock"


def _lock(file: int) -> str:
    """Lock an open file.

    Returns:
        A name of the machine and the file, or nothing where files cannot be locked. Whoever gets the lock of this name
        knows that no other process has it.

    Raises:
        BlockingIOError: if another process has the lock.
    """
    if fcntl is None:
        return ""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return ""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = str(uuid.getnode())
    status = os.fstat(file)
    return f"{boot}/{status.st_dev}/{status.st_ino}"


def _name(record: dict[str, Any]) -> str:
    return f"process {record['process']} on {record['host']}"
