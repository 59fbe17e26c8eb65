"""The command, with a train.py that trains nothing, and once in earnest."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import vtnjax
from vtnjax import recipes, train
from vtnjax.experiments import TABLES, Cell, Runner, Table, write_record
from vtnjax.experiments import __main__ as command
from vtnjax.experiments.__main__ import main
from vtnjax.experiments.cores import available_cores

ROOT = Path(vtnjax.__file__).parents[1]


@pytest.fixture
def run(fake, capfd):
    """The command in the checkout of `fake`: its exit status or sentence, and what it printed."""

    def run(*words):
        status = 0
        try:
            main(["small", *words])
        except SystemExit as stop:
            status = stop.code
        return status, capfd.readouterr()

    return run


WHOLE = ("--rows", "FCN", "CNN", "--seeds", "2")


def test_it_runs_what_is_missing_and_prints_the_table(fake, run):
    status, printed = run(*WHOLE, "--jobs", "2")
    assert status == 0
    assert "6 runs of 3 cells to do" in printed.out
    assert "done: model=cnn, seed 1" in printed.out
    assert "| FCN | 15.0 (2.1) | 15.0 | 40 |" in printed.out
    assert "| CNN | 15.0 (1.2) |  | 40 |" in printed.out
    records = sorted((fake / "results" / "experiments" / "small").glob("*.json"))
    assert len(records) == 6
    records[0].unlink()
    before = {path: path.stat().st_mtime_ns for path in records[1:]}
    status, printed = run(*WHOLE)
    assert (status, "1 runs of 1 cells to do" in printed.out) == (0, True)
    assert records[0].exists()
    assert before == {path: path.stat().st_mtime_ns for path in records[1:]}


def test_rows_columns_and_seeds_are_what_is_run(fake, run):
    run("--rows", "FCN", "--columns", "P", "--seeds", "1")
    assert [path.name for path in (fake / "results").rglob("*.json")] == ["model=fcn,short-0.json"]


def test_jobs_run_at_one_time(fake, run):
    run(*WHOLE, "--jobs", "2")
    shares = {tuple(json.loads(path.read_text())["cores"]) for path in (fake / "runs").rglob("said.json")}
    assert len(shares) == min(2, len(available_cores()))


def test_a_variant_of_two_cells_is_run_once(run, monkeypatch):
    def twice():
        """A network that two columns share."""
        return Table("T", "small", {"FCN": {"R": Cell("model=fcn", None), "P": Cell("model=fcn", None)}})

    monkeypatch.setitem(TABLES, "small", twice)
    status, printed = run("--seeds", "1")
    assert status == 0
    assert "1 runs of 1 cells to do" in printed.out
    assert printed.out.count("done: ") == 1
    assert "| FCN | 10.0 | 10.0 | 40 |" in printed.out


def test_render_only_prints(fake, run):
    run("--rows", "CNN", "--seeds", "2")
    status, printed = run("--render", "--each_seed", "--seeds", "2")
    assert status == 0
    assert printed.out.startswith("A paper's table: test error in percent, in brackets the paper's.\n")
    assert "| CNN | 15.0: 10.0, 20.0 (1.2) |  | 40 |" in printed.out
    assert len(list((fake / "results").rglob("*.json"))) == 2


def test_options_choose_the_variant(fake, run):
    run("--rows", "CNN", "--seeds", "1", "--short", "--split", "validation", "--config.steps=6")
    assert [path.name for path in (fake / "results").rglob("*.json")] == [
        "model=cnn,short,split=validation---config.steps=6-0.json"
    ]


def test_the_folder_of_the_data_goes_to_every_run_and_makes_no_other_result(fake, run):
    run("--rows", "CNN", "--seeds", "1", "--config.data_dir=somewhere")
    (record,) = (fake / "results").rglob("*.json")
    assert record.name == "model=cnn-0.json"
    assert json.loads(record.read_text())["command"].endswith("--config.data_dir=DATA_DIR")
    assert "0 runs of 0 cells to do" in run("--rows", "CNN", "--seeds", "1")[1].out


def test_other_folders_for_runs_and_results(fake, run):
    run("--rows", "CNN", "--seeds", "1", "--runs", "a", "--results", "b")
    assert (fake / "a" / "small" / "model=cnn" / "0").is_dir()
    assert (fake / "b" / "small" / "model=cnn-0.json").exists()
    assert not (fake / "results").exists()


def test_a_run_that_fails_is_named_at_the_end_and_the_others_are_made(run):
    status, printed = run("--seeds", "1")
    assert status.startswith("experiments: failed: model=broken, seed 0\nThe same command goes on")
    assert "this model is broken" in printed.err
    assert "| CNN | 10.0, " not in printed.out
    assert "| CNN | 10.0 (1.2) |  | 40 |" in printed.out
    assert "| broken | - |  |  |" in printed.out


def test_a_wrong_override_is_said_before_anything_runs(fake, run):
    status, _ = run("--config.stepz=3")
    first = "configs/small.py:model=fcn --config.stepz=3"
    assert status == f"experiments: {first} cannot be read: the config has no key 'stepz'; did you mean 'steps'?"
    assert not (fake / "runs").exists()


@pytest.mark.parametrize("error", [train.DivergedError("the loss is nan"), train.StoppedError("stopped by SIGINT")])
def test_on_an_accelerator_seeds_train_together_and_what_stops_them_is_said(run, monkeypatch, error):
    asked = []

    def train_together(config, seeds, workdir):
        asked.append(list(seeds))
        raise error

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(recipes, "train_together", train_together)
    status, _ = run("--rows", "CNN", "--seeds", "2")
    assert status.startswith(f"experiments: {error}\nThe same command goes on")
    assert asked == [[0, 1]]
    assert run("--rows", "CNN", "--seeds", "2", "--separate")[0] == 0


def averaged():
    """A network, and two seeds of it whose predictions are averaged."""
    one = Cell("model=cnn", 1.0)
    return Table("T", "small", {"1 x": {"R": one}, "2 x": {"R": one._replace(members=2)}})


@pytest.mark.parametrize(("seeds", "runs", "mean"), [("1", 2, "10.0"), ("3", 3, "20.0")])
def test_averaged_predictions_want_their_runs_and_are_made_after_them(fake, run, monkeypatch, seeds, runs, mean):
    asked = []

    def average(runner, variant, seeds):
        assert all(runner.result(variant, seed) for seed in seeds)
        asked.append((variant, list(seeds)))
        write_record(runner.path(variant, "0+1"), "x", seconds=1.0, steps=40, figures={"accuracy": 0.96})

    monkeypatch.setitem(TABLES, "small", averaged)
    monkeypatch.setattr(Runner, "average", average)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # where seeds would be trained together
    status, printed = run("--seeds", seeds, "--short")
    assert status == 0
    assert f"{runs} runs of 1 cells to do" in printed.out
    assert f"| 1 x | {mean} (1.0) | 40 |\n| 2 x | 4.0 (1.0) | 40 |" in printed.out
    assert "0 runs of 0 cells to do" in run("--seeds", seeds, "--short")[1].out
    assert asked == [("model=cnn,short", [0, 1])]
    assert len(list((fake / "results").rglob("*.json"))) == runs + 1


def test_runs_that_did_not_end_are_not_averaged(run, monkeypatch):
    def broken():
        """Two seeds of a network that fails."""
        return Table("T", "small", {"2 x": {"R": Cell("model=broken", None, members=2)}})

    asked = []
    monkeypatch.setitem(TABLES, "small", broken)
    monkeypatch.setattr(Runner, "average", lambda *which: asked.append(which))
    status, _ = run()
    assert status.startswith("experiments: failed: model=broken, seed 0; model=broken, seed 1\nThe same command")
    assert not asked


def test_what_cannot_be_averaged_is_said_below_the_table(run, monkeypatch):
    def average(*_):
        raise ValueError("x must be the workdir of a trained run")

    monkeypatch.setitem(TABLES, "small", averaged)
    monkeypatch.setattr(Runner, "average", average)
    status, printed = run()
    assert "| 2 x | - (1.0) |" in printed.out
    why = "model=cnn, seeds 0+1 averaged (x must be the workdir of a trained run)"
    assert status.startswith(f"experiments: failed: {why}\nThe same command")


def test_one_folder_is_not_that_of_several_sets(tmp_path, capsys):
    words = ["vtn_table2", "--rows", "BP", "--config.data_dir=birds", "--results", str(tmp_path)]
    with pytest.raises(SystemExit) as stop:
        main(words)
    several = (
        "--config.data_dir must be the folder of one set, not of aircraft, cars, cub: choose one by --rows or --columns"
    )
    assert stop.value.code == f"experiments: {several}"
    assert "to do" not in capsys.readouterr().out
    several = "--config.evaluation.data_dir must be the folder of one set, not of roxford5k, rparis6k: choose one"
    for row in ("GeM", "DELF"):
        with pytest.raises(SystemExit) as stop:
            main(["vtn_table6", "--rows", row, "--config.evaluation.data_dir=oxford", "--results", str(tmp_path)])
        assert str(stop.value.code).startswith(f"experiments: {several}")


def test_a_run_begins_with_another_that_is_made_before_it(run, fake, monkeypatch):
    def small():
        """Two stages."""
        cells = {"second": {"R": Cell("model=cnn", None, begins="model=fcn")}, "first": {"R": Cell("model=fcn", None)}}
        return Table("Two stages", "small", cells)

    monkeypatch.setitem(TABLES, "small", small)
    run("--rows", "second", "--seeds", "2")
    said = [
        json.loads((fake / f"runs/experiments/small/model={each}/1/said.json").read_text()) for each in ("fcn", "cnn")
    ]
    assert said[0]["began"] < said[1]["began"]
    assert "--init_from" not in said[0]["words"]
    assert said[1]["words"][-2:] == ["--init_from", "runs/experiments/small/model=fcn/1"]
    record = json.loads((fake / "results/experiments/small/model=cnn-1.json").read_text())
    assert record["command"].endswith("--config.seed=1 --init_from runs/experiments/small/model=fcn/1")


def test_one_set_of_several_and_drawn_ones_may_have_a_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "run_side_by_side", lambda tasks, jobs, say: [])
    words = ["vtn_table2", "--rows", "BP", "--seeds", "1", "--config.data_dir=birds", "--results", str(tmp_path)]
    main([*words, "--columns", "CUB"])
    assert "1 runs of 1 cells to do" in capsys.readouterr().out
    main([*words, "--smoke"])
    assert "3 runs of 3 cells to do" in capsys.readouterr().out


def test_an_interrupt_ends_it_with_a_sentence(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_side_by_side", interrupted)
    assert run("--rows", "CNN")[0].startswith("experiments: interrupted\nThe same command goes on")


def test_help_lists_every_table_with_a_line(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    for name, table in TABLES.items():
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert line.split(maxsplit=1)[1] == table.__doc__.splitlines()[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("stn_table1", "--rows", "FCNN"), "--rows must be among FCN, CNN"),
        (("stn_table1", "--columns", "Q"), "--columns must be among R, RTS"),
        (("stn_table1", "--stepz=3"), "unrecognized arguments: --stepz=3"),
        (("stn_table1", "--config.steps"), "unrecognized arguments: --config.steps"),
        (("stn_table1", "--seeds", "0"), "--seeds must be at least 1, not 0"),
        (("stn_table1", "--jobs", "-1"), "--jobs must be at least 1, not -1"),
        (("stn_table9",), "invalid choice: 'stn_table9'"),
    ],
)
def test_what_cannot_be_is_said(words, said, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--render", *words])
    assert stop.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_in_earnest(tmp_path):
    words = ["stn_table1", "--smoke", "--rows", "FCN", "--columns", "R", "--seeds", "1", "--config.steps=4"]
    words += ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    whole = [sys.executable, "-m", "vtnjax.experiments", *words]
    done = subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "results" / "stn_table1").glob("*.json")
    record = json.loads(path.read_text())
    assert record["command"].endswith("model=fcn,distortion=R,smoke --config.seed=0 --config.steps=4")
    assert (record["seed"], record["steps"], record["seconds"] > 0) == (0, 4, True)
    assert 0 <= record["figures"]["accuracy"] <= 1
    done = subprocess.run([*whole, "--config.steps=-1"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "config.steps must be a whole number of at least 0, not -1" in done.stderr
    assert "The same command goes on" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_table_by_super_class_in_earnest(tmp_path):
    words = ["tasn_table10", "--smoke", "--columns", "ResNet-101", "--seeds", "1"]
    words += ["--config.network.trunk.name=squeezenet"]
    words += ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results")]
    whole = [sys.executable, "-m", "vtnjax.experiments", *words]
    done = subprocess.run(whole, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "1 runs of 1 cells to do" in done.stdout
    (path,) = (tmp_path / "results" / "tasn_table10").glob("*.json")
    figures = json.loads(path.read_text())["figures"]
    assert set(figures) == {"loss", "accuracy", "macro", "Magna", "Parva"}
    assert figures["macro"] == pytest.approx((figures["Magna"] + figures["Parva"]) / 2)
    # The drawn set has as many images in each of its super-classes.
    assert figures["accuracy"] == pytest.approx(figures["macro"])
    error = 100 * (1 - figures["accuracy"])
    assert f"| micro | {error:.1f} (40.4) | - (34.8) | - (31.8) | 4 |" in done.stdout
    assert f"| macro | {error:.1f} (41.6) | - (36.9) | - (33.8) | 4 |" in done.stdout
    assert "| Plantae | - (39.7) | - (36.1) | - (33.4) |  |" in done.stdout
