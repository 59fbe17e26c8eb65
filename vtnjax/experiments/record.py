"""One format for whatever was measured, and a reader that also understands the formats of earlier versions.

A record is a JSON file: `command`, `commit`, `date`, `hardware` (`device`, `cores`), `versions` (of Python and the
packages that matter), `seconds`, `figures` (what was measured, by name), and beside them what says which measurement it
was, such as `seed` and `steps`.
"""

import contextlib
import datetime
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from vtnjax.experiments.checkout import ROOT
from vtnjax.experiments.cores import available_cores

_PACKAGES = ("jax", "jaxlib", "flax", "numpy")
# The keys of earlier records.
_CIRCUMSTANCES = (
    "command",
    "commit",
    "date",
    "device",
    "cores",
    "cores_of_a_run",
    "versions",
    "python",
    "jax",
    "torch",
)
_BESIDE = ("seed", "steps", "seconds")


def write_record(
    path: Path,
    command: str,
    *,
    seconds: float,
    figures: Mapping[str, Any],
    cores: int | None = None,
    packages: Sequence[str] = (),
    **which: Any,
) -> None:
    """Leave a record, whole or not at all.

    Args:
        path: the path of the JSON file, whose folder is made.
        command: the command that measures it again.
        seconds: the time that it took, in seconds.
        figures: the measured figures by name; anything that JSON can hold.
        cores: the number of cores it ran on; by default all that this process may use.
        packages: the names, as pip has them, of further packages whose versions matter.
        **which: the values that say which measurement it was, such as `seed=0`.
    """
    record = {
        "command": command,
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
        "hardware": {"device": jax.devices()[0].device_kind, "cores": cores or len(available_cores())},
        "versions": _versions(packages),
        **which,
        "seconds": seconds,
        "figures": dict(figures),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=2) + "\n")
    partial.replace(path)


def read_record(path: Path) -> dict[str, Any]:
    """A record in the format of today, whichever version wrote it.

    What an earlier version did not write down is left out. The figures of benchmarks and studies stood beside their
    circumstances.
    """
    record = json.loads(path.read_text())
    if "hardware" in record:
        return record
    if "figures" not in record:
        record["figures"] = {key: value for key, value in record.items() if key not in (*_CIRCUMSTANCES, *_BESIDE)}
        record = {key: value for key, value in record.items() if key not in record["figures"]}
    circumstances = _circumstances(record)
    return {**circumstances, **{key: value for key, value in record.items() if key not in _CIRCUMSTANCES}}


def read_early_runs(path: Path) -> dict[tuple[str, int | str], dict[str, Any]]:
    """The runs of a table, by variant and seed, of when one file held them all; none if there is no such file."""
    table = json.loads(path.read_text()) if path.exists() else {}
    if "rows" in table:
        rows = [(row["variant"], row["runs"], row) for row in table["rows"].values()]
    else:
        rows = [(f"model={model}", runs, table) for model, runs in table.get("runs", {}).items()]
    return {
        (variant, run.get("seed", number)): {
            **_circumstances(row),
            "seed": run.get("seed", number),
            "steps": run["step"],
            "seconds": run["seconds"],
            "figures": {"accuracy": 1 - run["error"]},
        }
        for variant, runs, row in rows
        for number, run in enumerate(runs)
    }


def _circumstances(record):
    """The circumstances that an earlier version wrote beside its figures, in the format of today."""
    versions = {name: record[name] for name in ("python", "jax", "torch") if name in record}
    return {
        **{key: record[key] for key in ("command", "commit", "date") if key in record},
        "hardware": {"device": record["device"], "cores": record.get("cores", record.get("cores_of_a_run"))},
        "versions": {**versions, **record.get("versions", {})},
    }


def _versions(packages):
    """The versions of Python and of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in (*_PACKAGES, *packages):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _commit():
    """The commit of the checkout, with a mark if files differ from it."""
    if not (ROOT / ".git").exists():  # git would describe whatever repository lies around an installed package
        return "no git checkout"
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
