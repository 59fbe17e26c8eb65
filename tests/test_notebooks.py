"""The notebooks run, and each .ipynb is what its .py file says."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import jupytext
import matplotlib.pyplot as plt
import nbclient
import nbformat
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from train_runs import environment

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.py"))
EXPLORE = FOLDER / "07_explore.py"
RETRIEVAL = FOLDER / "06_retrieval.py"
WIDGET = "application/vnd.jupyter.widget-view+json"


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
@pytest.mark.parametrize("path", named(path for path in NOTEBOOKS[1:] if path != RETRIEVAL))
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


@pytest.mark.slow
def test_what_the_notebook_of_retrieval_shows_is_so(monkeypatch, tmp_path):
    monkeypatch.delenv("XLA_FLAGS", raising=False)  # its runs have one device
    monkeypatch.setenv("SMOKE", "1")
    monkeypatch.chdir(tmp_path)
    names = {}
    with plt.rc_context():
        for cell in jupytext.read(RETRIEVAL).cells:
            if cell.cell_type == "code":
                exec("\n".join(line for line in cell.source.splitlines() if not line.startswith("%")), names)
    assert not list(tmp_path.iterdir())
    before, after = (names["FIGURES"][name] for name in ("before", "after"))
    assert all(0 < figures[f"map_{kind}"] < 1 for figures in (before, after) for kind in ("easy", "medium", "hard"))
    assert before["map_medium"] != after["map_medium"]
    assert len(names["BOXES"]) == 15  # 1 + 4 + 9 squares of a square map, and the whole
    assert names["BOXES"].min() == -0.5
    assert names["BOXES"].max() == names["SIZE"] - 0.5
    assert names["SHARES"].sum() == pytest.approx(names["COSINE"], abs=1e-4)
    truths = names["LANDMARKS"].ground_truth
    for row, truth in zip(names["RANKED"]["verified"], truths, strict=True):
        assert row[0] in truth["easy"] + truth["hard"]
    assert names["INLIERS"]["right"] > 2 * names["INLIERS"]["wrong"]
    assert names["OUT"]["coords"].shape == (2, 16, 16, 4, 2)


# ---- Sliders


@pytest.fixture
def explore(monkeypatch):
    """Runs the cells of the notebook of sliders, up to a word; returns its names, and under "made" its explorers."""
    monkeypatch.setenv("SMOKE", "1")

    def call(until):
        names = {"made": []}
        with plt.rc_context():
            for cell in itertools.takewhile(lambda cell: until not in cell.source, jupytext.read(EXPLORE).cells):
                if cell.cell_type == "code":
                    exec("\n".join(line for line in cell.source.splitlines() if not line.startswith("%")), names)
                    made = names["Explorer"]
                    if isinstance(made, type):
                        names["Explorer"] = lambda *a, made=made, **k: names["made"].append(made(*a, **k))
        return names

    return call


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).copy()


def drawn(explorer):
    """The first two images of the picture that the sliders gave last."""
    return [axes.images[0].get_array() for axes in explorer.panel.result.axes[:2]]


@pytest.mark.slow
def test_sliders_at_rest_give_the_image_itself(explore):
    pytest.importorskip("ipywidgets")
    names = explore("thin-plate spline")
    rests = {"angle": 0, "scale": 1, "x": 0, "y": 0, "shear": 0}, dict(zip("abcdef", (1, 0, 0, 0, 1, 0), strict=True))
    for explorer, rest in zip(names["made"], rests, strict=True):
        _, *sliders, _ = explorer.panel.children
        assert not np.allclose(*drawn(explorer), atol=0.1)
        for slider in sliders:
            slider.value = rest.pop(slider.description)
        assert not rest
        before, after = drawn(explorer)
        np.testing.assert_allclose(before, names["IMAGES"][names["FIRST"]])
        np.testing.assert_allclose(after, before, atol=1e-5)


@pytest.mark.slow
def test_every_slider_draws_another_picture(explore):
    pytest.importorskip("ipywidgets")
    for explorer in explore("never")["made"]:
        *sliders, _ = explorer.panel.children
        assert sliders
        for slider in sliders:
            before = pixels(explorer.panel.result)
            options = getattr(slider, "options", None)
            slider.value = options[-1] if options else slider.max
            assert not np.array_equal(pixels(explorer.panel.result), before), slider.description


@pytest.mark.slow
def test_runs_that_there_are_are_read(explore, monkeypatch, tmp_path):
    pytest.importorskip("ipywidgets")
    for name in ("digits_stn", "scenes"):
        words = ["--config", f"{FOLDER.parent}/configs/{name}.py:smoke", "--workdir", f"{tmp_path}/runs/{name}"]
        command = [sys.executable, FOLDER.parent / "train.py", *words, "--config.seed=3"]
        subprocess.run(command, check=True, capture_output=True, env=environment())
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    names = explore("never")
    assert names["RUN"].config.seed == 3
    assert names["VTN"].window == (3, 3)  # of scenes:smoke; the notebook's own has 7 x 7
    assert drawn(names["made"][-1])[0].shape == (64, 64, 3)  # as the run's own images are


@pytest.mark.slow
@pytest.mark.parametrize("installed", [True, False])
def test_pictures_stand_where_no_slider_can(installed, tmp_path):
    if installed:
        pytest.importorskip("ipywidgets")
    else:
        (tmp_path / "ipywidgets.py").write_text("raise ModuleNotFoundError(name='ipywidgets')")
    notebook = jupytext.read(EXPLORE)
    notebook.cells = list(itertools.takewhile(lambda cell: "thin-plate spline" not in cell.source, notebook.cells))
    paths = os.pathsep.join(filter(None, [str(tmp_path), str(FOLDER.parent), os.environ.get("PYTHONPATH")]))
    nbclient.NotebookClient(notebook, timeout=600).execute(env={**os.environ, "SMOKE": "1", "PYTHONPATH": paths})
    shown = [output.data for cell in notebook.cells for output in cell.get("outputs", [])]
    assert ["image/png" in data for data in shown] == [True, True]
    assert [WIDGET in data for data in shown] == [installed, installed]
