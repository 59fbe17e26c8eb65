"""Tables of runs: which configs, variants and seeds make a paper's table, and what came out beside the paper's figures.

    python -m vtnjax.experiments stn_table1
    python -m vtnjax.experiments stn_table1 --short --rows FCN --jobs 2
    python -m vtnjax.experiments stn_table1 --render

runs, from a checkout, what has no result yet and goes on with what was stopped. Each run leaves a JSON file in
`results/experiments/TABLE/`: its command, commit, hardware, steps, seconds and test figures. At the end the table is
printed as Markdown. On an accelerator the seeds of a cell are trained together in one process (`--separate` trains each
by itself); on a CPU each is a run of train.py, `--jobs` at a time. `--config.key=value` goes to every run, whose
results then stand apart.
"""

import argparse
import concurrent.futures
import os
import queue
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jax

from vtnjax import train
from vtnjax.experiments.runner import ROOT, Runner, render
from vtnjax.experiments.tables import TABLES


def _missing(runner: Runner, suffix: str, rows, columns, seeds) -> Iterator[tuple[str, list[int]]]:
    """Variants with the seeds that have no result."""
    for name, row in runner.table.rows.items():
        for column, cell in row.items():
            if (rows and name not in rows) or (columns and column not in columns):
                continue
            variant = cell.variant + suffix
            left = [seed for seed in seeds if not runner.path(variant, seed).exists()]
            if left:
                yield variant, left


def _run_separately(runner: Runner, wanted: list[tuple[str, list[int]]], jobs: int) -> None:
    """Each run by itself, `jobs` at a time on shares of the cores, of which none is less than one."""
    cores = sorted(os.sched_getaffinity(0))
    jobs = min(jobs, len(cores))
    shares: queue.Queue[set[int]] = queue.Queue()
    for number in range(jobs):
        shares.put(set(cores[number::jobs]))

    def run(variant, seed):
        share = shares.get()
        try:
            runner.separately(variant, seed, share)
        finally:
            shares.put(share)
        print(f"done: {variant}, seed {seed}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        started = [pool.submit(run, variant, seed) for variant, seeds in wanted for seed in seeds]
        for each in started:
            each.result()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m vtnjax.experiments",
        description=(__doc__ or "").splitlines()[0],
        epilog="--config.key=value goes to every run, whose results then stand apart.",
    )
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--render", action="store_true", help="only print the table of what was run")
    parser.add_argument("--short", action="store_true", help="the variant :short, which two cores finish")
    parser.add_argument("--smoke", action="store_true", help="the variant :smoke, to see that all of it runs")
    parser.add_argument("--rows", nargs="*", help="only these rows")
    parser.add_argument("--columns", nargs="*", help="only these columns")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on (default 3)")
    parser.add_argument("--separate", action="store_true", help="each seed by itself, also on an accelerator")
    parser.add_argument("--jobs", type=int, default=1, help="separate runs at a time, each on its share of the cores")
    parser.add_argument("--runs", type=Path, default=Path("runs/experiments"), help="where the runs go")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "experiments", help="where results go")
    arguments, more = parser.parse_known_args()
    wrong = [each for each in more if not (each.startswith("--config.") and "=" in each)]
    if wrong:
        parser.error(f"unrecognized arguments: {' '.join(wrong)}")
    if not (ROOT / "train.py").exists():
        sys.exit(f"experiments run train.py and configs/ of a checkout, and {ROOT} is none")
    table = TABLES[arguments.table]()
    columns = list(dict.fromkeys(column for row in table.rows.values() for column in row))
    for what, named, known in (("row", arguments.rows, list(table.rows)), ("column", arguments.columns, columns)):
        unknown = [name for name in named or () if name not in known]
        if unknown:
            parser.error(f"{arguments.table} has no {what} {unknown[0]!r}; its {what}s are {', '.join(known)}")
    runner = Runner(arguments.table, table, tuple(more), arguments.runs, arguments.results)
    suffix, seeds = ",short" * arguments.short + ",smoke" * arguments.smoke, range(arguments.seeds)
    if not arguments.render:
        wanted = list(_missing(runner, suffix, arguments.rows, arguments.columns, seeds))
        print(f"{sum(len(left) for _, left in wanted)} runs of {len(wanted)} cells to do", flush=True)
        try:
            if jax.default_backend() == "cpu" or arguments.separate:
                _run_separately(runner, wanted, arguments.jobs)
            else:
                for variant, left in wanted:
                    runner.together(variant, left)
        except (ValueError, OSError, train.DivergedError, subprocess.CalledProcessError) as error:
            sys.exit(f"experiments: {error}\nThe same command goes on with what has no result yet.")
    print(render(runner, suffix, seeds))


if __name__ == "__main__":
    main()
