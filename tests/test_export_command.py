"""`vtnjax export`: a program that gives a run's figures where vtnjax cannot be imported."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
import trained_runs as runs

import vtnjax
from vtnjax import export

CALL = """
import json, pathlib, sys
sys.modules["vtnjax"] = sys.modules["flax"] = None
import jax, numpy as np
from jax import export
program, images, answers = sys.argv[1:]
said = json.loads(pathlib.Path(program + ".json").read_text())
images = np.load(images)
assert list(images.shape[1:]) == said["input"]["shape"][1:] and str(images.dtype) == said["input"]["dtype"]
called = export.deserialize(bytearray(pathlib.Path(program).read_bytes())).call
np.savez(answers, *(called(images[:count]) for count in (1, len(images))))
try:
    import vtnjax
except ImportError:
    print(jax.__version__)
"""


def exported(tmp_path, config):
    """A run, and the path of its program."""
    runs.leave(tmp_path / "run", config, {2: 0.9, 4: 0.5}, test_images=8)
    export.main([str(tmp_path / "run"), str(tmp_path / "out" / "program"), "--step", "best"])
    return vtnjax.load_run(tmp_path / "run", step=2), tmp_path / "out" / "program"


def assert_called_back(tmp_path, run, program):
    images = np.random.default_rng(0).integers(0, 256, (5, *run.shape), np.uint8)
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", CALL, program, tmp_path / "images.npy", tmp_path / "answers.npz"]
    ran = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env={"PATH": "", "JAX_PLATFORMS": "cpu"}
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"{jax.__version__}\n"
    one, many = np.load(tmp_path / "answers.npz").values()
    wanted, _ = run.forward(images)
    np.testing.assert_allclose(many, wanted, atol=1e-5)
    np.testing.assert_allclose(one, wanted[:1], atol=1e-5)
    assert wanted.std() > 20 * 1e-5


def test_a_program_gives_the_runs_figures_without_vtnjax(tmp_path, capsys):
    run, program = exported(tmp_path, "digits_stn:smoke,model=fcn")
    said = capsys.readouterr().out
    assert said == f"{program}: step 2, for cpu, cuda, tpu; {program}.json says what it takes and gives\n"
    assert_called_back(tmp_path, run, program)
    assert json.loads((program.parent / "program.json").read_text()) == {
        "preparation": "Resize the image to 28 x 28 pixels, then put it in the middle of a black image of 42 x 42. "
        "The pixels are uint8, grey; the program normalises them.",
        "input": {"shape": ["n", 42, 42, 1], "dtype": "uint8"},
        "output": {"shape": ["n", 10], "dtype": "float32"},
        "classes": [str(digit) for digit in range(10)],
        "platforms": ["cpu", "cuda", "tpu"],
        "step": 2,
        "jax": jax.__version__,
    }


@pytest.mark.slow
@pytest.mark.parametrize("config", ["digits_stn:smoke", "cub_stn:smoke,backbone=small", "svhn_stn:smoke,model=single"])
def test_programs_of_transformers_photographs_and_several_labels_do_too(tmp_path, config):
    run, program = exported(tmp_path, config)
    assert_called_back(tmp_path, run, program)


def test_what_is_no_run_ends_with_a_sentence(tmp_path):
    with pytest.raises(SystemExit, match=r"^vtnjax export: .* must be the workdir of a trained run"):
        export.main([str(tmp_path), str(tmp_path / "program")])
    assert list(tmp_path.iterdir()) == []
