"""Tables of runs, each one command: `python -m vtnjax.experiments TABLE`."""

from vtnjax._checks import needing

with needing("train", room=__name__):
    from vtnjax.experiments.cells import Cell, Table
    from vtnjax.experiments.record import read_record, write_record
    from vtnjax.experiments.render import render
    from vtnjax.experiments.runner import Runner
    from vtnjax.experiments.tables import TABLES

__all__ = ["Cell", "Runner", "TABLES", "Table", "read_record", "render", "write_record"]
