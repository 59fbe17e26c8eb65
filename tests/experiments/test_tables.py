"""The tables of runs: every cell is a variant of its config, and a run's result stands in its table."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vtnjax import experiments
from vtnjax.experiments.runner import Runner, render
from vtnjax.experiments.tables import TABLES, Cell, Table

ROOT = Path(experiments.__file__).parents[2]
SMALL = Table("A paper's table", "distorted_digits", {"FCN": {"R": Cell("model=fcn,distortion=R", 2.1)}})


def runner(folder, table=SMALL, overrides=()):
    return Runner("small", table, overrides, folder / "runs", folder / "results")


@pytest.mark.parametrize("name", TABLES)
def test_every_cell_is_a_variant_of_its_config(tmp_path, name):
    made = runner(tmp_path, TABLES[name]())
    for row in made.table.rows.values():
        for cell in row.values():
            assert made.load(cell.variant).steps > made.load(f"{cell.variant},smoke").steps


def test_stn_table_1_has_the_papers_cells():
    rows = TABLES["stn_table1"]().rows
    assert rows["ST-FCN projective"]["P"] == Cell("model=st_fcn,warp=projective,distortion=P", 1.4)
    assert rows["CNN"]["TC"] == Cell("model=cnn,distortion=TC", 3.5)
    assert "TC" not in rows["ST-CNN TPS"]
    assert sum(len(row) for row in rows.values()) == 36 + 4


def test_a_table_shows_means_missing_seeds_and_the_papers_figures(tmp_path):
    cells = {"R": Cell("a", 2.1), "P": Cell("b", None), "E": Cell("c", 3.0)}
    made = runner(tmp_path, Table("T", "distorted_digits", {"FCN": cells, "CNN": {"E": Cell("d", 1.4)}}))
    for variant, seed, accuracy in (("a", 0, 0.9), ("a", 1, 0.8), ("b", 1, 0.75)):
        path = made.path(variant, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"steps": 3000, "figures": {"accuracy": accuracy}}))
    lines = render(made, "", range(2)).splitlines()
    assert lines[2] == "| | R | P | E | steps |"
    assert lines[4] == "| FCN | 15.0 (2.1) | 25.0, 1 seed | - (3.0) | 3,000 |"
    assert lines[5] == "| CNN |  |  | - (1.4) |  |"


def test_overrides_reach_the_config_in_its_own_types(tmp_path):
    config = runner(tmp_path, overrides=("--config.steps=7", "--config.learning_rate=1")).load("model=fcn")
    assert config.steps == 7
    assert isinstance(config.learning_rate, float)


def command(folder, *words):
    words = [*words, "--runs", folder / "runs", "--results", folder / "results"]
    return subprocess.run(
        [sys.executable, "-m", "vtnjax.experiments", "stn_table1", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_command_runs_what_is_missing_and_prints_the_table(tmp_path):
    cell = ("--smoke", "--rows", "FCN", "--columns", "R", "--seeds", "2", "--jobs", "2", "--config.steps=4")
    done = command(tmp_path, *cell)
    assert done.returncode == 0, done.stderr
    assert "2 runs of 1 cells to do" in done.stdout
    assert "(2.1) | - (5.2)" in done.stdout
    (first, second) = sorted((tmp_path / "results" / "stn_table1").glob("*.json"))
    record = json.loads(first.read_text())
    assert record["command"].endswith("model=fcn,distortion=R,smoke --config.seed=0 --config.steps=4")
    assert (record["seed"], record["steps"], record["seconds"] > 0) == (0, 4, True)
    assert 0 <= record["figures"]["accuracy"] <= 1
    second.unlink()
    again = command(tmp_path, *cell)
    assert "1 runs of 1 cells to do" in again.stdout
    assert second.exists()


@pytest.mark.slow
def test_seeds_trained_together_leave_a_result_each(tmp_path):
    # optax's own step schedule is not strict about dtypes.
    made = runner(tmp_path, overrides=("--config.steps=4", "--config.schedule=constant"))
    made.together("model=fcn,distortion=R,smoke", [0, 2])
    records = [json.loads(made.path("model=fcn,distortion=R,smoke", seed).read_text()) for seed in (0, 2)]
    assert [record["seed"] for record in records] == [0, 2]
    assert records[0]["figures"] != records[1]["figures"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--rows", "FCNN"), "stn_table1 has no row 'FCNN'; its rows are FCN, CNN"),
        (("--columns", "Q"), "has no column 'Q'; its columns are R, RTS"),
        (("--stepz=3",), "unrecognized arguments: --stepz=3"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, words, said):
    done = command(tmp_path, "--render", *words)
    assert done.returncode == 2
    assert said in done.stderr


@pytest.mark.slow
def test_a_run_that_fails_ends_the_command_with_a_sentence(tmp_path):
    done = command(tmp_path, "--smoke", "--rows", "FCN", "--columns", "R", "--seeds", "1", "--config.steps=0")
    assert done.returncode == 1
    assert "config.steps must be a whole number of at least 1, not 0" in done.stderr
    assert "The same command goes on" in done.stderr
    assert "Traceback" not in done.stderr
