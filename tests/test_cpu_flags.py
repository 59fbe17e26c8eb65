"""`vtnjax.cpu_flags` and the commands that set them, each in a process of its own, where JAX has not computed yet."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import vtnjax
from vtnjax import _cpu

ROOT = Path(__file__).parents[1]
FLAG = "--xla_cpu_experimental_ynn_fusion_type="
OWN = "--xla_cpu_enable_fast_min_max=true"
# Whether XLA gives a product to the library that the flag takes out, which its compiled programs name.
SHOW = """
import jax, jax.numpy as jnp
x = jnp.ones((64, 64))
print("flags:", os.environ.get("XLA_FLAGS"))
print("library:", "ynn" in jax.jit(lambda x: x @ x).lower(x).compile().as_text())
"""
# Each ends before it computes anything, with a sentence about a workdir.
COMMANDS = {
    "train.py": "runpy.run_path('train.py', run_name='__main__')",
    "vtnjax train": "runpy.run_module('vtnjax.main', run_name='vtnjax.main')['main']()",
    "vtnjax predict": "runpy.run_module('vtnjax.main', run_name='vtnjax.main')['main']()",
    "vtnjax export": "runpy.run_module('vtnjax.main', run_name='vtnjax.main')['main']()",
    "-m vtnjax.predict": "runpy.run_module('vtnjax.predict', run_name='__main__')",
    "-m vtnjax.export": "runpy.run_module('vtnjax.export', run_name='__main__')",
}
TRAIN = ["--config", "configs/digits_stn.py:smoke", "--eval_only", "--workdir", "nowhere"]


def run(code, *words, flags=None):
    """What the code prints, with `flags` as XLA_FLAGS, which stay unset without."""
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    env |= {} if flags is None else {"XLA_FLAGS": flags}
    command = [sys.executable, "-W", "ignore", "-c", f"import os, runpy, sys\n{code}", *words]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=env)
    assert result.returncode == 0, result.stderr
    return [line for line in result.stdout.splitlines() if line.startswith(("flags:", "library:", "jax"))]


def after(command, flags=None):
    """The flags behind a command, and whether XLA uses the library."""
    words = TRAIN if "train" in command else ["nowhere", "nothing"]
    code = f"""
sys.argv = [{command!r}, *{command.split()[1:] if command.startswith("vtnjax") else []}, *{words}]
try:
    {COMMANDS[command]}
except SystemExit as end:
    assert "nowhere" in str(end.code), end.code
else:
    raise AssertionError("the command did not end")
"""
    return run(code + SHOW, flags=flags)


@pytest.mark.slow
def test_the_installed_jaxlib_takes_the_flags_and_its_products_leave_the_library():
    assert run(SHOW) == ["flags: None", "library: True"]
    code = """
import vtnjax
os.environ.setdefault("XLA_FLAGS", vtnjax.cpu_flags())
print("jax" if "jax" in sys.modules else "jax comes later")
"""
    assert run(code + SHOW) == ["jax comes later", f"flags: {FLAG}", "library: False"]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_sets_the_flags_before_jax_computes(command):
    assert after(command) == [f"flags: {FLAG}", "library: False"]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flags", [OWN, ""])
def test_a_command_leaves_the_users_own_flags_alone(command, flags):
    assert after(command, flags) == [f"flags: {flags}", "library: True"]


@pytest.mark.parametrize("version", ["0.10.0", "0.10.2", "0.11.1.dev20260301", "0.12.0.1", "0.12rc1"])
def test_the_versions_that_know_the_flag(monkeypatch, version):
    monkeypatch.setattr(_cpu.importlib.metadata, "version", lambda name: version)
    assert vtnjax.cpu_flags() == FLAG


@pytest.mark.parametrize("version", ["0.4.38", "0.9.2", "0.13.0", "0.100.0", "1.0.0", "1.11.0"])
def test_a_jaxlib_that_is_not_known_to_have_the_flag_gets_none(monkeypatch, version):
    monkeypatch.setattr(_cpu.importlib.metadata, "version", lambda name: version)
    assert vtnjax.cpu_flags() == ""


@pytest.mark.parametrize("file", ["libtpu/__init__.py", "jax_plugins/cuda/__init__.py", "x-1.dist-info/METADATA"])
def test_a_plugin_for_an_accelerator_gets_no_flags_of_a_cpu(monkeypatch, tmp_path, file):
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text("Metadata-Version: 2.1\nName: x\nVersion: 1\n" if path.name == "METADATA" else "")
    if path.name == "METADATA":
        path.with_name("entry_points.txt").write_text("[jax_plugins]\nx = x\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert vtnjax.cpu_flags() == ""


def test_without_jaxlib_there_are_no_flags(monkeypatch):
    def missing(name):
        raise _cpu.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(_cpu.importlib.metadata, "version", missing)
    assert vtnjax.cpu_flags() == ""
