"""Tables as Markdown, from the records of their runs."""

import statistics
import textwrap
from collections.abc import Sequence

from vtnjax.experiments.runner import Runner


def render(runner: Runner, suffix: str, seeds: Sequence[int], *, each_seed: bool = False) -> str:
    """The table as Markdown: the mean of the seeds that were run, their number if some were not, the paper's.

    The table's notes stand below it.

    Args:
        runner: the table's runner.
        suffix: the end of every variant, such as ",short".
        seeds: the seeds to look for.
        each_seed: True puts the figure of each seed behind the mean.
    """
    table = runner.table
    compared = any(cell.paper is not None for row in table.rows.values() for cell in row.values())
    told = ", in brackets the paper's" if compared else ""
    split = "validation" if ",split=validation" in suffix else "test"
    lines = [f"{table.source}: {split} {table.shown} in percent{told}.", ""]
    lines += [f"| | {' | '.join(table.columns)} | steps |", f"|{' --- |' * (len(table.columns) + 2)}"]
    for name, row in table.rows.items():
        shown, steps = [], set()
        for column in table.columns:
            if column not in row:
                shown.append("")
                continue
            found = [runner.result(row[column].variant + suffix, which) for which in row[column].results(seeds)]
            # A set of a few drawn pictures has other super-classes, and an early run fewer figures.
            records = [each for each in found if each is not None and row[column].figure in each["figures"]]
            steps |= {record["steps"] for record in records}
            shown.append(_shown(records, len(found), row[column], table.shown == "error", each_seed))
        lines.append(f"| {name} | {' | '.join(shown)} | {', '.join(f'{count:,}' for count in sorted(steps))} |")
    notes = [textwrap.fill(f"- {note}", 120, subsequent_indent="  ", break_on_hyphens=False) for note in table.notes]
    lines += ["", *notes] if notes else []
    return "\n".join(lines)


def _shown(records, wanted, cell, errors, each_seed):
    beside = "" if cell.paper is None else f" ({cell.paper})"
    if not records:
        return f"-{beside}"
    figures = [record["figures"][cell.figure] for record in records]
    shown = [100 * (1 - figure if errors else figure) for figure in figures]
    each = f": {', '.join(f'{value:.1f}' for value in shown)}" if each_seed else ""
    seeds = "" if len(shown) == wanted else f", {len(shown)} seed{'s' if len(shown) > 1 else ''}"
    return f"{statistics.mean(shown):.1f}{seeds}{each}{beside}"
