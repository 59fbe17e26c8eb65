"""Medians of timed calls, for every benchmark alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

CALLS = 5


def turns(
    contenders: Mapping[str, Callable[[], Any]],
    rounds: int,
    wait: Callable[[Any], Any] = jax.block_until_ready,
    *,
    calls: int = CALLS,
    burst: int = 1,
    warm_seconds: float = 0.03,
) -> dict[str, list[float]]:
    """Milliseconds of every timed call of each, the contenders taking turns after one untimed call.

    Args:
        contenders: what to call, by name.
        rounds: how many turns each has.
        wait: for what a call returned.
        calls: timed, of a turn.
        burst: how many calls follow each other before they are waited for, as an accelerator is used; they are timed as
            one, and the time is shared out.
        warm_seconds: for how long a turn begins with untimed calls, where contenders disturb each other: OpenMP's
            threads spin on for milliseconds and would hold a core that is the other's, and a core that slept is slow
            to wake.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for call in contenders.values():
        wait(call())
    for _ in range(rounds):
        for name, call in contenders.items():
            start = time.perf_counter()
            while time.perf_counter() - start < warm_seconds:
                wait(call())
            for _ in range(calls):
                began = time.perf_counter()
                for _ in range(burst - 1):
                    call()
                wait(call())
                times[name].append(1000 * (time.perf_counter() - began) / burst)
    return times


def medians(
    contenders: Mapping[str, Callable[[], Any]],
    rounds: int,
    wait: Callable[[Any], Any] = jax.block_until_ready,
    **options: Any,
) -> dict[str, float]:
    """Median milliseconds of a call of each; the arguments are those of `turns`."""
    return {name: statistics.median(values) for name, values in turns(contenders, rounds, wait, **options).items()}


def beside_torch(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int, **options: Any) -> dict[str, float]:
    """Median milliseconds of both, and the median of the ratios of neighbouring turns."""
    times = turns({"vtnjax": ours, "torch": theirs}, rounds, **options)
    ratios = [a / b for a, b in zip(*times.values(), strict=True)]
    return {**{who: statistics.median(values) for who, values in times.items()}, "ratio": statistics.median(ratios)}


def median(call: Callable[[], Any], rounds: int, *, burst: int = 1) -> float:
    """Median milliseconds of a call, after one untimed call; `burst` is as `medians` takes it."""
    return medians({"": call}, rounds, calls=1, burst=burst, warm_seconds=0.0)[""]
