"""Tables of runs: which configs, variants and seeds make a table, and what came out beside the papers' figures.

    python -m vtnjax.experiments stn_table1
    python -m vtnjax.experiments stn_table1 --short --rows FCN --jobs 2
    python -m vtnjax.experiments composites --jobs 2 --config.data_dir=fashion-mnist
    python -m vtnjax.experiments composites --render --each_seed

runs, from a checkout, what has no result yet and goes on with what was stopped. Each run leaves a JSON file in
`results/experiments/TABLE/`: its command, commit, hardware, versions, steps, seconds and test figures. At the end the
table is printed as Markdown. On an accelerator the seeds of a cell are trained together in one process (`--separate`
trains each by itself); on a CPU each is a run of train.py, `--jobs` at a time. `--config.key=value` goes to every run,
whose results then stand apart, unless it only says where the data lie (`--config.data_dir`).
"""

import argparse
import functools
import inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax

from vtnjax import train
from vtnjax.experiments.checkout import find_checkout
from vtnjax.experiments.cores import run_side_by_side
from vtnjax.experiments.render import render
from vtnjax.experiments.runner import Runner
from vtnjax.experiments.tables import TABLES, Table

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
    parser.add_argument("--each_seed", action="store_true", help="print each seed's error behind the mean")
    parser.add_argument("--short", action="store_true", help="the variant :short, which two cores finish")
    parser.add_argument("--smoke", action="store_true", help="the variant :smoke, to see that all of it runs")
    parser.add_argument("--split", choices=("test", "validation"), default="test", help="validation is for tuning")
    parser.add_argument("--rows", nargs="*", help="only these rows")
    parser.add_argument("--columns", nargs="*", help="only these columns")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on (default 3)")
    parser.add_argument("--separate", action="store_true", help="each seed by itself, also on an accelerator")
    parser.add_argument("--jobs", type=int, default=1, help="separate runs at a time, each on its share of the cores")
    parser.add_argument("--runs", type=Path, default=Path("runs/experiments"), help="where the runs go")
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


def _missing(runner: Runner, suffix: str, rows, columns, seeds) -> Iterator[tuple[str, list[int]]]:
    """Variants with the seeds that have no result."""
    for name, row in runner.table.rows.items():
        for column, cell in row.items():
            if (rows and name not in rows) or (columns and column not in columns):
                continue
            variant = cell.variant + suffix
            left = [seed for seed in seeds if runner.result(variant, seed) is None]
            if left:
                yield variant, left


def _run(runner: Runner, wanted: dict[str, list[int]], arguments: argparse.Namespace) -> list[str]:
    """Make what is wanted; which runs failed."""
    if jax.default_backend() != "cpu" and not arguments.separate:
        for variant, seeds in wanted.items():
            runner.together(variant, seeds)
        return []
    tasks = {
        f"{variant}, seed {seed}": functools.partial(runner.separately, variant, seed)
        for variant, seeds in wanted.items()
        for seed in seeds
    }
    return run_side_by_side(tasks, arguments.jobs, say=functools.partial(print, flush=True))


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    arguments, overrides, table = parse(argv)
    split = ",split=validation" if arguments.split == "validation" else ""
    suffix, seeds = ",short" * arguments.short + split + ",smoke" * arguments.smoke, range(arguments.seeds)
    try:
        results = arguments.results or find_checkout() / "results" / "experiments"
        runner = Runner(arguments.table, table, overrides, arguments.runs, results)
        wanted = {} if arguments.render else dict(_missing(runner, suffix, arguments.rows, arguments.columns, seeds))
        for variant in wanted:
            runner.load(variant)  # what is wrong with a variant or an override is said before hours of other runs
    except ValueError as error:
        sys.exit(f"experiments: {error}")
    failed = []
    if not arguments.render:
        print(f"{sum(map(len, wanted.values()))} runs of {len(wanted)} cells to do", flush=True)
        try:
            failed = _run(runner, wanted, arguments)
        except (ValueError, OSError, train.DivergedError, train.StoppedError) as error:
            sys.exit(f"experiments: {error}\n{_GOES_ON}")
        except KeyboardInterrupt:
            sys.exit(f"experiments: interrupted\n{_GOES_ON}")
    print(render(runner, suffix, seeds, each_seed=arguments.each_seed))
    if failed:
        sys.exit(f"experiments: failed: {'; '.join(failed)}\n{_GOES_ON}")


if __name__ == "__main__":
    main()
