"""The folder of a run: its name, whether it can be written, and whether it belongs to this config and these data."""

import contextlib
import copy
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from etils import epath

from vtnjax._checks import nearest
from vtnjax.train.checkpoint import latest_step
from vtnjax.train.config import LATER, WEIGHTS, Config, read_config, read_json, write_config, write_json
from vtnjax.train.loop import DivergedError


@runtime_checkable
class _Data(Protocol):
    @property
    def classes(self) -> Sequence[str]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Mapping[str, Any]: ...


_PLACES = ("data_dir", *WEIGHTS)  # where files lie, which a run that has a checkpoint no longer depends on
_ABSENT = "absent"
_AFTER_DIVERGENCE = ("learning_rate", "clip_norm")
# What changes nothing but what is told of a run.
_TOLD = ("log_every", "tensorboard")
# What a run keeps, even if told otherwise: its network, its data and what its optimiser's state is made of.
_FIXED = (
    *("network", "dataset", "source_options", "batches", "batch_size", "dtype", "seed"),
    *("optimiser", "ema", "localiser_multiplier", "trunk_multiplier", "head_multiplier", "head_alone_steps"),
)
# What a trained network may be evaluated with that its training had otherwise.
_OF_EVALUATION = ("evaluation", "picture", "batch_size")


def default_workdir(config_path: str) -> Path:
    """`runs/CONFIG[-variant]` for `configs/CONFIG.py[:variant]`."""
    path, _, variant = config_path.partition(":")
    name = Path(path).stem
    return Path("runs") / (f"{name}-{variant.replace('=', '_').replace(',', '-')}" if variant else name)


def open_workdir(
    workdir: epath.PathLike,
    config: Config,
    *,
    write: bool,
    trains: bool = True,
    override: Sequence[str] = (),
    init_from: str | None = None,
) -> list[dict[str, Any]]:
    """Make the workdir, or check that it is this config's, which it is once a checkpoint is saved.

    The places of files may differ, `log_every` and `tensorboard`, what `override` names, and after a divergence
    `learning_rate` and `clip_norm`. Where nothing is trained, `evaluation`, `picture` and `batch_size` may, and what
    follows from `batch_size`.

    Args:
        workdir: the folder of the run.
        config: the run's config.
        write: True in the process that writes to the folder; other processes only check.
        trains: False if the run's network is only evaluated.
        override: keys of the config that may differ from the run's, which goes on with their new values.
        init_from: the run whose weights this one begins with, if any, for the history.

    Returns:
        The history of the config, which `config.json` has too: for each value that changed while the run went on
        "step", from which it holds, "key", "before" and "after". `init_from` is a key of it.

    Raises:
        ValueError: if the folder belongs to another config, naming each difference, or its `config.json` is damaged; if
            `override` names no key, or one that a run keeps; or if the run has done more steps than the config has.
        OSError: if it cannot be written.
    """
    workdir = epath.Path(workdir)
    _check_override(override, config)
    step = latest_step(workdir / "checkpoints")
    history = [{"step": 0, "key": "init_from", "before": "", "after": init_from}] if init_from else []
    if step is not None and (workdir / "config.json").is_file():
        before, history = read_config(workdir)
        now = config if trains else _with_batch_size(config, before)
        changes = _changes(before, json.loads(now.to_json()))
        free = (*_PLACES, *_TOLD, *override, *(() if trains else _OF_EVALUATION))
        free += _AFTER_DIVERGENCE if _diverged(workdir, step) else ()
        if refused := {key: values for key, values in changes.items() if key not in free}:
            raise ValueError(
                f"the config must be that of the run in {workdir}: {_said(refused)}. Use the same config to go on, or "
                "another --workdir, or name what may differ by --override=KEY,KEY"
            )
        if "steps" in changes and changes["steps"][1] < step:
            raise ValueError(
                f"config.steps must be at least the {step:,} that the run in {workdir} has done, not {config.steps:,}"
            )
        history = _with_changes(history, step, changes)
    if write:
        try:
            workdir.mkdir(parents=True, exist_ok=True)
            write_config(workdir, config, history)
        except OSError as error:
            raise OSError(f"the workdir {workdir} cannot be written: {error}") from error
    return history


@contextlib.contextmanager
def remembered_divergence(workdir: epath.PathLike, *, write: bool) -> Iterator[None]:
    """If the run diverges, leave `diverged.json`: from its latest checkpoint it may then go on at another rate."""
    workdir = epath.Path(workdir)
    try:
        yield
    except DivergedError as error:
        if write:
            write_json(workdir / "diverged.json", {"step": latest_step(workdir / "checkpoints"), "error": str(error)})
        raise


def own_data(workdir: epath.PathLike, train: _Data, test: _Data, *, write: bool) -> None:
    """Check that the data are the run's, wherever they lie, or record in `data.json` which data it begins with.

    The shape of the first image, which an older run did not record, is added to its record.

    Args:
        workdir: the folder of the run, which `open_workdir` opened.
        train: the training set.
        test: the test set.
        write: True in the process that writes to the folder; other processes only check.

    Raises:
        ValueError: if the classes or the numbers of images differ from those of a run that has a checkpoint.
        OSError: if the record cannot be written.
    """
    workdir = epath.Path(workdir)
    path, counts, before = workdir / "data.json", {"training_images": len(train), "test_images": len(test)}, {}
    if path.is_file() and latest_step(workdir / "checkpoints") is not None:
        before = read_json(path)
        check_classes(workdir, train.classes)
        for name, count in counts.items():
            if before[name] != count:
                raise ValueError(
                    f"the data must have the {before[name]:,} {name.replace('_', ' ')} of the run in {workdir}, not "
                    f"{count:,}. Use the same data, or another --workdir"
                )
    if write:
        shape = np.shape(train[0]["image"])
        write_json(path, {"classes": list(train.classes), "image": list(shape), **counts, **before})


def check_classes(workdir: epath.PathLike, classes: Sequence[str]) -> None:
    """Raise a ValueError unless the classes are the ones that a run recorded, in order; older runs recorded none."""
    workdir = epath.Path(workdir)
    path = workdir / "data.json"
    before = read_json(path)["classes"] if path.is_file() else list(classes)
    if before == list(classes):
        return
    pairs = enumerate(itertools.zip_longest(before, classes))
    number, pair = next((number, pair) for number, pair in pairs if pair[0] != pair[1])
    old, new = ("absent" if name is None else repr(name) for name in pair)
    counts = f"{len(before):,} classes" + (f", not {len(classes):,}," if len(before) != len(classes) else "")
    raise ValueError(
        f"the data must have the {counts} of the run in {workdir}: class {number} must be {old}, not {new}. Use the "
        "same data, or another --workdir"
    )


def _check_override(override, config):
    for key in override:
        if key not in config:
            raise ValueError(f"--override must name keys of the config, not {key!r}{nearest(key, list(config))}")
        if key in _FIXED:
            raise ValueError(
                f"--override must not name {key!r}, which a run keeps: start another run, from its weights if wanted, "
                "with another --workdir and --init_from"
            )


def _with_batch_size(config, before):
    """The config at the batch size of an earlier one: steps that are counted in epochs follow it."""
    config = copy.deepcopy(config)
    config.batch_size = before.get("batch_size", config.batch_size)
    return config


def _said(changes):
    """The value that each key must have; for a config of other keys, as an older version has it, only the keys."""
    gone = [key for key, (_, new) in changes.items() if new == _ABSENT]
    come = [key for key, (old, _) in changes.items() if old == _ABSENT]
    if gone and come:
        return f"its keys, maybe an older version's, must be {', '.join(gone)}, not {', '.join(come)}"
    return "; ".join(f"{key} must be {old!r}, not {new!r}" for key, (old, new) in changes.items())


def _changes(before, now):
    """The values of each key that differ."""
    before, now = LATER | before, LATER | now
    pairs = {key: (before.get(key, _ABSENT), now.get(key, _ABSENT)) for key in sorted({*before, *now})}
    return {key: (old, new) for key, (old, new) in pairs.items() if old != new}


def _with_changes(history, step, changes):
    """A history with the changes from this step on; the changes of a start that saved nothing after it are replaced."""
    undone = {entry["key"]: entry["before"] for entry in history if entry["step"] == step and entry["key"] in changes}
    kept = [entry for entry in history if entry["step"] != step or entry["key"] not in undone]
    pairs = {key: (undone.get(key, old), new) for key, (old, new) in changes.items()}
    added = [{"step": step, "key": key, "before": old, "after": new} for key, (old, new) in pairs.items() if old != new]
    return kept + added


def _diverged(workdir, step):
    """Whether the run diverged after this step, its latest checkpoint."""
    path = workdir / "diverged.json"
    return path.is_file() and read_json(path)["step"] == step
