"""The checkout is found, and where there is none a sentence says what is needed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vtnjax
from vtnjax.experiments import checkout
from vtnjax.experiments.__main__ import main

ROOT = Path(vtnjax.__file__).parents[1]


def test_the_checkout_holds_train_py_and_the_configs():
    assert checkout.find_checkout() == ROOT
    assert (ROOT / "configs" / "digits_stn.py").is_file()


@pytest.mark.parametrize("missing", ["train.py", "configs"])
def test_a_folder_that_lacks_a_part_is_none(fake, missing):
    assert checkout.find_checkout() == fake
    path = fake / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ValueError, match=r"needs train\.py and the configs of a checkout"):
        checkout.find_checkout()


@pytest.mark.parametrize("words", [(), ("--render",)])
def test_a_table_outside_a_checkout_ends_with_a_sentence(tmp_path, monkeypatch, words):
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match=r"needs train\.py and the configs of a checkout"):
        main(["stn_table1", *words])


@pytest.mark.slow
@pytest.mark.parametrize("study", ["addition RUN", "angles RUN", "colocalisation --images T"])
def test_a_study_outside_a_checkout_ends_with_a_sentence(tmp_path, study):
    shutil.copytree(ROOT / "vtnjax", tmp_path / "vtnjax", ignore=shutil.ignore_patterns("__pycache__"))
    name, *words = study.split()
    command = [sys.executable, "-m", f"vtnjax.experiments.{name}", *words]
    done = subprocess.run(command, cwd=tmp_path, env=alone(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{name}: vtnjax.experiments needs train.py and the configs of a checkout")
    assert not (tmp_path / "results").exists()


def alone(folder):
    return {**os.environ, "PYTHONPATH": str(folder), "JAX_PLATFORMS": "cpu"}
