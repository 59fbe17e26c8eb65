"""Tables of runs: which configs, variants and seeds make a table, and what came out beside the papers' figures.

    python -m vtnjax.experiments stn_table1
    python -m vtnjax.experiments stn_table1 --short --rows FCN --jobs 2
    python -m vtnjax.experiments composites --jobs 2 --config.data_dir=fashion-mnist
    python -m vtnjax.experiments composites --render --each_seed

runs, from a checkout, what has no result yet and goes on with what was stopped. Each run leaves a JSON file in
`results/experiments/TABLE/`: its command, commit, hardware, versions, steps, seconds and test figures. At the end the
table is printed as Markdown. On an accelerator the seeds of a cell are trained together in one process (`--separate`
trains each by itself); on a CPU each is a run of train.py, `--jobs` at a time. `--config.key=value` goes to every run,
whose results then stand apart, unless it only says where the data lie (`--config.data_dir`,
`--config.evaluation.data_dir`).
"""

import argparse
import functools
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from vtnjax import train
from vtnjax.experiments.cells import Cell, Table
from vtnjax.experiments.checkout import find_checkout
from vtnjax.experiments.cores import run_side_by_side
from vtnjax.experiments.render import render
from vtnjax.experiments.runner import RUNS, Runner
from vtnjax.experiments.tables import TABLES

_GOES_ON = "The same command goes on with what has no result yet."


def parse(argv: Sequence[str] | None) -> tuple[argparse.Namespace, tuple[str, ...], Table]:
    """The flags of a command line, what it overrides in every config, and the table it names."""
    tables = "\n".join(f"  {name:18} {(inspect.getdoc(table) or '').splitlines()[0]}" for name, table in TABLES.items())
    parser = argparse.ArgumentParser(
        prog="python -m vtnjax.experiments",
        description=(__doc__ or "").splitlines()[0],
        epilog=f"tables:\n{tables}\n\n--config.key=value goes to every run, whose results then stand apart.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", choices=list(TABLES), metavar="TABLE", help="one of the tables below")
    parser.add_argument("--render", action="store_true", help="only print the table of what was run")
    parser.add_argument("--each_seed", action="store_true", help="print each seed's figure behind the mean")
    parser.add_argument("--short", action="store_true", help="the variant :short, which two cores finish")
    parser.add_argument("--smoke", action="store_true", help="the variant :smoke, to see that all of it runs")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="validation is for tuning")
    parser.add_argument("--rows", nargs="*", help="only these rows")
    parser.add_argument("--columns", nargs="*", help="only these columns")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on (default 3)")
    parser.add_argument("--separate", action="store_true", help="each seed by itself, also on an accelerator")
    parser.add_argument("--jobs", type=int, default=1, help="separate runs at a time, each on its share of the cores")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where the runs go")
    parser.add_argument("--results", type=Path, help="where results go; by default results/experiments of the checkout")
    arguments, more = parser.parse_known_args(argv)
    wrong = [each for each in more if not (each.startswith("--config.") and "=" in each)]
    if wrong:
        parser.error(f"unrecognized arguments: {' '.join(wrong)}")
    for name in ("seeds", "jobs"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} must be at least 1, not {getattr(arguments, name)}")
    table = TABLES[arguments.table]()
    for what, named, known in (("row", arguments.rows, table.rows), ("column", arguments.columns, table.columns)):
        unknown = [name for name in named or () if name not in known]
        if unknown:
            parser.error(f"--{what}s must be among {', '.join(known)}, not {unknown[0]!r}")
    return arguments, tuple(more), table


def _chosen(table: Table, rows: Sequence[str] | None, columns: Sequence[str] | None) -> list[Cell]:
    """The cells of these rows and columns."""
    return [
        cell
        for name, row in table.rows.items()
        for column, cell in row.items()
        if (not rows or name in rows) and (not columns or column in columns)
    ]


def _missing(runner: Runner, suffix: str, cells: list[Cell], seeds: Sequence[int]) -> dict[str, list[int]]:
    """Variants with the seeds that have no result, and before them those that their runs begin with."""
    wanted: dict[str, set[int]] = {}
    needed = [(cell.begins, cell) for cell in cells if cell.begins] + [(cell.variant, cell) for cell in cells]
    for variant, cell in needed:
        left = {seed for seed in cell.runs(seeds) if runner.result(variant + suffix, seed) is None}
        if left:
            wanted.setdefault(variant + suffix, set()).update(left)
    return {variant: sorted(left) for variant, left in wanted.items()}


def _check_folder(configs: list[Any], overrides: Sequence[str]) -> None:
    """One folder holds one set, or one benchmark; drawn pictures need none."""
    named = {
        "data_dir": {config.dataset for config in configs},
        "evaluation.data_dir": {c.evaluation.benchmark for c in configs if "benchmark" in c.evaluation},
    }
    for key, names in named.items():
        sets = {name for name in names if not name.startswith("drawn:")}
        if len(sets) > 1 and any(each.startswith(f"--config.{key}=") for each in overrides):
            known = ", ".join(sorted(sets))
            raise ValueError(
                f"--config.{key} must be the folder of one set, not of {known}: choose one by --rows or --columns"
            )


def _run(
    runner: Runner, wanted: dict[str, list[int]], jobs: int, *, separate: bool, begins: dict[str, str]
) -> list[str]:
    """Make what is wanted, at first what others begin with; which runs failed."""
    if jax.default_backend() != "cpu" and not separate:
        for variant, seeds in wanted.items():
            runner.together(variant, seeds)
        return []
    failed = []
    for wave in (begins.values(), set(wanted).difference(begins.values())):
        tasks = {
            f"{variant}, seed {seed}": functools.partial(
                runner.separately, variant, seed, begins=begins.get(variant, "")
            )
            for variant, seeds in wanted.items()
            for seed in seeds
            if variant in wave
        }
        failed += run_side_by_side(tasks, jobs, say=functools.partial(print, flush=True))
    return failed


def _average(runner: Runner, suffix: str, cells: list[Cell]) -> list[str]:
    """Average predictions where a cell wants it and nothing did; which cannot be."""
    failed = []
    for cell in (each for each in cells if each.members > 1):
        variant, seeds = cell.variant + suffix, range(cell.members)
        (which,) = cell.results(seeds)
        ended = all(runner.result(variant, seed) is not None for seed in seeds)
        if ended and runner.result(variant, which) is None:
            try:
                runner.average(variant, seeds)
            except (ValueError, OSError) as error:
                failed.append(f"{variant}, seeds {which} averaged ({error})")
    return failed


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments, overrides, table = parse(argv)
    split = ",split=validation" if arguments.split == "validation" else ""
    suffix, seeds = ",short" * arguments.short + split + ",smoke" * arguments.smoke, range(arguments.seeds)
    try:
        results = arguments.results or find_checkout() / "results" / "experiments"
        runner = Runner(arguments.table, table, overrides, arguments.runs, results)
        cells = _chosen(table, arguments.rows, arguments.columns)
        wanted = {} if arguments.render else _missing(runner, suffix, cells, seeds)
        # What is wrong with a variant or an override is said before hours of other runs.
        _check_folder([runner.load(variant) for variant in wanted], overrides)
    except ValueError as error:
        sys.exit(f"experiments: {error}")
    failed = []
    if not arguments.render:
        print(f"{sum(map(len, wanted.values()))} runs of {len(wanted)} cells to do", flush=True)
        try:
            # Seeds that were trained together leave no run whose predictions could be averaged.
            separate = arguments.separate or any(cell.members > 1 or cell.begins for cell in cells)
            begins = {cell.variant + suffix: cell.begins + suffix for cell in cells if cell.begins}
            failed = _run(runner, wanted, arguments.jobs, separate=separate, begins=begins)
            failed += _average(runner, suffix, cells)
        except (ValueError, OSError, train.DivergedError, train.StoppedError) as error:
            sys.exit(f"experiments: {error}\n{_GOES_ON}")
        except KeyboardInterrupt:
            sys.exit(f"experiments: interrupted\n{_GOES_ON}")
    print(render(runner, suffix, seeds, each_seed=arguments.each_seed))
    if failed:
        sys.exit(f"experiments: failed: {'; '.join(failed)}\n{_GOES_ON}")


if __name__ == "__main__":
    main()
