"""Runs that make a table, each leaving a JSON file, and the table as Markdown."""

import ast
import datetime
import functools
import importlib.util
import json
import operator
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from vtnjax import train
from vtnjax.experiments.tables import Table

ROOT = Path(__file__).parents[2]


class Runner(NamedTuple):
    """How the runs of a table are made.

    Attributes:
        name: of the table, which names the folders.
        table: what to run.
        overrides: `--config.key=value`, for every run.
        runs: where workdirs go.
        results: where the JSON files of all tables go.
    """

    name: str
    table: Table
    overrides: tuple[str, ...]
    runs: Path
    results: Path

    def path(self, variant: str, seed: int) -> Path:
        """Where the result of a run stands, if there is one."""
        return self.results / self.name / f"{self._folder(variant)}-{seed}.json"

    def separately(self, variant: str, seed: int, cores: set[int] | None = None) -> None:
        """One run of train.py to its end, on some of the cores, and its result.

        Raises:
            subprocess.CalledProcessError: if it ends otherwise than by its last step.
        """
        workdir = self.runs / self.name / self._folder(variant) / str(seed)
        command = [sys.executable, str(ROOT / "train.py"), "--config", f"{self._config()}:{variant}"]
        command += [f"--config.seed={seed}", "--workdir", str(workdir), *self.overrides]
        began = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            if cores is not None:
                os.sched_setaffinity(process.pid, cores)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        last = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
        figures = {key.removeprefix("test/"): last[key] for key in ("test/loss", "test/accuracy")}
        shown = f"python train.py --config configs/{self.table.config}.py:{variant} --config.seed={seed}"
        command = " ".join([shown, *self.overrides])
        self._write(variant, seed, command, last["step"], time.perf_counter() - began, figures, len(cores or ()))

    def together(self, variant: str, seeds: Sequence[int]) -> None:
        """All seeds of a cell in one process, and their results."""
        config = self.load(variant)
        workdir = self.runs / self.name / self._folder(variant) / f"seeds-{'-'.join(map(str, seeds))}"
        began = time.perf_counter()
        found = train.train_together(config, seeds, workdir)
        seconds = (time.perf_counter() - began) / len(seeds)
        command = f"train_together(configs/{self.table.config}.py:{variant} {' '.join(self.overrides)}, seeds={seeds})"
        for seed, figures in zip(seeds, found, strict=True):
            self._write(variant, seed, command, config.steps, seconds, figures, 0)

    def _config(self) -> Path:
        return ROOT / "configs" / f"{self.table.config}.py"

    def _folder(self, variant: str) -> str:
        return "-".join([variant, *self.overrides]).replace("/", "_")

    def load(self, variant: str) -> Any:
        """The config as train.py would have it."""
        spec = importlib.util.spec_from_file_location(self.table.config, self._config())
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        config = module.get_config(variant)
        for override in self.overrides:
            key, _, value = override.removeprefix("--config.").partition("=")
            *parts, last = key.split(".")
            part = functools.reduce(operator.getitem, parts, config)
            part[last] = value if isinstance(part[last], str) else ast.literal_eval(value)
        return config

    def _write(self, variant, seed, command, steps, seconds, figures, cores) -> None:
        write_record(
            self.path(variant, seed),
            command,
            cores=cores or len(os.sched_getaffinity(0)),
            seed=seed,
            steps=steps,
            seconds=seconds,
            figures=figures,
        )


def write_record(path: Path, command: str, *, cores: int, **measured: Any) -> None:
    """A JSON file of what a command measured, with its commit and hardware, whole or not at all."""
    record = {
        "command": command,
        "commit": _commit(),
        "date": datetime.date.today().isoformat(),
        "device": jax.devices()[0].device_kind,
        "cores": cores,
        "jax": jax.__version__,
        **measured,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=2) + "\n")
    partial.replace(path)


def render(runner: Runner, suffix: str, seeds: Sequence[int]) -> str:
    """The table as Markdown: the mean error of the seeds that were run, their number if some were not, the paper's."""
    columns = list(dict.fromkeys(column for row in runner.table.rows.values() for column in row))
    lines = [f"{runner.table.source}: test error in percent, in brackets the paper's.", ""]
    lines += [f"| | {' | '.join(columns)} | steps |", f"|{' --- |' * (len(columns) + 2)}"]
    for name, row in runner.table.rows.items():
        shown, steps = [], set()
        for column in columns:
            if column not in row:
                shown.append("")
                continue
            cell = row[column]
            found = [runner.path(cell.variant + suffix, seed) for seed in seeds]
            records = [json.loads(path.read_text()) for path in found if path.exists()]
            steps |= {record["steps"] for record in records}
            shown.append(_shown(records, len(seeds), cell.paper))
        lines.append(f"| {name} | {' | '.join(shown)} | {', '.join(f'{count:,}' for count in sorted(steps))} |")
    return "\n".join(lines)


def _shown(records, wanted, paper):
    beside = "" if paper is None else f" ({paper})"
    if not records:
        return f"-{beside}"
    mean = 100 * statistics.mean(1 - record["figures"]["accuracy"] for record in records)
    seeds = "" if len(records) == wanted else f", {len(records)} seed{'s' if len(records) > 1 else ''}"
    return f"{mean:.1f}{seeds}{beside}"


def _commit() -> str:
    """The commit of the checkout, with a mark if files differ from it."""
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip() or "no git checkout"
