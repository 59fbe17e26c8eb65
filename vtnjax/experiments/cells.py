"""What a table of runs is made of."""

from collections.abc import Sequence
from typing import NamedTuple


class Cell(NamedTuple):
    """A figure of a table: the config's variant, and the paper's figure in percent where there is one.

    Attributes:
        variant: the variant of the table's config, or "CONFIG:VARIANT" of another config.
        paper: the paper's figure in percent, as the table shows it; None where it gives none.
        figure: the test figure, a share in 0..1 of what is right.
        members: the number of runs, of the seeds from 0 on, whose predictions are averaged; 1 for runs by themselves.
        begins: the variant with whose run, of the same seed, a run begins (`--init_from`); "" for none.
    """

    variant: str
    paper: float | None
    figure: str = "accuracy"
    members: int = 1
    begins: str = ""

    def results(self, seeds: Sequence[int]) -> list[int | str]:
        """Which results of the variant make the figure: those of the seeds, or "0+1" of averaged predictions."""
        return list(seeds) if self.members == 1 else ["+".join(map(str, range(self.members)))]

    def runs(self, seeds: Sequence[int]) -> Sequence[int]:
        """The seeds of the runs that are needed for these results."""
        return seeds if self.members == 1 else range(self.members)


def error(accuracy: float | None) -> float | None:
    """The error of an accuracy that a paper gives in percent with one decimal."""
    return None if accuracy is None else round(100 - accuracy, 1)


class Table(NamedTuple):
    """A table: its title, a config of `configs/`, and cells by row and column, whose figures are shown in percent.

    Attributes:
        source: the title.
        config: the name of the config whose variants the cells are.
        rows: the cells by row and column.
        notes: what is to be known beside the figures, a sentence or two each.
        shown: the name of what is shown: "error", what a figure lacks to 1, or another name, of the figure itself.
    """

    source: str
    config: str
    rows: dict[str, dict[str, Cell]]
    notes: tuple[str, ...] = ()
    shown: str = "error"

    @property
    def columns(self) -> list[str]:
        """The columns of all rows."""
        return list(dict.fromkeys(column for row in self.rows.values() for column in row))
