"""What is installed: the wheel's contents, and `vtnjax train` from it and from an editable installation."""

import json
import os
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("vtnjax-*.whl")
    return path


def contents(wheel, folder):
    with zipfile.ZipFile(wheel) as archive:
        return {name.removeprefix(folder): archive.read(name) for name in archive.namelist() if name.startswith(folder)}


def test_the_wheel_carries_train_py_and_the_configs(wheel):
    scripts = [ROOT / "train.py", *(ROOT / "configs").glob("*.py")]
    assert len(scripts) > 5
    expected = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in scripts}
    assert contents(wheel, "vtnjax/_shipped/") == expected


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "vtnjax").rglob("*.py")} | {"vtnjax/py.typed"}
    names = {name for name in contents(wheel, "") if not name.startswith("vtnjax/_shipped/")}
    assert {name for name in names if not name.partition("/")[0].endswith(".dist-info")} == package


def install(folder, *what):
    """A new environment, outside the checkout, that finds what vtnjax needs in the one that runs the tests."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    # Read last, after the checkout of an editable installation.
    (Path(packages) / "zz-tests.pth").write_text("\n".join(site.getsitepackages()))
    command = [python, "-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation", *what]
    subprocess.run(command, check=True, capture_output=True, env=environment())
    return folder / "bin"


def environment():
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "PYTHON", "XLA_"))}
    # Compiled quickly, since it is run for three steps.
    quick = {
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": os.environ["JAX_COMPILATION_CACHE_DIR"],
    }
    return {**kept, **quick, "JAX_PLATFORMS": "cpu", "MPLBACKEND": "Agg"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["editable", "wheel"])
def test_an_installation_trains_outside_the_checkout(kind, wheel, tmp_path):
    commands = install(tmp_path / "environment", *(["--editable", ROOT] if kind == "editable" else [wheel]))
    here = tmp_path / "work"
    here.mkdir()

    def call(*command):
        result = subprocess.run(command, cwd=here, env=environment(), capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    home = Path(call(commands / "python", "-c", "from vtnjax.main import HOME; print(HOME)"))
    if kind == "editable":
        assert home == ROOT
    else:
        assert home.is_relative_to(tmp_path / "environment")
        assert home.parts[-2:] == ("vtnjax", "_shipped")

    said = call(commands / "vtnjax", "train", "--config", "digits_stn:smoke", "--config.steps=3")
    run = here / "runs" / "digits_stn-smoke"
    assert "finished: step 3" in said
    assert json.loads((run / "config.json").read_text())["steps"] == 3
    assert json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 3
    assert (run / "checkpoints" / "3").is_dir()
    assert (run / "figures" / "test.png").is_file()
