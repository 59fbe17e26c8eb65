"""`vtnjax predict`: what is printed and written, what is skipped, and what its exit code says."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import train_runs
import trained_runs as runs

from vtnjax import data, predict, recipes


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    runs.leave(workdir, "digits_stn:smoke,model=fcn,distortion=none", {2: 0.9, 4: 0.5}, test_images=4)
    return workdir


@pytest.fixture
def pictures(tmp_path):
    """Three digits, one of them in a folder of the folder and one without a suffix, and what is no picture by name."""
    source, folder = data.Generated("test", count=3), tmp_path / "pictures"
    (folder / "more" / ".hidden").mkdir(parents=True)
    for index, name in enumerate(("b.png", "a.PNG", "more/b.png")):
        cv2.imwrite(str(folder / name), source[index]["image"])
    shutil.copy(folder / "b.png", folder / "more" / "bare")
    shutil.copy(folder / "b.png", folder / "more" / ".hidden" / "c.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def answers(workdir, *words, capsys, expect=None):
    """The lines on stdout and on stderr."""
    if expect is None:
        predict.main([str(workdir), *map(str, words)])
    else:
        with pytest.raises(SystemExit) as caught:
            predict.main([str(workdir), *map(str, words)])
        assert caught.value.code == expect
    said = capsys.readouterr()
    return said.out.splitlines(), said.err.splitlines()


@pytest.mark.slow
def test_each_picture_gets_a_line_of_its_first_classes(workdir, pictures, capsys):
    out, err = answers(workdir, pictures / "b.png", pictures, "--top", 2, capsys=capsys)
    names = ["b.png", "a.PNG", "b.png", "more/b.png", "more/bare"]
    assert [line.partition(": ")[0] for line in out] == [str(pictures / name) for name in names]
    assert err == []
    run = recipes.load_run(workdir)
    for line, name in zip(out, names, strict=True):
        prediction = run.predict(pictures / name)[0][0]
        first = sorted(range(10), key=lambda label, prediction=prediction: -prediction[label])[:2]
        assert line.partition(": ")[2] == ", ".join(f"{run.classes[each]} {prediction[each]:.3f}" for each in first)


@pytest.mark.slow
def test_a_checkpoint_may_be_chosen(workdir, pictures, capsys):
    said = {
        step: answers(workdir, pictures / "b.png", "--step", step, capsys=capsys)[0]
        for step in ("latest", "best", "2", "4")
    }
    assert said["latest"] == said["4"] != said["best"] == said["2"]


def test_what_cannot_be_read_is_named_and_skipped(workdir, pictures, tmp_path, capsys):
    (pictures / "bad.jpg").write_text("x")
    asked = pictures, tmp_path / "gone.png", "--json", tmp_path / "a" / "b.json", "--csv", tmp_path / "c" / "d.csv"
    expect = "vtnjax predict: 2 of 6 pictures were skipped"
    out, err = answers(workdir, *asked, "--top", 3, capsys=capsys, expect=expect)
    assert len(out) == 4
    assert err[0].startswith(f"{pictures / 'bad.jpg'} is skipped: cannot be read (data must be")
    assert err[1] == f"{tmp_path / 'gone.png'} is skipped: cannot be read (No such file or directory)"
    written = json.loads((tmp_path / "a" / "b.json").read_text())
    assert (written["workdir"], written["step"]) == (str(workdir), 4)
    assert [each["file"] for each in written["skipped"]] == [str(pictures / "bad.jpg"), str(tmp_path / "gone.png")]
    assert written["skipped"][1]["reason"] == "cannot be read (No such file or directory)"
    with (tmp_path / "c" / "d.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    for picture, line, rank in zip(written["pictures"], out, range(0, 12, 3), strict=True):
        (label,) = picture["labels"]
        said = ", ".join(f"{each['class']} {each['probability']:.3f}" for each in label)
        assert line == f"{picture['file']}: {said}"
        assert [(row["file"], row["label"], int(row["rank"]), row["class"]) for row in rows[rank : rank + 3]] == [
            (picture["file"], "1", number, each["class"]) for number, each in enumerate(label, 1)
        ]


def test_pictures_of_one_name_are_drawn_beside_each_other(workdir, pictures, tmp_path, capsys):
    answers(workdir, pictures, pictures / "b.png", "--pictures", tmp_path / "drawn", capsys=capsys)
    drawn = {path.name: cv2.imread(str(path)) for path in (tmp_path / "drawn").iterdir()}
    assert sorted(drawn) == ["a.png", "b-2.png", "b.png", "bare.png"]
    assert (drawn["b.png"] == drawn["bare.png"]).all()  # one digit, under two names
    assert (drawn["b.png"] != drawn["b-2.png"]).any()


def test_no_drawing_takes_the_place_of_another(tmp_path):
    files = [Path("a.jpg"), Path("x/a.jpg"), Path("a-2.png"), Path("a.jpg"), Path("b")]
    drawings = predict._drawings(files, tmp_path)
    assert [drawings[file].name for file in files] == ["a.png", "a-2.png", "a-2-2.png", "a.png", "b.png"]


def test_more_pictures_than_a_batch_are_answered_in_their_order(workdir, tmp_path, capsys, monkeypatch):
    source = data.Generated("test", count=7)
    for index in range(7):
        cv2.imwrite(str(tmp_path / f"{index}.png"), source[index]["image"])
    (tmp_path / "3.png").write_text("x")
    expect = "vtnjax predict: 1 of 7 pictures were skipped"
    whole, _ = answers(workdir, tmp_path, capsys=capsys, expect=expect)
    sizes = []
    forward = recipes.Run.forward
    monkeypatch.setattr(predict, "_BATCH", 3)
    monkeypatch.setattr(
        recipes.Run,
        "forward",
        lambda run, prepared, *, batch_size: sizes.append(batch_size) or forward(run, prepared, batch_size=batch_size),
    )
    assert answers(workdir, tmp_path, capsys=capsys, expect=expect)[0] == whole
    assert sizes == [3, 3, 3]  # one compiled program


def test_several_labels_stand_side_by_side():
    prediction = np.array([[[0.1, 0.9], [0.75, 0.25]]], np.float32)
    labels = predict._first(("a", "b"), prediction, 5)
    assert predict.Answer(Path("x"), labels).line() == "x: b 0.900, a 0.100 | a 0.750, b 0.250"


def test_what_is_wrong_ends_with_a_sentence(workdir, tmp_path, capsys):
    for words, said in (
        ((tmp_path, tmp_path / "a.png"), "must be the workdir of a trained run, but it has no checkpoints"),
        ((workdir, tmp_path), f"there is no picture in {tmp_path}"),
        ((workdir, tmp_path / "a.png", "--step", "3"), "step must be 'latest', 'best' or one of"),
    ):
        with pytest.raises(SystemExit, match=r"^vtnjax predict: ") as caught:
            predict.main(list(map(str, words)))
        assert said in caught.value.code
    with pytest.raises(SystemExit) as caught:
        predict.main([str(workdir), "a.png", "--top", "0"])
    assert caught.value.code == 2
    assert "--top must be at least 1, not 0" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_of_train_py_predicts_as_it_was_scored(tmp_path):
    tiny = {"steps": 3, "log_every": 1, "eval_every": 3, "checkpoint_every": 3}
    train_runs.run(tmp_path / "run", config="configs/digits_stn.py:smoke,model=fcn,distortion=none", **tiny)
    source = data.Generated("test")
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(len(source)):
        cv2.imwrite(str(folder / f"{index}.png"), source[index]["image"])
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "vtnjax.predict",
        tmp_path / "run",
        folder,
        "--json",
        tmp_path / "a.json",
    ]
    ran = subprocess.run(
        command, cwd=runs.ROOT, env=train_runs.environment(), capture_output=True, text=True, check=True
    )
    assert ran.stderr == ""
    written = json.loads((tmp_path / "a.json").read_text())
    guesses = {int(Path(each["file"]).stem): each["labels"][0][0]["class"] for each in written["pictures"]}
    right = np.mean([source.classes[source[index]["label"]] == guess for index, guess in guesses.items()])
    assert train_runs.metrics(tmp_path / "run")[-1]["test/accuracy"] == pytest.approx(right, abs=1e-6)
    assert len(guesses) == len(source)
