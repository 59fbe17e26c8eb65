import json

import pytest

from vtnjax.train import Console, MetricsFile, describe


def written(tmp_path, *steps):
    metrics = MetricsFile(tmp_path)
    for step in steps:
        metrics.write(step, {"train/loss": step / 10})
    return metrics


def test_a_line_is_an_object_with_its_step(tmp_path):
    metrics = written(tmp_path, 1, 2)
    assert (
        tmp_path / "metrics.jsonl"
    ).read_text() == '{"step": 1, "train/loss": 0.1}\n{"step": 2, "train/loss": 0.2}\n'
    assert metrics.read() == [{"step": 1, "train/loss": 0.1}, {"step": 2, "train/loss": 0.2}]


@pytest.mark.parametrize(
    "rest", ['{"step": 3, "train/lo', '{"step": 3, "train/loss": 0.3}', "3", "\x00\x00", "\n\n", "{}"]
)
def test_what_stands_after_the_checkpoint_is_cut_and_half_a_line_does_not_survive(tmp_path, rest):
    metrics = written(tmp_path, 1, 2)
    with metrics.path.open("a") as file:
        file.write(rest)
    metrics.cut_back(2)
    metrics.write(3, {"train/loss": 0.4})
    lines = [json.loads(line) for line in metrics.path.read_text().splitlines()]
    assert lines == [{"step": s, "train/loss": x} for s, x in ((1, 0.1), (2, 0.2), (3, 0.4))]
    metrics.cut_back(0)
    assert metrics.path.read_text() == ""


def test_bytes_that_are_no_text_do_not_survive(tmp_path):
    metrics = written(tmp_path, 1)
    with metrics.path.open("ab") as file:
        file.write(b'{"step": 2, "\xff\xfe')
    metrics.cut_back(5)
    assert metrics.read() == [{"step": 1, "train/loss": 0.1}]


def test_the_final_figures_are_the_test_figures_of_that_step(tmp_path):
    metrics = written(tmp_path, 1)
    metrics.write(1, {"test/loss": 1.0, "test/accuracy": 0.5})
    assert metrics.final(1) == {"test/loss": 1.0, "test/accuracy": 0.5}
    assert metrics.final(2) is None


def test_other_processes_write_nothing(tmp_path):
    metrics = MetricsFile(tmp_path, active=False)
    metrics.write(1, {})
    metrics.cut_back(0)
    assert not list(tmp_path.iterdir())


def test_figures_in_words():
    assert describe({"test/loss": 0.5, "test/accuracy": 0.9875}) == "test error 1.25 %, test loss 0.5000"
    assert describe({"test/accuracy": 0.5}, how="of two views") == "test error 50.00 % (of two views)"
    others = {"test/macro": 0.25, "test/accuracy": 0.5, "test/loss": 1.0, "test/Aves": 0.125}
    assert describe(others) == "test error 50.00 %, test loss 1.0000, macro 0.2500, Aves 0.1250"


def test_figures_in_words_are_not_those_of_each_seed():
    means, each = {"test/loss": 1.0, "test/accuracy": 0.5}, {"test/loss_0": 1.5, "test/accuracy_0": 0.25}
    assert describe({**means, **each}) == describe(means)


def test_lines_are_plain_where_there_is_no_terminal(capsys):
    console = Console(100, 0)
    console.advance()
    console.show(10, {"loss": 0.123456, "accuracy": 0.5, "images_per_second": 12345.6})
    console.say("hello")
    console.close()
    out, err = capsys.readouterr()
    assert out.startswith("step 10/100  loss 0.1235  accuracy 0.5  images per second 12,346")
    assert out.endswith("left\nhello\n")
    assert not err
    assert "\r" not in out
    assert "\x1b" not in out


def test_a_bar_is_drawn_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    console = Console(100, 40)
    console.advance()
    console.show(41, {"loss": 0.5})
    console.close()
    out, err = capsys.readouterr()
    assert "41/100" in err
    assert "step 41  loss 0.5" in out + err


def test_other_processes_show_nothing(capsys):
    console = Console(100, 0, active=False)
    console.show(1, {"loss": 1.0})
    console.say("hello")
    assert capsys.readouterr() == ("", "")
