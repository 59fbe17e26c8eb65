"""Photographs of a published set, as its own lists name them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from vtnjax._checks import check_choice
from vtnjax.data.lists import check_files, check_once, lacking
from vtnjax.data.records import Located, Record
from vtnjax.data.unreadable import ON_ERROR, read_picture, without_unreadable

_REMEDY = ": unpack its archive again"


class Photographs:
    """A source of picture files and labels, read and decoded when asked for.

    Attributes:
        classes: The name of each label.
        labels: int32 (n,), in the order of the records.
        names: The files of the records, below the set's folder, with `/`.
        kept: int (n,), the place of each record in the set's list: all, but for those left out.
        skipped: The files left out because they cannot be read, with on_error="skip".
        boxes: float32 (n, 4), the box of each record, in the sets that have them.
    """

    boxes: np.ndarray | None = None

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        labels: np.ndarray,
        classes: tuple[str, ...],
        *,
        origin: str,
        on_error: Literal["raise", "skip"] = "raise",
    ):
        """Checks that every file is there; none is opened, unless those that cannot be read are to be left out.

        Args:
            root: The folder the names are relative to.
            names: The files of the records.
            labels: Integers (n,), from 0 to len(classes) - 1.
            classes: The name of each label.
            origin: The remedy in the sentences of errors: what to unpack where, and where it is published.
            on_error: "raise" raises at once if a picture is missing, and when it is read if it is cut short or none;
                "skip" decodes every file now, and leaves the bad ones out with a warning in the log.

        Raises:
            ValueError: If `on_error` is another word, there is no record, or a file comes twice.
            FileNotFoundError: If a file is missing.
        """
        check_choice("on_error", on_error, ON_ERROR)
        if not names:
            raise ValueError(f"{root}: the lists must name a picture of this split, not none: {origin}")
        check_once(names, root, "picture", origin=origin)
        self.names: tuple[str, ...] = tuple(names)
        self.labels, self.classes = labels.astype(np.int32), tuple(classes)
        self._root, self.kept, self.skipped = root, np.arange(len(names)), ()
        if on_error == "raise":
            check_files(root, names, origin=origin)
            return
        self.kept, self.skipped = without_unreadable(self)
        places: list[int] = self.kept.tolist()
        self.names, self.labels = tuple(names[place] for place in places), self.labels[places]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Record:
        record: Record = {"image": read_picture(self.path(index), remedy=_REMEDY), "label": int(self.labels[index])}
        if self.boxes is None:
            return record
        located: Located = {**record, "box": self.boxes[index]}
        return located

    def path(self, index: int) -> Path:
        """The file of a record."""
        return self._root / self.names[index]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._root)!r}, records={len(self)}, classes={len(self.classes)})"


def find_root(data_dir: str | Path, inner: str, marker: str, *, origin: str) -> Path:
    """The folder that an archive makes, given itself or the folder it was unpacked in.

    Args:
        data_dir: The archive's folder, or the folder it was unpacked in.
        inner: The archive's own folder.
        marker: A file or folder that must be in it.
        origin: The remedy: what to unpack where, and where it is published.

    Returns:
        The folder that holds `marker`.

    Raises:
        FileNotFoundError: If neither holds it.
    """
    for root in (Path(data_dir) / inner, Path(data_dir)):
        if (root / marker).exists():
            return root
    raise lacking(Path(data_dir), f"{inner}/{marker}", origin)
