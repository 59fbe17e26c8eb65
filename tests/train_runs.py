"""Runs of train.py in processes of their own, small enough for a test, and what they leave."""

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

ROOT = Path(__file__).parents[1]
CONFIG = "configs/digits_stn.py:smoke"
SMALLER = "tests/smaller.py"
# A network without a transformer, whose tracing is most of a short run, for tests of what does not depend on one.
PLAIN = {"config": f"{SMALLER}:digits_stn:smoke,model=fcn,distortion=R", "network.parameters": 8000}
# For runs that compute longer than they compile, such as those of large convolutions.
OPTIMISED = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
CHANGING = ("train/images_per_second", "train/input_wait")


def environment(devices: int = 1, **more: str) -> dict[str, str]:
    """As the tests themselves compile: most of a short run is compilation."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    flags = re.sub(r"(device_count)=\d+", rf"\1={devices}", os.environ["XLA_FLAGS"])
    kept = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"  # of tests/conftest.py
    cache = {name: os.environ[name] for name in kept}
    quick = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "XLA_FLAGS": flags}
    return {**env, **cache, **quick, "MPLBACKEND": "Agg", **more}


def two_processes() -> list[dict[str, str]]:
    """The environments of two processes of four devices each, as a person would set them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    known = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": "2"}
    return [environment(4, JAX_PROCESS_ID=str(index), **known) for index in range(2)]


def command(*words: str | Path, config: str = CONFIG, **overrides) -> list[str]:
    settings = [f"--config.{key}={value}" for key, value in overrides.items()]
    return [sys.executable, "train.py", "--config", config, *map(str, words), *settings]


def start(workdir: Path, *words: str, config: str = CONFIG, env: dict[str, str] | None = None, **overrides):
    return subprocess.Popen(
        command("--workdir", workdir, *words, config=config, **overrides),
        cwd=ROOT,
        env=env or environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def run(workdir: Path, *words: str, expect: int = 0, **options) -> tuple[str, str]:
    """Stdout and stderr of a run that ends as expected."""
    return end(start(workdir, *words, **options), expect=expect)


# Runs of train.py one after the other, as `%run train.py` in a notebook makes them: a line in and a line out for each.
IN_TURN = """
import contextlib, io, json, runpy, sys, traceback

answers = sys.stdout
for line in sys.stdin:
    sys.argv = json.loads(line)
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    print(json.dumps([code, out.getvalue(), err.getvalue()]), file=answers, flush=True)
"""


@functools.cache
def interpreter(devices: int) -> subprocess.Popen:
    """A process that makes one run after the other; it ends with the tests, which close its input."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", IN_TURN], cwd=ROOT, env=environment(devices), text=True, **pipes)


def run_in_turn(workdir: Path, *words: str, expect: int = 0, devices: int = 1, **options) -> tuple[str, str]:
    """Stdout and stderr of a run in the interpreter of those before it: most of a run of few steps is its start."""
    process = interpreter(devices)
    print(json.dumps(command("--workdir", workdir, *words, **options)[1:]), file=process.stdin, flush=True)
    too_long = threading.Timer(180, process.kill)
    too_long.start()
    answer = process.stdout.readline()
    too_long.cancel()
    if not answer:
        interpreter.cache_clear()
        kill(process)
        raise AssertionError(f"the interpreter ended with {process.returncode}")
    code, out, err = json.loads(answer)
    assert code == expect, (code, out, err)
    return out, err


def end(process: subprocess.Popen, *, expect: int = 0) -> tuple[str, str]:
    try:
        out, err = process.communicate(timeout=180)
    finally:
        kill(process)
    assert process.returncode == expect, (process.returncode, out, err)
    return out, err


def kill(process: subprocess.Popen) -> None:
    process.kill()
    with process:
        pass


def complaint(workdir: Path, *words: str, **options) -> str:
    """What a run that cannot be says: one line on stderr. With an environment it has a process of its own."""
    _, err = (run if "env" in options else run_in_turn)(workdir, *words, expect=1, **options)
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("train.py: ")
    return lines[0].removeprefix("train.py: ")


def stop_when(process: subprocess.Popen, happened, number: int = signal.SIGKILL) -> None:
    """Send a signal as soon as something happened."""
    deadline = time.monotonic() + 300
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    process.send_signal(number)


def reached(workdir: Path, step: int):
    """Whether `metrics.jsonl` has a line of that step or a later one."""

    def check() -> bool:
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            return any(
                json.loads(line)["step"] >= step for line in (workdir / "metrics.jsonl").read_text().splitlines()
            )
        return False

    return check


def writing(workdir: Path, step: int):
    """Whether a checkpoint of that step or a later one is being written."""

    def check() -> bool:
        with contextlib.suppress(FileNotFoundError):
            names = [path.name for path in (workdir / "checkpoints").iterdir()]
            return any("tmp" in name and int(name.partition(".")[0]) >= step for name in names)
        return False

    return check


def metrics(workdir: Path) -> list[dict[str, float]]:
    """All lines but for what depends on the clock."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in CHANGING} for line in lines]


def arrays(workdir: Path, step: int) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by name, read without the library."""
    path = workdir / "checkpoints" / str(step) / "state"
    with contextlib.closing(ocp.PyTreeCheckpointer()) as reader:
        tree = reader.metadata(path).item_metadata.tree
        return reader.restore(path, restore_args=jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree))


def assert_same_run(one: Path, other: Path, step: int) -> None:
    """The same numbers to the last bit, and the same lines."""
    a, b = arrays(one, step), arrays(other, step)
    assert sorted(a) == sorted(b)
    assert any(name.startswith("params/") for name in a)
    for name in a:
        np.testing.assert_array_equal(a[name].reshape(-1).view(np.uint8), b[name].reshape(-1).view(np.uint8), name)
    assert metrics(one) == metrics(other)


def assert_smoke_run_ends(workdir: Path, config: str, *, figure: str = "accuracy", **options) -> None:
    """A short run ends with a figure and a picture. With an environment it has a process of its own."""
    out, _ = (run if "env" in options else run_in_turn)(workdir, config=config, **options)
    assert out.splitlines()[-1].startswith("finished: step ")
    assert f"test/{figure}" in metrics(workdir)[-1]
    assert (workdir / "figures" / "test.png").stat().st_size > 1000


def assert_ends_as_if_never_killed(folder: Path, logged: str, *, kill_at: int, steps: int, **options) -> None:
    """A run killed behind a step ends as one that was not, and every line of its training has a figure."""
    unbroken, killed = folder / "unbroken", folder / "killed"
    run_in_turn(unbroken, steps=steps, **options)
    process = start(killed, steps=steps, **options)
    try:
        stop_when(process, reached(killed, kill_at))
        assert process.wait(60) == -signal.SIGKILL
    finally:
        kill(process)
    out, _ = run_in_turn(killed, steps=steps, **options)
    assert "resuming from step" in out
    assert_same_run(killed, unbroken, steps)
    assert all(f"train/{logged}" in line for line in metrics(killed) if "train/loss" in line)


def checkpoints(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal())


def damage(workdir: Path, step: int, how: str) -> None:
    """Spoil the largest file of a checkpoint, the arrays: "truncate", "delete" or "flip" some bits of it."""
    path = max((p for p in (workdir / "checkpoints" / str(step)).rglob("*") if p.is_file()), key=_size)
    content = bytearray(path.read_bytes())
    if how == "delete":
        path.unlink()
    elif how == "truncate":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0x10
        path.write_bytes(content)


def copy(workdir: Path, to: Path) -> Path:
    shutil.copytree(workdir, to)
    return to


def _size(path: Path) -> int:
    return path.stat().st_size
