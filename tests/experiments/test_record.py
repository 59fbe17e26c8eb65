"""Records: what is in one, that it is whole or absent, and that the formats of earlier versions are read."""

import datetime
import importlib.metadata
import json
import platform
import shutil
import subprocess
from pathlib import Path

import jax
import pytest

import vtnjax
from vtnjax.experiments import read_record, record, write_record
from vtnjax.experiments.record import read_early_runs

RESULTS = Path(vtnjax.__file__).parents[1] / "results"


def test_a_record_says_what_was_measured_how_and_where(tmp_path):
    path = tmp_path / "folder" / "a=1,b=0.3-0.json"
    write_record(path, "python x.py", seconds=2.5, figures={"loss": 1.5}, cores=3, packages=["pillow"], seed=4)
    found = json.loads(path.read_text())
    assert list(found) == ["command", "commit", "date", "hardware", "versions", "seed", "seconds", "figures"]
    assert found["command"] == "python x.py"
    assert found["date"] == datetime.date.today().isoformat()
    assert found["hardware"] == {"device": jax.devices()[0].device_kind, "cores": 3}
    names = ("jax", "jaxlib", "flax", "numpy", "pillow")
    versions = {name: importlib.metadata.version(name) for name in names}
    assert found["versions"] == {"python": platform.python_version(), **versions}
    assert (found["seed"], found["seconds"], found["figures"]) == (4, 2.5, {"loss": 1.5})
    assert read_record(path) == found
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_package_that_is_absent_has_no_version(tmp_path):
    write_record(tmp_path / "a.json", "x", seconds=0.0, figures={}, packages=["surely-not-installed"])
    assert "surely-not-installed" not in read_record(tmp_path / "a.json")["versions"]


def test_the_cores_are_all_that_the_process_may_use(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "available_cores", lambda: [0, 2, 5])
    write_record(tmp_path / "a.json", "x", seconds=0.0, figures={})
    assert read_record(tmp_path / "a.json")["hardware"]["cores"] == 3


def test_a_record_that_cannot_be_written_leaves_the_one_before(tmp_path):
    path = tmp_path / "a.json"
    write_record(path, "x", seconds=0.0, figures={"a": 1})
    with pytest.raises(TypeError):
        write_record(path, "x", seconds=0.0, figures={"a": object()})
    assert read_record(path)["figures"] == {"a": 1}


def git(folder, *words):
    identity = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    done = subprocess.run(["git", "-C", folder, *identity, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_is_the_checkouts_with_a_mark_if_files_differ(tmp_path, monkeypatch):
    root = tmp_path / "checkout"
    root.mkdir()
    monkeypatch.setattr(record, "ROOT", root)

    def commit():
        write_record(tmp_path / "a.json", "x", seconds=0.0, figures={})
        return read_record(tmp_path / "a.json")["commit"]

    assert commit() == "no git checkout"
    git(tmp_path, "init", "-q")  # around the checkout, and not its own
    (tmp_path / "other").write_text("other")
    git(tmp_path, "add", "other")
    git(tmp_path, "commit", "-q", "-m", "Other")
    assert commit() == "no git checkout"
    git(root, "init", "-q")
    assert commit() == "unknown"
    (root / "file").write_text("one")
    git(root, "add", "file")
    git(root, "commit", "-q", "-m", "One")
    assert commit() == git(root, "rev-parse", "--short=12", "HEAD")
    (root / "file").write_text("two")
    assert commit() == git(root, "rev-parse", "--short=12", "HEAD") + "-dirty"


# ---- Earlier formats


def earlier(folder, **fields):
    path = folder / "earlier.json"
    path.write_text(json.dumps({"command": "python x.py", "date": "2026-11-21", "device": "cpu", "cores": 2, **fields}))
    return read_record(path)


def test_an_earlier_run_is_read(tmp_path):
    found = earlier(tmp_path, commit="abc", jax="0.10.2", seed=1, steps=600, seconds=9.5, figures={"accuracy": 0.25})
    assert found == {
        "command": "python x.py",
        "commit": "abc",
        "date": "2026-11-21",
        "hardware": {"device": "cpu", "cores": 2},
        "versions": {"jax": "0.10.2"},
        "seed": 1,
        "steps": 600,
        "seconds": 9.5,
        "figures": {"accuracy": 0.25},
    }


def test_the_figures_of_an_earlier_benchmark_are_what_is_no_circumstance(tmp_path):
    versions = {"python": "3.11.7", "jax": "0.10.2", "torch": "2.13.0"}
    found = earlier(tmp_path, **versions, rounds=20, results=[{"case": "a"}], versions={"grain": "0.2"})
    assert found["versions"] == {**versions, "grain": "0.2"}
    assert found["figures"] == {"rounds": 20, "results": [{"case": "a"}]}
    assert set(found) == {"command", "date", "hardware", "versions", "figures"}


def test_every_recorded_result_is_read():
    tables = {"attentions", "composites", "digits_stn", "hidden_digits", "two_digits"}
    paths = [path for path in RESULTS.rglob("*.json") if path.parent != RESULTS or path.stem not in tables]
    assert len(paths) > 190
    for path in paths:
        found = read_record(path)
        assert found["figures"], path
        assert {"command", "date", "hardware", "versions"} <= set(found), path
        assert set(found["hardware"]) == {"device", "cores"}, path
    for name in tables:
        assert read_early_runs(RESULTS / f"{name}.json"), name


def test_the_runs_of_an_early_table_are_read_by_variant_and_seed(tmp_path):
    runs = [{"seed": 2, "step": 600, "error": 0.25, "seconds": 7.0}]
    beside = {"command": "python w.py", "date": "2026-11-21", "device": "cpu", "cores_of_a_run": 1.0, "jax": "0.10.2"}
    rows = {"nothing": {"variant": "warp=none", "runs": runs, "mean_error": 0.25, **beside}}
    (tmp_path / "t.json").write_text(json.dumps({"rows": rows}))
    assert read_early_runs(tmp_path / "t.json") == {
        ("warp=none", 2): {
            "command": "python w.py",
            "date": "2026-11-21",
            "hardware": {"device": "cpu", "cores": 1.0},
            "versions": {"jax": "0.10.2"},
            "seed": 2,
            "steps": 600,
            "seconds": 7.0,
            "figures": {"accuracy": 0.75},
        }
    }


def test_the_early_runs_of_the_default_job_are_read_by_model_and_place():
    found = read_early_runs(RESULTS / "digits_stn.json")
    assert list(found) == [(f"model={model}", seed) for model in ("st_fcn", "fcn") for seed in range(3)]
    assert found["model=st_fcn", 2]["figures"]["accuracy"] == pytest.approx(0.979)
    assert found["model=fcn", 0]["command"] == "python benchmarks/digits_error.py"


def test_no_file_of_early_runs_is_no_runs(tmp_path):
    assert read_early_runs(tmp_path / "absent.json") == {}
    shutil.copy(RESULTS / "addition.json", tmp_path)
    assert read_early_runs(tmp_path / "addition.json") == {}
