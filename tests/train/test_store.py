import sys
from pathlib import Path

import pytest

from vtnjax.train import find_workdir


def test_a_folder_is_itself_and_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(find_workdir("runs/a")) == "runs/a"
    assert str(find_workdir(tmp_path / "a:b")) == str(tmp_path / "a:b")
    assert str(find_workdir("~/runs/a")) == str(tmp_path / "runs" / "a")
    assert str(find_workdir("~")) == str(tmp_path)
    assert str(find_workdir("runs/~a")) == "runs/~a"


@pytest.mark.parametrize(
    "place",
    [
        "hdfs://host/run",
        "http://host/run",
        "file:///run",
        "az://bucket/run",
        "GS://bucket/run",
        "gs:/bucket/run",
        "gs://",
        "s3:///",
        Path("gs://bucket/run"),
        "gcs://bucket/run",
    ],
)
def test_other_schemes_are_refused(place):
    with pytest.raises(ValueError, match=r"a workdir must be a folder, gs://BUCKET/\.\.\. or s3://BUCKET/\.\.\., not"):
        find_workdir(place)


@pytest.mark.parametrize(("scheme", "package", "extra"), [("gs", "gcsfs", "gcs"), ("s3", "s3fs", "s3")])
def test_what_is_not_installed_is_said_with_its_extra(monkeypatch, scheme, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf'{scheme}:// needs {package}: pip install "vtnjax\[{extra}\]"'):
        find_workdir(f"{scheme}://bucket/run")
