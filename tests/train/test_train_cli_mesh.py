import signal
import subprocess
import time

import numpy as np
import pytest
import train_runs as runs

pytestmark = pytest.mark.slow

FEW = {"config": f"{runs.SMALLER}:digits_stn:smoke", "steps": 10, "log_every": 1}
PLAIN = {**FEW, "optimiser": "sgd", "clip_norm": 0.0}
SHIPPED = FEW


def pair(workdir, *words, **overrides):
    """Two processes of four devices each, as a person would start them."""
    return [runs.start(workdir, "--distributed", *words, env=env, **overrides) for env in runs.two_processes()]


def run_pair(workdir, *words, **overrides):
    processes = pair(workdir, *words, **overrides)
    try:
        return [runs.end(process) for process in processes]
    finally:
        for process in processes:
            runs.kill(process)


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("one")
    runs.run_in_turn(workdir / "plain", **PLAIN)
    runs.run_in_turn(workdir / "shipped", **SHIPPED)
    return workdir


def assert_agrees(workdir, one_device):
    a, b = runs.arrays(workdir / "plain", 10), runs.arrays(one_device / "plain", 10)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=0, atol=1e-5, err_msg=name)
    a, b = (runs.metrics(folder / "shipped") for folder in (workdir, one_device))
    assert [line["step"] for line in a] == [*range(1, 11), 10]
    for one, other in zip(a, b, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_eight_devices_train_as_one_does(one_device, tmp_path):
    out, _ = runs.run_in_turn(tmp_path / "plain", devices=8, **PLAIN)
    assert "8 devices" in out
    runs.run_in_turn(tmp_path / "shipped", devices=8, **SHIPPED)
    assert_agrees(tmp_path, one_device)


def test_two_processes_begin_with_the_weights_of_another_run_as_one_does(one_device, tmp_path):
    words = "--init_from", str(one_device / "plain")
    run_pair(tmp_path / "two", *words, **PLAIN)
    runs.run_in_turn(tmp_path / "one", *words, **PLAIN)
    a, b = runs.arrays(tmp_path / "two", 10), runs.arrays(tmp_path / "one", 10)
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=0, atol=1e-5, err_msg=name)


def test_two_processes_of_four_devices_train_as_one_device_does(one_device, tmp_path):
    (out, _), (quiet, _) = run_pair(tmp_path / "plain", **PLAIN)
    assert "8 devices" in out
    assert "step" not in quiet
    run_pair(tmp_path / "shipped", **SHIPPED)
    assert_agrees(tmp_path, one_device)


def test_two_processes_test_themselves_on_more_batches_than_a_cpu_lets_be_under_way(tmp_path):
    few = {"config": "configs/digits_stn.py:smoke", "steps": 2, "batch_size": 8, "log_every": 1}
    (out, _), _ = run_pair(tmp_path, **few)
    assert "finished: step 2, test error" in out


LONGER = {
    **runs.PLAIN,
    "optimiser": "adam",
    "learning_rate": 0.001,
    "steps": 40,
    "log_every": 4,
    "eval_every": 15,
    "checkpoint_every": 7,
    "batch_size": 32,
}


@pytest.fixture(scope="module")
def unbroken_pair(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("pair")
    run_pair(workdir, **LONGER)
    return workdir


def test_two_processes_killed_while_they_write_a_checkpoint_resume_exactly(unbroken_pair, tmp_path):
    processes = pair(tmp_path, **LONGER)
    runs.stop_when(processes[0], runs.writing(tmp_path, 14))
    for process in processes:
        runs.kill(process)
    (out, _), _ = run_pair(tmp_path, **LONGER)
    assert "resuming from step" in out
    runs.assert_same_run(tmp_path, unbroken_pair, LONGER["steps"])


def test_two_processes_agree_that_a_checkpoint_is_damaged(unbroken_pair, tmp_path):
    workdir = runs.copy(unbroken_pair, tmp_path / "run")
    runs.damage(workdir, LONGER["steps"], "flip")
    (out, _), _ = run_pair(workdir, **LONGER)
    assert f"checkpoint {LONGER['steps']} is damaged" in out
    assert "resuming from step 35" in out
    runs.assert_same_run(workdir, unbroken_pair, LONGER["steps"])


def test_sigterm_to_one_process_stops_both_at_one_step(unbroken_pair, tmp_path):
    processes = pair(tmp_path, **LONGER)
    runs.stop_when(processes[0], runs.reached(tmp_path, 12), signal.SIGTERM)
    (out, _), _ = [runs.end(process, expect=143) for process in processes]
    assert "stopped by SIGTERM" in out
    run_pair(tmp_path, **LONGER)
    runs.assert_same_run(tmp_path, unbroken_pair, LONGER["steps"])


# What one of the two processes does otherwise: something raises where it would have gone on.
FAULTY = """
import runpy, sys
from vtnjax import evaluate, train
from vtnjax.data import pipeline
where, name, when, error = eval(sys.argv.pop(1))
ordinary = getattr(where, name)
def faulty(*arguments, **options):
    if when(*arguments):
        raise error("cat.jpg is cut off")
    return ordinary(*arguments, **options)
setattr(where, name, faulty)
runpy.run_path("train.py", run_name="__main__")
"""
BATCH = "(pipeline._StreamBatches, '__getitem__', lambda self, index: index == 20, ValueError)"
TEST = "(evaluate.Classification, '__call__', lambda *_: True, OSError)"
START = "(train, 'create_state', lambda *_: True, ValueError)"
FAULT = "(pipeline._StreamBatches, '__getitem__', lambda self, index: index == 20, KeyError)"


def start(workdir, env, how):
    python, script, *words = runs.command("--workdir", workdir, "--distributed", **LONGER)
    command = [python, "-c", FAULTY, how, *words] if how else [python, script, *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=runs.ROOT, env=env, text=True, **pipes)


def assert_both_end_with_its_sentence(workdir, how, faulty):
    hows = [how if index == faulty else "" for index in range(2)]
    processes = [start(workdir, env, each) for env, each in zip(runs.two_processes(), hows, strict=True)]
    try:
        errors = [""] * 2
        _, errors[faulty] = runs.end(processes[faulty], expect=1)
        began = time.monotonic()
        _, errors[1 - faulty] = runs.end(processes[1 - faulty], expect=1)
        assert time.monotonic() - began < 30
    finally:
        for process in processes:
            runs.kill(process)
    (heard,) = errors[1 - faulty].strip().splitlines()
    assert heard.startswith(f"train.py: process {faulty} ended: ")
    kept = "" if how == START else "the last good checkpoint is step 15. The same command goes on from there"
    for said in (errors[faulty], heard):
        assert "cat.jpg is cut off" in said
        assert kept in said
    if how != FAULT:
        assert len(errors[faulty].strip().splitlines()) == 1
    assert how == START or runs.checkpoints(workdir)[-1] == 15


@pytest.mark.parametrize(
    ("how", "faulty"),
    [(BATCH, 0), (BATCH, 1), (TEST, 0), (START, 0), (START, 1), (FAULT, 0), (FAULT, 1)],
    ids=["batch-0", "batch-1", "test-0", "start-0", "start-1", "fault-0", "fault-1"],
)
def test_an_error_of_one_process_ends_both_with_its_sentence(tmp_path, faulty, how):
    assert_both_end_with_its_sentence(tmp_path, how, faulty)


def test_two_processes_make_up_for_the_test_in_which_one_failed(unbroken_pair, tmp_path):
    assert_both_end_with_its_sentence(tmp_path, TEST, faulty=1)
    (out, _), _ = run_pair(tmp_path, **LONGER)
    assert "resuming from step 15" in out
    runs.assert_same_run(tmp_path, unbroken_pair, LONGER["steps"])
