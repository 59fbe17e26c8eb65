"""`--check_data`, and what a run says of the pictures it leaves out."""

import logging

import pytest
import train_runs as runs
from ml_collections import ConfigDict
from PIL import Image

from vtnjax import data, recipes

CONFIG = "configs/digits_stn.py:dataset=folder"


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "test"):
        for name in ("auk", "crow"):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(4):
                Image.new("L", (28, 28), number).save(tmp_path / split / name / f"{number}.png")
    return tmp_path


@pytest.fixture
def bad(folder):
    """Files that are cut short, a link to nothing and a folder, in both splits."""
    paths = [folder / name for name in ("train/auk/0.png", "train/crow/d.jpg", "test/auk/3.png", "test/crow/l.png")]
    for path in (paths[0], paths[2]):
        path.write_bytes(path.read_bytes()[:-20])
    paths[1].mkdir()
    paths[3].symlink_to(folder / "nowhere")
    (folder / "train" / "auk" / "notes.txt").write_text("seen at sea")
    return paths


def config_of(folder, **options):
    values = {"dataset": "folder", "data_dir": str(folder), "test_split": "test"}
    return ConfigDict({**values, "source_options": {"channels": 1, **options}})


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_what_is_bad_is_counted_and_told(folder, bad, on_error):
    said = []
    assert recipes.check_data(config_of(folder, on_error=on_error), said.append) == 4
    assert [line.partition(": ")[0] for line in said[:-1]] == list(map(str, bad))
    assert said[-1] == "4 of 18 pictures cannot be read"


def test_a_whole_set_has_nothing_to_tell(folder):
    said = []
    assert recipes.check_data(config_of(folder), said.append) == 0
    assert said == ["0 of 16 pictures cannot be read"]


def test_the_split_to_test_on_is_the_configs(folder):
    (folder / "test").rename(folder / "val")
    (folder / "val" / "auk" / "0.png").write_bytes(b"")
    config = config_of(folder)
    config.test_split = "val"
    assert recipes.check_data(config, lambda line: None) == 1


def test_what_is_left_out_is_said_once_however_often_it_is_set_up(folder, bad, capsys):
    for _ in range(2):
        recipes.show_left_out()
    try:
        data.load_source("folder", "test", data_dir=str(folder), on_error="skip")
        assert capsys.readouterr().err.splitlines() == [
            f"Skipped 2 of 9 files that do not decode: {bad[2]}, {bad[3]}",
        ]
    finally:
        logger = logging.getLogger("vtnjax.data")
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.NOTSET)


@pytest.mark.slow
def test_the_flag_lists_the_bad_pictures_and_leaves_no_workdir(folder, bad, tmp_path):
    options = {"config": CONFIG, "data_dir": folder}
    out, err = runs.run_in_turn(tmp_path / "run", "--check_data", expect=1, **options)
    assert [line.partition(": ")[0] for line in out.strip().splitlines()[:-1]] == list(map(str, bad))
    assert "Traceback" not in err
    for path in bad:
        path.rmdir() if path.is_dir() else path.unlink()
    out, _ = runs.run_in_turn(tmp_path / "run", "--check_data", **options)
    assert "0 of 14 pictures cannot be read" in out
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_run_names_what_it_skips_and_leaves_out(folder, bad, tmp_path):
    options = {"config": CONFIG, "data_dir": folder, "source_options.on_error": "skip", "batch_size": 500}
    _, err = runs.run_in_turn(tmp_path / "run", expect=1, **options)
    lines = err.strip().splitlines()
    assert f"Skipped 2 of 9 files that do not decode: {bad[0]}, {bad[1]}" in lines
    assert f"Skipped 2 of 9 files that do not decode: {bad[2]}, {bad[3]}" in lines
    assert (
        f"Left out 1 of 10 files and folders, which are no pictures by their names: {folder}/train/auk/notes.txt"
        in lines
    )
    assert "not 500" in lines[-1]
