import os
import shutil
import signal
import subprocess

import pytest
import train_runs as runs

pytestmark = pytest.mark.slow

STEPS = 80
# Nothing is aligned: lines, tests and checkpoints fall on different steps.
TINY = {
    **runs.PLAIN,
    "steps": STEPS,
    "batch_size": 32,
    "optimiser": "momentum",
    "learning_rate": 0.01,
    "log_every": 4,
    "eval_every": 15,
    "checkpoint_every": 7,
}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("unbroken")
    runs.run_in_turn(workdir, **TINY)
    return workdir


def resumed_from(out: str) -> int:
    (line,) = [line for line in out.splitlines() if line.startswith("resuming from step ")]
    return int(line.split()[-1])


def test_a_run_killed_three_times_ends_as_if_never_killed(unbroken, tmp_path):
    moments = [runs.reached(tmp_path, 10), runs.writing(tmp_path, 28), runs.reached(tmp_path, 56)]
    for moment in moments:
        process = runs.start(tmp_path, **TINY)
        runs.stop_when(process, moment)
        assert process.wait(60) == -signal.SIGKILL
        runs.kill(process)
        with (tmp_path / "metrics.jsonl").open("a") as file:
            file.write('{"step": 9')
    out, _ = runs.run(tmp_path, **TINY)
    assert 0 < resumed_from(out) < STEPS
    runs.assert_same_run(tmp_path, unbroken, STEPS)


DIES_IN_A_TEST = """
import os, runpy, sys
from vtnjax import evaluate
ordinary, left = evaluate.Classification.__call__, int(sys.argv.pop(1))
def classification(*arguments):
    global left
    left -= 1
    return ordinary(*arguments) if left else os._exit(9)
evaluate.Classification.__call__ = classification
runpy.run_path("train.py", run_name="__main__")
"""


@pytest.mark.parametrize("number", [1, 2, 6])
def test_a_run_killed_between_a_save_and_its_test_makes_that_test_first(unbroken, tmp_path, number):
    python, _, *words = runs.command("--workdir", tmp_path, **TINY)
    died = subprocess.run(
        [python, "-c", DIES_IN_A_TEST, str(number), *words], cwd=runs.ROOT, env=runs.environment(), check=False
    )
    assert died.returncode == 9
    at = [15, 30, 45, 60, 75, STEPS][number - 1]
    assert runs.checkpoints(tmp_path)[-1] == at
    assert not [line for line in runs.metrics(tmp_path) if line["step"] == at and "test/loss" in line]
    out, _ = runs.run_in_turn(tmp_path, **TINY)
    assert resumed_from(out) == at
    runs.assert_same_run(tmp_path, unbroken, STEPS)
    assert runs.checkpoints(tmp_path) == runs.checkpoints(unbroken)
    for step in runs.checkpoints(unbroken):
        runs.assert_same_run(tmp_path, unbroken, step)
        ours, theirs = (w / "checkpoints" / str(step) / "metrics" / "metrics" for w in (tmp_path, unbroken))
        assert ours.exists() == theirs.exists()
        assert not ours.exists() or ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_exits_and_the_same_command_goes_on(unbroken, tmp_path, number):
    process = runs.start(tmp_path, **TINY)
    runs.stop_when(process, runs.reached(tmp_path, 30), number)
    out, _ = runs.end(process, expect=143)
    (saved,) = [line for line in out.splitlines() if "saved step" in line]
    assert f"stopped by {number.name}" in saved
    out, _ = runs.run_in_turn(tmp_path, **TINY)
    assert f"saved step {resumed_from(out)};" in saved
    runs.assert_same_run(tmp_path, unbroken, STEPS)


@pytest.mark.parametrize("how", ["truncate", "delete", "flip"])
def test_a_damaged_latest_checkpoint_is_reported_and_the_one_before_it_used(unbroken, tmp_path, how):
    workdir = runs.copy(unbroken, tmp_path / "run")
    *_, before, latest = runs.checkpoints(workdir)
    assert latest == STEPS
    runs.damage(workdir, latest, how)
    out, _ = runs.run_in_turn(workdir, **TINY)
    assert f"checkpoint {latest} is damaged" in out
    assert resumed_from(out) == before
    assert (workdir / "checkpoints" / f"damaged-{latest}").is_dir()
    runs.assert_same_run(workdir, unbroken, STEPS)


def test_a_second_trainer_is_refused_a_reader_is_not_and_a_killed_one_is_followed_at_once(unbroken, tmp_path):
    process = runs.start(tmp_path, **TINY)
    # Stopped, so that it is still there when the others have looked; the lock is the system's, and held all the same.
    runs.stop_when(process, runs.reached(tmp_path, 40), signal.SIGSTOP)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    said = runs.complaint(tmp_path, **TINY)
    assert f"the workdir {tmp_path} is being trained by process {process.pid} on {os.uname().nodename}" in said
    out, _ = runs.run_in_turn(tmp_path, "--eval_only", **TINY)
    assert "test error" in out.splitlines()[-1]
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    runs.kill(process)
    out, _ = runs.run_in_turn(tmp_path, **TINY)
    assert "may be alive" not in out
    runs.assert_same_run(tmp_path, unbroken, STEPS)


def test_a_finished_run_says_so_and_changes_nothing(unbroken):
    before = (unbroken / "metrics.jsonl").read_bytes()
    out, _ = runs.run_in_turn(unbroken, **TINY)
    accuracy = runs.metrics(unbroken)[-1]["test/accuracy"]
    assert f"this run is finished: step {STEPS}, test error {100 * (1 - accuracy):.2f} %" in out
    assert (unbroken / "metrics.jsonl").read_bytes() == before


def test_a_finished_run_makes_up_for_lost_figures_and_pictures(unbroken, tmp_path):
    workdir = runs.copy(unbroken, tmp_path / "run")
    (workdir / "metrics.jsonl").unlink()
    shutil.rmtree(workdir / "figures")
    out, _ = runs.run_in_turn(workdir, **TINY)
    assert runs.metrics(workdir) == runs.metrics(unbroken)[-1:]
    assert "finished: step" in out.splitlines()[-1]
    assert (workdir / "figures" / "test.png").exists()


def test_eval_only_prints_the_figures_and_writes_nothing(unbroken):
    before = {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")}
    out, _ = runs.run_in_turn(unbroken, "--eval_only", **TINY)
    accuracy = runs.metrics(unbroken)[-1]["test/accuracy"]
    assert f"step {STEPS}: test error {100 * (1 - accuracy):.2f} %" in out.splitlines()[-1]
    assert {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")} == before


def test_predictions_are_averaged_with_the_mirrored_images_and_other_runs(unbroken, tmp_path):
    other = tmp_path / "other"
    runs.run_in_turn(other, **{**TINY, "seed": 5, "learning_rate": 0.003})
    out, _ = runs.run_in_turn(unbroken, "--eval_only", "--flip", "--also", str(other), "--also", str(unbroken), **TINY)
    alone, _ = runs.run_in_turn(unbroken, "--eval_only", **TINY)
    assert out.splitlines()[-1].startswith(f"step {STEPS}: test error ")
    assert out.splitlines()[-1] != alone.splitlines()[-1]
    said = runs.complaint(unbroken, "--eval_only", "--also", str(tmp_path), **TINY)
    assert f"{tmp_path} must be the workdir of a trained run, but it has no checkpoints" in said


def test_another_config_is_refused_naming_the_difference(unbroken):
    before = (unbroken / "config.json").read_bytes()
    said = runs.complaint(unbroken, **{**TINY, "learning_rate": 0.5, "batch_size": 64})
    assert "batch_size must be 32, not 64; learning_rate must be 0.01, not 0.5" in said
    assert (unbroken / "config.json").read_bytes() == before


def test_the_last_line_has_the_test_figures_of_the_last_step(unbroken):
    lines = runs.metrics(unbroken)
    assert lines[-1].keys() == {"step", "test/loss", "test/accuracy"}
    assert lines[-1]["step"] == STEPS
    assert [line["step"] for line in lines if "test/loss" in line] == [15, 30, 45, 60, 75, STEPS]
    assert [line["step"] for line in lines if "train/loss" in line] == [*range(4, STEPS, 4), STEPS]
