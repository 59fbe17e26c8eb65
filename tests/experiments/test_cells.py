"""What makes a cell's figure."""

from vtnjax.experiments import Cell, Table
from vtnjax.experiments.cells import error


def test_a_figure_is_of_each_seed_or_of_averaged_predictions():
    alone, averaged = Cell("a", 1.0), Cell("a", 1.0, members=2)
    assert (alone.results(range(3)), list(alone.runs(range(3)))) == ([0, 1, 2], [0, 1, 2])
    assert (averaged.results(range(3)), list(averaged.runs(range(3)))) == (["0+1"], [0, 1])
    assert list(averaged.runs(range(1))) == [0, 1]


def test_the_columns_are_those_of_all_rows_in_their_order():
    cell = Cell("a", None)
    assert Table("T", "c", {"x": {"R": cell, "P": cell}, "y": {"E": cell, "R": cell}}).columns == ["R", "P", "E"]


def test_an_error_has_the_decimals_of_its_accuracy():
    assert [error(accuracy) for accuracy in (87.1, 58.4, None)] == [12.9, 41.6, None]
