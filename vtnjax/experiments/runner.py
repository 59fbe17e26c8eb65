"""Runs that make a table, each leaving a record."""

import json
import re
import runpy
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags
from ml_collections import config_flags

from vtnjax import recipes
from vtnjax.experiments.cells import Table
from vtnjax.experiments.checkout import find_checkout
from vtnjax.experiments.cores import available_cores, run_on
from vtnjax.experiments.record import read_early_runs, read_record, write_record
from vtnjax.train.config import wrong_key
from vtnjax.train.mesh import data_mesh

RUNS = Path("runs/experiments")  # where the command puts runs unless told otherwise
_FOLDER = re.compile(r"(--config\.(?:evaluation\.)?data_dir=).*")


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

    def path(self, variant: str, seed: int | str) -> Path:
        """The path of a run's record, or with the seeds "0+1" of that of averaged predictions."""
        return self.results / self.name / f"{self._folder(variant)}-{seed}.json"

    def result(self, variant: str, seed: int | str) -> dict[str, Any] | None:
        """The record of a run, if it was made, also by an earlier version, which kept a table in one file."""
        path = self.path(variant, seed)
        if path.exists():
            return read_record(path)
        return read_early_runs(self.results.parent / f"{self.name}.json").get((self._folder(variant), seed))

    def separately(self, variant: str, seed: int, cores: Sequence[int], *, begins: str = "") -> None:
        """One run of train.py to its end, on some of the cores, and its record.

        Args:
            variant: of the run.
            seed: of the run.
            cores: on which it runs.
            begins: the variant with whose run of this seed it begins; "" for none.

        Raises:
            subprocess.CalledProcessError: if it ends otherwise than by its last step.
        """
        workdir = self._workdir(variant) / str(seed)
        words = [f"--config.seed={seed}", "--workdir", str(workdir), *self.overrides]
        words += ["--init_from", str(self._workdir(begins) / str(seed))] if begins else []
        named, root = self._named(variant), find_checkout()
        run_on(cores, [sys.executable, str(root / "train.py"), "--config", str(root / named), *words])
        shown = f"python train.py --config {named} --config.seed={seed}"
        shown += f" --init_from {RUNS / self.name / self._folder(begins) / str(seed)}" if begins else ""
        last = _lines(workdir)[-1]
        figures = {key.removeprefix("test/"): value for key, value in last.items() if key.startswith("test/")}
        measured = {"steps": last["step"], "seconds": self._seconds(variant, workdir), "figures": figures}
        command = " ".join([shown, *self._told()])
        write_record(self.path(variant, seed), command, cores=len(cores), seed=seed, **measured)

    def together(self, variant: str, seeds: Sequence[int]) -> None:
        """All seeds of a cell in one process, and their records."""
        config = self.load(variant)
        workdir = self._workdir(variant) / f"seeds-{'-'.join(map(str, seeds))}"
        found = recipes.train_together(config, seeds, workdir)
        seconds = self._seconds(variant, workdir) / len(seeds)
        command = f"train_together({self._named(variant)} {' '.join(self._told())}, seeds={seeds})"
        for seed, figures in zip(seeds, found, strict=True):
            measured = {"steps": config.steps, "seconds": seconds, "figures": figures}
            write_record(self.path(variant, seed), command, cores=len(available_cores()), seed=seed, **measured)

    def average(self, variant: str, seeds: Sequence[int]) -> None:
        """The figures of the averaged predictions of runs that `separately` made, and their record.

        Raises:
            ValueError: if a workdir holds no trained run.
            OSError: if the data cannot be read.
        """
        began, config, mesh = time.perf_counter(), self.load(variant), data_mesh()
        first, *others = [str(self._workdir(variant) / str(seed)) for seed in seeds]
        recipe = recipes.read_recipe(config)
        members = recipes.load_members([first, *others], recipe.train, mesh, print)
        evaluate = recipes.make_evaluate(recipe, config.batch_size, mesh, as_stored=True)
        figures = evaluate(recipes.averaged(members, flip=False))
        shown, *also = [f"{RUNS / self.name / self._folder(variant) / str(seed)}" for seed in seeds]
        words = ["python train.py --config", self._named(variant), "--eval_only --workdir", shown]
        words += [word for workdir in also for word in ("--also", workdir)]
        measured = {"steps": config.steps, "seconds": time.perf_counter() - began, "figures": figures}
        which = "+".join(map(str, seeds))
        write_record(self.path(variant, which), " ".join([*words, *self._told()]), seeds=list(seeds), **measured)

    def load(self, variant: str) -> Any:
        """The config as train.py would have it.

        Raises:
            ValueError: if there is no such variant, or an override's key or value is wrong.
        """
        words, values, named = ["", *self.overrides], flags.FlagValues(), self._named(variant)
        path, _, of_config = named.partition(":")
        try:
            config = runpy.run_path(str(find_checkout() / path))["get_config"](of_config)
            for override in self.overrides:
                if wrong := wrong_key(config, override.removeprefix("--config.").partition("=")[0], recipes.MOVED):
                    raise ValueError(wrong)
            holder = config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=words)
            values(words)
            return holder.value
        except (flags.Error, ValueError) as error:
            raise ValueError(f"{' '.join([named, *self.overrides])} cannot be read: {error}") from None

    def _named(self, variant):
        """A variant as train.py's --config has it, from the checkout on."""
        config, colon, of_config = variant.partition(":")
        return f"configs/{config}.py:{of_config}" if colon else f"configs/{self.table.config}.py:{variant}"

    def _told(self):
        """The overrides as a record has them, which tells of no machine's folders."""
        return [_FOLDER.sub(r"\1DATA_DIR", each) for each in self.overrides]

    def _workdir(self, variant):
        return self.runs / self.name / self._folder(variant)

    def _folder(self, variant):
        # Where the data lie makes no other experiment.
        apart = [each for each in self.overrides if not _FOLDER.match(each)]
        return "-".join([variant.replace(":", "-"), *apart]).replace("/", "_")

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
