"""A checkout in a folder of its own, whose train.py trains nothing and writes what a run leaves."""

import textwrap

import pytest

from vtnjax.experiments import checkout, record, tables
from vtnjax.experiments.tables import Cell, Table

TRAIN = """
import json, os, sys, time
from pathlib import Path

words = sys.argv[1:]
given = dict(word.lstrip("-").split("=", 1) for word in words if word.startswith("--config."))
variant = words[words.index("--config") + 1].partition(":")[2]
workdir = Path(words[words.index("--workdir") + 1])
workdir.mkdir(parents=True, exist_ok=True)
cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
(workdir / "said.json").write_text(json.dumps({"words": words, "cores": cores, "began": time.time()}))
if "model=broken" in variant:
    sys.exit("train.py: this model is broken")
steps, seed = int(given.get("config.steps", 40)), int(given["config.seed"])
lines = [
    {"step": steps // 2, "train/loss": 2.0, "train/images_per_second": 100.0},
    {"step": steps, "train/loss": 1.0, "train/images_per_second": 50.0},
    {"step": steps, "test/loss": 0.5, "test/accuracy": 0.9 - 0.1 * seed},
]
(workdir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\\n" for line in lines))
"""

CONFIG = """
from ml_collections import ConfigDict


def get_config(variant=""):
    for item in filter(None, variant.split(",")):
        if item not in ("model=fcn", "model=cnn", "model=broken", "short", "split=validation"):
            raise ValueError(f"the variant must be of model, short, split, not {item!r}")
    numbers = {"steps": 40, "batch_size": 10, "learning_rate": 0.1, "seed": 0}
    parts = {"dataset": "digits", "data_dir": "", "tensorboard": False, "evaluation": {"name": "classification"}}
    return ConfigDict({**numbers, **parts})
"""

CELLS = {
    "FCN": {"R": Cell("model=fcn", 2.1), "P": Cell("model=fcn,short", None)},
    "CNN": {"R": Cell("model=cnn", 1.2)},
    "broken": {"R": Cell("model=broken", None)},
}


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """The folder of the checkout; its one table is "small"."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "train.py").write_text(textwrap.dedent(TRAIN))
    (tmp_path / "configs" / "small.py").write_text(textwrap.dedent(CONFIG))
    for module in (checkout, record):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setitem(tables.TABLES, "small", small)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def small():
    """A table of runs that take no time."""
    return Table("A paper's table", "small", CELLS)
