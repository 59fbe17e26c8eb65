"""Runs side by side, each on its own share of the cores."""

import concurrent.futures
import contextlib
import os
import queue
import subprocess
from collections.abc import Callable, Mapping, Sequence

# What ends one run and says nothing about the others.
_FAILURES = (subprocess.CalledProcessError, OSError, ValueError, LookupError)


def available_cores() -> list[int]:
    """The numbers of the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def run_on(cores: Sequence[int], command: Sequence[str]) -> None:
    """A command to its end, on some of the cores where the system can say so; what it prints is not shown.

    Raises:
        subprocess.CalledProcessError: if it fails.
    """
    with _held(cores):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    with process:
        status = process.wait()
    if status:
        raise subprocess.CalledProcessError(status, command)


@contextlib.contextmanager
def _held(cores):
    """This thread, and so what it starts, on some of the cores."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run_side_by_side(
    tasks: Mapping[str, Callable[[Sequence[int]], None]], jobs: int, *, say: Callable[[str], None] = print
) -> list[str]:
    """Tasks, `jobs` at a time, each given a share of the cores of which none is empty.

    A task that fails is named, and the others go on. Anything else, such as an interrupt, starts no further task.

    Args:
        tasks: the tasks by their names.
        jobs: the number of tasks at a time, at most the number of cores.
        say: the function that shows a line.

    Returns:
        The names of the tasks that failed.
    """
    cores = available_cores()
    jobs = min(jobs, len(cores))
    shares: queue.Queue[list[int]] = queue.Queue()
    for number in range(jobs):
        shares.put(cores[number::jobs])

    def run(task):
        share = shares.get()
        try:
            task(share)
        finally:
            shares.put(share)

    failed = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        started = {pool.submit(run, task): name for name, task in tasks.items()}
        try:
            for future in concurrent.futures.as_completed(started):
                try:
                    future.result()
                    say(f"done: {started[future]}")
                except _FAILURES as error:
                    failed.append(started[future])
                    say(f"failed: {started[future]}: {error}")
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed
