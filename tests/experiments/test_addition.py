"""Which digit a transformer follows: the figures against places that are known, the command on a run of a few steps."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import ndimage

from vtnjax import experiments
from vtnjax.experiments import addition

ROOT = Path(experiments.__file__).parents[2]


@pytest.fixture
def digits():
    return np.random.default_rng(0).uniform(size=(40, 6, 7, 2)) ** 20  # most of the ink is in few pixels


def centres(digits, channel):
    return np.array([ndimage.center_of_mass(image)[::-1] for image in digits[..., channel]])


def test_a_window_at_a_digit_follows_it_and_another_does_not(digits):
    rng = np.random.default_rng(1)
    grid = rng.normal(size=(3, 5, 2))
    grid -= grid.mean((0, 1))
    read = np.stack([10 - 2 * centres(digits, 1), rng.normal(size=(40, 2))], 1)  # (n, 2, 2)
    found = addition.follows(grid[:, :, None] + read[:, None, None], digits)
    assert_allclose(found[0, 1], -1, atol=1e-9)
    for transformer, digit in ((0, 0), (1, 0), (1, 1)):
        pairs = zip(read[:, transformer].T, centres(digits, digit).T, strict=True)
        assert_allclose(found[transformer, digit], np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]), atol=1e-9)


def test_a_window_that_stays_follows_nothing(digits):
    assert_allclose(addition.follows(np.ones((40, 3, 5, 2)), digits), [[0, 0]])


@pytest.mark.slow
@pytest.mark.parametrize(("model", "rows"), [("2xst_fcn", 2), ("st_fcn", 1)])
def test_the_command_writes_picture_and_correlations(tmp_path, capsys, model, rows):
    command = ["train.py", "--config", f"configs/two_digits.py:model={model},smoke", "--workdir", str(tmp_path / "run")]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    found = addition.study(tmp_path / "run", tmp_path)
    assert found.shape == (rows, 2)
    record = experiments.read_record(tmp_path / "addition.json")
    assert_allclose(record["figures"]["correlation"], found, atol=1e-4)
    assert (record["steps"], record["seconds"] > 0) == (20, True)
    assert (tmp_path / "addition.png").exists()
    assert f"transformer {rows} follows the first digit by" in capsys.readouterr().out


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must be the workdir of a run, but it has no config\.json"):
        addition.study(tmp_path, tmp_path)


@pytest.mark.parametrize("network", [{"name": "stn"}, {"name": "two_digits", "model": "vtn_two"}])
def test_a_run_of_another_network_is_refused(tmp_path, network):
    (tmp_path / "config.json").write_text(json.dumps({"network": network}))
    with pytest.raises(ValueError, match=r"a run of configs/two_digits\.py with model=2xst_fcn or model=st_fcn"):
        addition.study(tmp_path, tmp_path)
