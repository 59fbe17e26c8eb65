"""Runs that make a table, each leaving a record."""

import json
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from ml_collections import config_flags

from vtnjax import recipes
from vtnjax.experiments.checkout import find_checkout
from vtnjax.experiments.cores import available_cores, run_on
from vtnjax.experiments.record import read_early_runs, read_record, write_record
from vtnjax.experiments.tables import Table
from vtnjax.train.config import wrong_key


class Runner(NamedTuple):
    """The runs of a table, and how they are made.

    Attributes:
        name: the table's name, which the folders have too.
        table: the table to run.
        overrides: the flags `--config.key=value` of every run.
        runs: the folder of the workdirs.
        results: the folder of the records of all tables, with a folder for each table.
    """

    name: str
    table: Table
    overrides: tuple[str, ...]
    runs: Path
    results: Path

    def path(self, variant: str, seed: int) -> Path:
        """The path of a run's record."""
        return self.results / self.name / f"{self._folder(variant)}-{seed}.json"

    def result(self, variant: str, seed: int) -> dict[str, Any] | None:
        """The record of a run, if it was made, also by an earlier version, which kept a table in one file."""
        path = self.path(variant, seed)
        if path.exists():
            return read_record(path)
        return read_early_runs(self.results.parent / f"{self.name}.json").get((self._folder(variant), seed))

    def separately(self, variant: str, seed: int, cores: Sequence[int]) -> None:
        """One run of train.py to its end, on some of the cores, and its record.

        Raises:
            subprocess.CalledProcessError: if it ends otherwise than by its last step.
        """
        workdir = self._workdir(variant) / str(seed)
        words = [f"--config.seed={seed}", "--workdir", str(workdir), *self.overrides]
        script = str(find_checkout() / "train.py")
        run_on(cores, [sys.executable, script, "--config", f"{self._config()}:{variant}", *words])
        shown = f"python train.py --config configs/{self.table.config}.py:{variant} --config.seed={seed}"
        last = _lines(workdir)[-1]
        figures = {key.removeprefix("test/"): value for key, value in last.items() if key.startswith("test/")}
        measured = {"steps": last["step"], "seconds": self._seconds(variant, workdir), "figures": figures}
        command = " ".join([shown, *self.overrides])
        write_record(self.path(variant, seed), command, cores=len(cores), seed=seed, **measured)

    def together(self, variant: str, seeds: Sequence[int]) -> None:
        """All seeds of a cell in one process, and their records."""
        config = self.load(variant)
        workdir = self._workdir(variant) / f"seeds-{'-'.join(map(str, seeds))}"
        found = recipes.train_together(config, seeds, workdir)
        seconds = self._seconds(variant, workdir) / len(seeds)
        command = f"train_together(configs/{self.table.config}.py:{variant} {' '.join(self.overrides)}, seeds={seeds})"
        for seed, figures in zip(seeds, found, strict=True):
            measured = {"steps": config.steps, "seconds": seconds, "figures": figures}
            write_record(self.path(variant, seed), command, cores=len(available_cores()), seed=seed, **measured)

    def load(self, variant: str) -> Any:
        """The config as train.py would have it.

        Raises:
            ValueError: if there is no such variant, or an override's key or value is wrong.
        """
        words, values = ["", *self.overrides], flags.FlagValues()
        try:
            config = runpy.run_path(str(self._config()))["get_config"](variant)
            for override in self.overrides:
                if wrong := wrong_key(config, override.removeprefix("--config.").partition("=")[0], recipes.MOVED):
                    raise ValueError(wrong)
            holder = config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=words)
            values(words)
            return holder.value
        except (flags.Error, ValueError) as error:
            named = " ".join([f"configs/{self.table.config}.py:{variant}", *self.overrides])
            raise ValueError(f"{named} cannot be read: {error}") from None

    def _config(self):
        return find_checkout() / "configs" / f"{self.table.config}.py"

    def _workdir(self, variant):
        return self.runs / self.name / self._folder(variant)

    def _folder(self, variant):
        # Where the data lie makes no other experiment.
        apart = [each for each in self.overrides if not each.startswith("--config.data_dir=")]
        return "-".join([variant, *apart]).replace("/", "_")

    def _seconds(self, variant, workdir):
        """The seconds of all training steps, also before a stop, without compilation and evaluation."""
        batch, seconds, before = self.load(variant).batch_size, 0.0, 0
        for line in _lines(workdir):
            if "train/images_per_second" in line:
                seconds += (line["step"] - before) * batch / line["train/images_per_second"]
                before = line["step"]
        return seconds


def _lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
