"""Tables of runs, each one command: `python -m vtnjax.experiments TABLE`."""

from vtnjax.experiments.runner import Runner, render
from vtnjax.experiments.tables import TABLES, Cell, Table

__all__ = ["Cell", "Runner", "TABLES", "Table", "render"]
