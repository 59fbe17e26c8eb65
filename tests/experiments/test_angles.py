"""The command of Figures 2 and 3 of Finnveden et al., on runs of a few steps."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from vtnjax import experiments
from vtnjax.experiments import angles

ROOT = Path(experiments.__file__).parents[2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for network in ("stn_sl1", "stn_c1"):
        command = ["train.py", "--config", f"configs/feature_maps.py:network={network},smoke"]
        command += ["--workdir", str(folder / network), "--config.dataset=digits"]
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return folder


@pytest.mark.slow
def test_it_writes_both_pictures_and_the_correlations(runs, tmp_path, capsys):
    found = angles.study([runs / "stn_sl1", runs / "stn_c1"], tmp_path)
    assert list(found) == ["STN-SL1", "STN-C1"]
    assert all(-1 <= value <= 1 for value in found.values())
    record = experiments.read_record(tmp_path / "angles.json")
    assert record["figures"] == {"digits": 1000, "correlation": found}
    assert record["seconds"] > 0
    assert (tmp_path / "angles.png").exists()
    assert (tmp_path / "aligned.png").exists()
    assert "STN-C1: correlation" in capsys.readouterr().out


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must be the workdir of a run, but it has no config\.json"):
        angles.study([tmp_path], tmp_path)


def test_a_run_of_another_network_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"network": {"name": "stn"}, "input": {"distortion": "R"}}))
    with pytest.raises(ValueError, match=r"must be a run of configs/feature_maps\.py with a transformer"):
        angles.study([tmp_path], tmp_path)


def test_two_runs_of_one_network_are_refused(tmp_path):
    network = {"name": "placed", "placements": [1], "mode": "shared"}
    config = {"network": network, "input": {"distortion": "R"}}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="must be of different networks, not of STN-SL1"):
        angles.study([tmp_path / "one", tmp_path / "two"], tmp_path)
