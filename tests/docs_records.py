"""Figures of the files in `results/`, as the pages of docs/ print them."""

import importlib.util
import statistics
from pathlib import Path

from vtnjax import experiments

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("render", ROOT / "docs" / "render.py")
assert SPEC is not None
assert SPEC.loader is not None
render = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(render)


def error(table, variant, seed=0):
    (found,) = [each for each in render.results(table, variant) if each["seed"] == seed]
    return f"{100 * (1 - found['figures']['accuracy']):.1f} %"


def mean(table, variant):
    return statistics.mean(render.errors(table, variant))


def means(table):
    """The mean errors of a table of one column, in percent, by row."""
    rows = experiments.TABLES[table]().rows
    return {row: mean(table, cell.variant) for row, cells in rows.items() for cell in cells.values()}


def hours(table):
    """How long all runs of a table took together, in hours of two cores."""
    records = [experiments.read_record(path) for path in (ROOT / "results" / "experiments" / table).glob("*.json")]
    return f"{sum(each['seconds'] * each['hardware']['cores'] for each in records) / 2 / 3600:.1f} hours of two cores"


def minutes(name):
    return f"{render.record(f'experiments/{name}')['seconds'] / 60:.0f}"
