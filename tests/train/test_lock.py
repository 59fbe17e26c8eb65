import json
import os
import signal
import subprocess
import sys
import time

import pytest
import train_runs as runs

from vtnjax.train import Lock, LockedError, lock

HOLD = """
import sys, time
from vtnjax.train import lock
lock.BEAT = float(sys.argv[2])
held = lock.Lock(sys.argv[1])
print("held", flush=True)
time.sleep(600)
"""
FOREIGN = {"host": "elsewhere", "process": 7, "machine": "another/1/2", "run": "theirs", "beat": 3}


@pytest.fixture
def hold():
    """Another process that has the lock of a workdir."""
    processes = []

    def start(workdir, beat=10.0):
        command = [sys.executable, "-c", HOLD, str(workdir), str(beat)]
        process = subprocess.Popen(command, cwd=runs.ROOT, env=runs.environment(), text=True, stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in processes:
        runs.kill(process)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.05)
    monkeypatch.setattr(lock, "STALE", 0.5)


def fake(workdir, **changes):
    (workdir / "lock").write_text(json.dumps({**FOREIGN, **changes}))


@pytest.mark.slow
def test_a_second_trainer_is_refused_naming_host_and_process_and_is_not_once_the_first_is_killed(hold, tmp_path):
    process = hold(tmp_path)
    for _ in range(2):  # the refused one has not spoilt the lock
        with pytest.raises(
            LockedError, match=f"{tmp_path} is being trained by process {process.pid} on {os.uname().nodename}"
        ):
            Lock(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    began = time.monotonic()
    Lock(tmp_path, say=pytest.fail).release()
    assert time.monotonic() - began < 5


def test_what_is_released_can_be_taken_at_once(tmp_path):
    first = Lock(tmp_path)
    with pytest.raises(LockedError):
        Lock(tmp_path)
    first.release()
    first.release()
    assert (tmp_path / "lock").read_bytes() == b""
    Lock(tmp_path, say=pytest.fail).release()


def test_another_machine_that_gives_no_sign_of_life_is_waited_for_and_then_dead(quick, tmp_path):
    fake(tmp_path)
    said, began = [], time.monotonic()
    held = Lock(tmp_path, say=said.append)
    assert 0.5 <= time.monotonic() - began < 5
    (line,) = said
    assert "process 7 on elsewhere" in line
    assert "s unless it shows a sign of life" in line
    held.check()
    assert json.loads((tmp_path / "lock").read_text())["process"] == os.getpid()
    held.release()


def test_another_machine_that_is_alive_refuses(quick, tmp_path):
    fake(tmp_path)
    with pytest.raises(LockedError, match="is being trained by process 7 on elsewhere"):
        Lock(tmp_path, say=lambda line: fake(tmp_path, beat=4))


def test_another_machine_that_ends_meanwhile_is_followed_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(lock, "BEAT", 0.5)
    fake(tmp_path)
    began = time.monotonic()
    Lock(tmp_path, say=lambda line: (tmp_path / "lock").write_text("")).release()
    assert time.monotonic() - began < 10


def test_the_record_changes_with_every_beat(quick, tmp_path):
    held = Lock(tmp_path)
    seen = set()
    for _ in range(200):
        seen.add(json.loads((tmp_path / "lock").read_text())["beat"])
        time.sleep(0.01)
    assert len(seen) > 3
    held.release()


def test_whoever_was_thought_dead_and_is_not_learns_that_the_workdir_is_taken(quick, tmp_path):
    held = Lock(tmp_path)
    held.check()
    fake(tmp_path)
    time.sleep(1)
    with pytest.raises(LockedError, match="was taken over by process 7 on elsewhere"):
        held.check()
    held.release()
    assert json.loads((tmp_path / "lock").read_text()) == FOREIGN


@pytest.mark.parametrize("text", ["", "{", "3", '{"host": "elsewhere"}', "\x00" * 20])
def test_a_record_that_is_none_holds_nobody_up(tmp_path, text):
    (tmp_path / "lock").write_text(text)
    Lock(tmp_path, say=pytest.fail).release()


def test_where_files_cannot_be_locked_the_beats_decide(quick, hold, tmp_path, monkeypatch):
    process = hold(tmp_path, beat=0.05)

    def unsupported(*_):
        raise OSError("no locks available")

    monkeypatch.setattr(lock.fcntl, "flock", unsupported)
    with pytest.raises(LockedError, match=f"is being trained by process {process.pid} on"):
        Lock(tmp_path, say=lambda line: None)
    process.send_signal(signal.SIGKILL)
    process.wait()
    said = []
    Lock(tmp_path, say=said.append).release()
    assert len(said) == 1


def test_a_workdir_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=f"the workdir {tmp_path}/file/run cannot be written"):
        Lock(tmp_path / "file" / "run")
