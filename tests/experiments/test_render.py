"""Tables as Markdown: means, missing seeds, each seed, and what earlier versions measured."""

import json
from pathlib import Path

import pytest

import vtnjax
from vtnjax.experiments import TABLES, Cell, Runner, Table, render

RESULTS = Path(vtnjax.__file__).parents[1] / "results"


@pytest.fixture
def made(tmp_path):
    cells = {"R": Cell("a", 2.1), "P": Cell("b", None), "E": Cell("c", 3.0)}
    table = Table("T", "distorted_digits", {"FCN": cells, "CNN": {"E": Cell("d", 1.4)}})
    runner = Runner("small", table, (), tmp_path / "runs", tmp_path / "results")
    for variant, seed, accuracy, steps in (("a", 0, 0.9, 3000), ("a", 1, 0.8, 3000), ("b", 1, 0.75, 600)):
        path = runner.path(variant, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"device": "cpu", "cores": 1, "steps": steps, "figures": {"accuracy": accuracy}}
        path.write_text(json.dumps(record))
    return runner


def test_a_table_shows_means_missing_seeds_steps_and_the_papers_figures(made):
    lines = render(made, "", range(2)).splitlines()
    assert lines[0] == "T: test error in percent, in brackets the paper's."
    assert lines[2] == "| | R | P | E | steps |"
    assert lines[3] == "| --- | --- | --- | --- | --- |"
    assert lines[4] == "| FCN | 15.0 (2.1) | 25.0, 1 seed | - (3.0) | 600, 3,000 |"
    assert lines[5] == "| CNN |  |  | - (1.4) |  |"


def test_each_seed_stands_behind_the_mean(made):
    line = render(made, "", range(3), each_seed=True).splitlines()[4]
    assert line == "| FCN | 15.0, 2 seeds: 10.0, 20.0 (2.1) | 25.0, 1 seed: 25.0 | - (3.0) | 600, 3,000 |"


def test_a_suffix_is_another_variant(made):
    assert render(made, ",short", range(2)).splitlines()[4] == "| FCN | - (2.1) | - | - (3.0) |  |"
    assert render(made, ",split=validation", range(2)).startswith("T: validation error in percent")


def test_a_cell_may_show_another_figure_or_averaged_predictions_and_notes_stand_below(made):
    cells = {"one": Cell("a", 2.1, "macro"), "both": Cell("a", None, members=2), "none": Cell("a", 1.0, "Aves")}
    made = made._replace(table=Table("T", "distorted_digits", {"FCN": cells}, ("A note.", "Another.")))
    for seed, figures in ((0, {"accuracy": 0.5, "macro": 0.75}), (1, {"accuracy": 0.5}), ("0+1", {"accuracy": 0.95})):
        record = {"device": "cpu", "cores": 1, "steps": 60, "figures": figures}
        made.path("a", seed).write_text(json.dumps(record))
    lines = render(made, "", range(2), each_seed=True).splitlines()
    assert lines[4:] == ["| FCN | 25.0, 1 seed: 25.0 (2.1) | 5.0: 5.0 | - (1.0) | 60 |", "", "- A note.", "- Another."]
    made = made._replace(table=Table("T", "distorted_digits", {"FCN": {"none": Cell("a", 1.0, "Aves")}}))
    assert render(made, "", range(2)).splitlines()[4] == "| FCN | - (1.0) |  |"


def recorded(name, suffix, seeds=3, **options):
    runner = Runner(name, TABLES[name](), (), RESULTS, RESULTS / "experiments")
    return render(runner, suffix, range(seeds), **options).splitlines()


def test_a_table_without_a_papers_figures_speaks_of_none():
    assert recorded("stn_volumes", ",short")[0] == "STN A.3, on the digits of the config: test error in percent."


def test_recorded_runs_of_earlier_versions_make_the_tables_they_made():
    # As the version that measured them printed them.
    lines = recorded("stn_table1", ",short")
    assert "| FCN | 4.9 (2.1) | 13.6 (5.2) | 13.2 (3.1) | 3.9 (3.2) | 27.4 (13.2) | 3,000 |" in lines
    assert (
        "| ST-CNN TPS | 4.2, 1 seed (0.7) | 7.3, 1 seed (0.5) | 7.9, 1 seed (0.8) | 4.1, 1 seed (1.1) |  | 600 |"
        in lines
    )


@pytest.mark.parametrize(
    ("name", "seeds"), [("composites", 3), ("two_digits", 3), ("hidden_digits", 3), ("attentions", 1)]
)
def test_early_files_make_the_tables_they_made(name, seeds):
    rows = json.loads((RESULTS / f"{name}.json").read_text())["rows"]
    shown = [line.strip("| ").split(" | ") for line in recorded(name, "", seeds, each_seed=True)[4:]]
    assert [each[0] for each in shown] == list(TABLES[name]().rows)
    assert {each[0] for each in shown} == set(rows)
    for row, error, steps in shown:
        each = ", ".join(f"{100 * run['error']:.1f}" for run in rows[row]["runs"])
        assert error == f"{100 * rows[row]['mean_error']:.1f}: {each}"
        assert steps.replace(",", "") == str(rows[row]["runs"][0]["step"])


def test_the_default_jobs_early_file_makes_its_table():
    means = json.loads((RESULTS / "digits_stn.json").read_text())["mean_error"]
    assert recorded("digits_stn", "")[4:] == [
        f"| ST-FCN | {100 * means['st_fcn']:.1f} | 6,000 |",
        f"| FCN | {100 * means['fcn']:.1f} | 6,000 |",
    ]
