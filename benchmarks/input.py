"""Does training wait for its input? The pipeline's images per second beside the step's appetite, and both together.

    python benchmarks/input.py

prints a table for the digits' networks and writes results/input-<platform>.json.
"""

import argparse
import datetime
import itertools
import json
import os
import runpy
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from vtnjax import train
from vtnjax.data import train_batches

CONFIGS = Path(__file__).parent.parent / "configs"


def load_config(name: str, variant: str) -> Any:
    """A config by its file's name."""
    return runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"](variant)


def rate(batch_size: int, steps: int, work: Callable[[], Any]) -> float:
    """Images per second of `steps` batches."""
    began = time.perf_counter()
    work()
    return steps * batch_size / (time.perf_counter() - began)


def measure(variant: str, steps: int) -> dict[str, float]:
    """Images per second of the input alone, of the step alone, of both, and the share of time spent waiting."""
    config = load_config("digits_stn", variant)
    source, _ = train.build_sources(config)
    mesh, optimiser = train.data_mesh(), train.make_optimiser(config)
    graphdef, state = train.create_state(train.build_model(config, source), optimiser, 0)
    state = jax.device_put(state, train.replicated(mesh))

    def batches() -> Iterator[Any]:
        return train.to_devices(train_batches(source, batch_size=config.batch_size, seed=0), mesh)

    step = jax.jit(train.make_train_step(graphdef, optimiser, train.build_prepare(config)))
    batch = next(batches())
    jax.block_until_ready(step(state, batch))
    waited = 0.0

    def feed(count: int, stream: Iterator[Any] | None) -> None:
        nonlocal waited
        now, before = state, None
        for _ in range(count):
            began = time.perf_counter()
            item = batch if stream is None else next(stream)
            if before is None or before["loss"].is_ready():  # otherwise a step was under way all the while
                waited += time.perf_counter() - began
            now, metrics = step(now, item)
            jax.block_until_ready(before)  # at most two steps under way, as the loop keeps it
            before = metrics
        jax.block_until_ready(now)

    stream = batches()
    next(stream)
    alone = rate(config.batch_size, steps, lambda: list(itertools.islice(stream, steps)))
    appetite = rate(config.batch_size, steps, lambda: feed(steps, None))
    waited, began = 0.0, time.perf_counter()
    together = rate(config.batch_size, steps, lambda: feed(steps, batches()))
    share = waited / (time.perf_counter() - began)
    return {"input": alone, "step": appetite, "together": together, "waiting": share}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="batches of each measurement (default 200)")
    steps = parser.parse_args().steps
    print("| network | input images/s | step images/s | together images/s | waiting for input |\n|---|---|---|---|---|")
    results = []
    for model in ("st_fcn", "fcn", "st_cnn", "cnn"):
        figures = measure(f"model={model}", steps if model.endswith("fcn") else max(steps // 10, 5))
        results.append({"config": "digits_stn", "model": model, **figures})
        print(
            f"| {model} | {figures['input']:,.0f} | {figures['step']:,.0f} | {figures['together']:,.0f} | "
            f"{100 * figures['waiting']:.1f} % |",
            flush=True,
        )
    record = {
        "command": "python benchmarks/input.py",
        "date": datetime.date.today().isoformat(),
        "device": jax.devices()[0].device_kind,
        "cores": len(os.sched_getaffinity(0)),
        "jax": jax.__version__,
        "results": results,
    }
    path = Path(__file__).parent.parent / "results" / f"input-{jax.default_backend()}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
