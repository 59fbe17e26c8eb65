"""The notebooks run, and each .ipynb is what its .py file says."""

import os
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.py"))


def named(paths):
    return [pytest.param(path, id=path.stem) for path in paths]


def run(path, folder, **environment):
    """A notebook as a script, in a process of its own with one device, in an empty folder."""
    outside = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    paths = os.pathsep.join(filter(None, [str(FOLDER.parent), os.environ.get("PYTHONPATH")]))
    result = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=folder,
        env={**outside, "PYTHONPATH": paths, "MPLBACKEND": "Agg", **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def cells(notebook):
    return [(cell.cell_type, cell.source.strip()) for cell in notebook.cells]


def test_there_are_notebooks():
    assert NOTEBOOKS
    assert {path.stem for path in NOTEBOOKS} == {path.stem for path in FOLDER.glob("*.ipynb")}


@pytest.mark.slow
@pytest.mark.parametrize("path", named(NOTEBOOKS[1:]))  # the first runs whole, below
def test_a_notebook_runs_without_a_warning(path, tmp_path):
    run(path, tmp_path, SMOKE="1")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_trained_transformer_of_the_first_notebook_centres_its_digits(tmp_path):
    assert "their centres scatter by" in run(NOTEBOOKS[0], tmp_path)  # it asserts by how much
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", named(NOTEBOOKS))
def test_the_ipynb_holds_the_cells_of_the_py(path):
    made = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    nbformat.validate(made)
    assert cells(made) == cells(jupytext.read(path)), "run python notebooks/build.py"


@pytest.mark.parametrize("path", named(NOTEBOOKS))
def test_the_ipynb_was_run_whole_and_is_small(path):
    made = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    code = [cell for cell in made.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert sum("image/jpeg" in output.get("data", {}) for output in outputs) >= 3
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert path.with_suffix(".ipynb").stat().st_size < 300_000
