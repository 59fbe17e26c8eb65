"""The heat of several trained networks in one figure."""

import runpy

import jax.numpy as jnp
import numpy as np
import pytest
from trained_runs import leave

from vtnjax import evaluate, plot, recipes
from vtnjax.experiments import heat

SMALL = "scenes:smoke,trunk=small"


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory):
    """Of a network without a warp and one with."""
    folder = tmp_path_factory.mktemp("runs")
    for step, warp in enumerate(("none", "stn")):
        leave(folder / warp, f"{SMALL},warp={warp}", {step: None})  # other weights at each step
    return folder


@pytest.mark.slow
def test_each_networks_heat_of_the_true_class_is_drawn_with_both_boxes(workdirs, tmp_path, monkeypatch, capsys):
    drawn, draw = {}, plot.heat

    def record(*args, **options):
        drawn.update(args=args, **options)
        return draw(*args, **options)

    monkeypatch.setattr(plot, "heat", record)
    heat.main([f"plain={workdirs}/none", f"STN={workdirs}/stn", "--out", str(tmp_path / "heat.png")])
    assert (tmp_path / "heat.png").read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "heat.png")
    images, heats, boxes = drawn["args"]
    assert list(heats) == list(boxes) == ["plain", "STN"]
    assert len(images) == len(drawn["true"]) == 6  # one of each class, in their order
    for name, warp in (("plain", "none"), ("STN", "stn")):
        run = recipes.load_run(workdirs / warp)
        assert drawn["titles"] == list(run.classes)
        features = np.asarray(run.model.features(run.as_input(jnp.asarray(images))))
        # A warp that was not trained is the identity.
        classifier = np.asarray(run.model.classifier.linear.kernel)
        expected = np.maximum(np.einsum("nhwk,kn->nhw", features, classifier), 0) / np.prod(features.shape[1:3])
        np.testing.assert_allclose(heats[name], expected, rtol=1e-3, atol=1e-6)
    assert not np.allclose(heats["plain"], heats["STN"])
    for name in heats:
        np.testing.assert_array_equal(boxes[name], evaluate.heat_boxes(heats[name], (64, 64)))


def test_what_cannot_be_drawn_together_is_said(workdirs, tmp_path):
    leave(tmp_path / "digits", "digits_stn:smoke", {1: None})
    with pytest.raises(SystemExit, match=r"heat: the runs must read images of one size .*, not as digits"):
        heat.main([f"plain={workdirs}/none", f"digits={tmp_path}/digits"])
    with pytest.raises(SystemExit, match=r"heat: the network must be one trunk and a classifier .* not STN"):
        heat.main([f"digits={tmp_path}/digits"])
    with pytest.raises(SystemExit, match="heat: a run must be NAME=WORKDIR, not 'runs/stn'"):
        heat.main(["runs/stn"])
    with pytest.raises(SystemExit, match="must be the workdir of a trained run"):
        heat.main([f"a={tmp_path}"])


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_the_module_is_a_command(monkeypatch):
    monkeypatch.setattr("sys.argv", ["heat", "runs/stn"])
    with pytest.raises(SystemExit, match="heat: a run must be NAME=WORKDIR, not 'runs/stn'"):
        runpy.run_module("vtnjax.experiments.heat", run_name="__main__")
