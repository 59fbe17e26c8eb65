"""Runs side by side: shares of the cores, failures, interrupts."""

import os
import subprocess
import sys
import threading

import pytest

from vtnjax.experiments import cores


@pytest.fixture
def five(monkeypatch):
    monkeypatch.setattr(cores, "available_cores", lambda: [0, 1, 4, 5, 7])


@pytest.mark.usefixtures("five")
@pytest.mark.parametrize(("jobs", "shares"), [(1, 1), (2, 2), (3, 3), (99, 5)])
def test_runs_at_one_time_share_all_cores_and_none_twice(jobs, shares):
    together, taken = threading.Barrier(shares), []

    def task(share):
        together.wait(timeout=10)  # so many are under way at once, or this breaks
        taken.append(tuple(share))

    tasks = {str(number): task for number in range(2 * shares)}
    assert cores.run_side_by_side(tasks, jobs, say=lambda text: None) == []
    assert len(taken) == 2 * shares
    assert sorted(core for share in set(taken) for core in share) == [0, 1, 4, 5, 7]
    assert len(set(taken)) == shares


def test_a_run_that_fails_is_named_and_the_others_go_on():
    def fail(share):
        raise subprocess.CalledProcessError(3, ["train.py"])

    said, made = [], []
    tasks = {"first": fail, "second": made.append, "third": fail, "fourth": made.append}
    assert cores.run_side_by_side(tasks, 1, say=said.append) == ["first", "third"]
    assert len(made) == 2
    assert [line.partition(": ")[0] for line in said] == ["failed", "done", "failed", "done"]
    assert "returned non-zero exit status 3" in said[0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_starts_nothing_more(error):
    made, held = [], threading.Event()

    def stop(share):
        raise error

    def last(share):
        held.wait(timeout=0.2)  # the one that may have begun before the interrupt was seen
        made.append(share)

    with pytest.raises(error):
        cores.run_side_by_side({"first": stop, **{str(number): last for number in range(20)}}, 1)
    assert len(made) <= 1


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system does not say where a process runs")
def test_a_command_runs_on_its_share_and_prints_nothing(tmp_path, capfd):
    before = cores.available_cores()
    core = before[-1]
    program = "import os, sys; print('printed')\n"
    program += "open(sys.argv[1], 'w').write(str(os.sched_getaffinity(0)))"
    cores.run_on([core], [sys.executable, "-c", program, str(tmp_path / "said")])
    assert (tmp_path / "said").read_text() == str({core})
    assert capfd.readouterr().out == ""
    assert cores.available_cores() == before


def test_a_command_that_fails_raises_its_status():
    with pytest.raises(subprocess.CalledProcessError) as raised:
        cores.run_on(cores.available_cores(), [sys.executable, "-c", "raise SystemExit(7)"])
    assert raised.value.returncode == 7
