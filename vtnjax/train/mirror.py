"""Checkpoints in a bucket: written to a folder of this machine first, then copied, with the mark that they are whole.

Orbax itself writes to gs:// but not to s3://. What stands in the bucket is what it would write, so that it can read it.
"""

import contextlib
import tempfile

from etils import epath

from vtnjax.train.store import copy_file, files_below

_MARK = "commit_success.txt"  # Orbax's name for what it writes last
_STATE = "state"


class Mirror:
    """The checkpoints in a bucket, and the folder in which this process has those it reads and writes.

    Attributes:
        folder: the folder of this machine, which `close` deletes, and the end of the program.
    """

    def __init__(self, store: epath.Path):
        self._store, self._own = store, tempfile.TemporaryDirectory(prefix="vtnjax-")
        self.folder = epath.Path(self._own.name)
        try:
            for step in whole_steps(store):  # all there is to know of it, but not the arrays
                parts = [path for path in (store / step).iterdir() if path.name != _STATE]
                self._fetch(file for part in parts for file in files_below(part))
        except BaseException:
            self.close()
            raise

    def fetch_state(self, step: int) -> None:
        """Copy the arrays of a checkpoint from the bucket to the folder."""
        self._fetch(files_below(self._store / str(step) / _STATE))

    def send(self, step: int) -> None:
        """Copy a checkpoint of the folder to the bucket, the mark last."""
        source, target = self.folder / str(step), self._store / str(step)
        if target.is_dir():
            _remove(target)  # what is left of one that was not finished
        for path in files_below(source):
            if path != source / _MARK:
                self.send_file(path)
        (target / _MARK).write_text(f"Checkpoint commit was successful to {target}")

    def send_file(self, path: epath.Path) -> None:
        """Copy a file of the folder to the bucket."""
        copy_file(path, self._store / path.relative_to(self.folder))

    def forget_others(self) -> None:
        """Delete from the bucket the checkpoints that the folder does not have, and what a killed run left of some."""
        for step in _steps(self._store):
            if not (self.folder / step).is_dir():
                _remove(self._store / step)

    def set_aside(self, step: int, name: str) -> None:
        """Give a checkpoint another name, after which it is none."""
        source, target = self._store / str(step), self._store / name
        if target.is_dir():
            target.rmtree()
        for path in files_below(source):
            copy_file(path, target / path.relative_to(source))
        _remove(source)

    def close(self) -> None:
        """Delete the folder."""
        self._own.cleanup()

    def _fetch(self, paths):
        for path in paths:
            copy_file(path, self.folder / path.relative_to(self._store))


def whole_steps(store: epath.Path) -> list[str]:
    """The checkpoints in a bucket that have the mark."""
    return [step for step in _steps(store) if (store / step / _MARK).exists()]


def _steps(store: epath.Path) -> list[str]:
    names = [path.name for path in store.iterdir()] if store.is_dir() else []
    return [name for name in names if name.isdecimal()]


def _remove(checkpoint: epath.Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        (checkpoint / _MARK).unlink()  # first, since the rest goes file by file
    checkpoint.rmtree()
