"""How much slower do transformers make the network of house numbers? STN 4.2: ST-CNN Multi is 6 % slower than the CNN.

    python benchmarks/house_numbers.py
    python benchmarks/house_numbers.py --batch 128        # on an accelerator: the paper's batch

times forward and backward passes at 64 x 64 pixels, the networks in turn, prints a table of medians and writes
results/house-numbers-<platform>.json.
"""

import argparse
import datetime
import json
import os
import statistics
import time
from pathlib import Path

import jax
import optax
from flax import nnx

from vtnjax import models
from vtnjax.train.memory import keep_freed_memory

MODELS = ("cnn", "single", "multi")
SIZE = 64


def make_pass(model: str, batch: int):
    """A compiled gradient of the loss to all parameters, and its arguments."""
    graphdef, params, rest = nnx.split(
        models.house_number_network(model, (SIZE, SIZE, 3), rngs=nnx.Rngs(0)), nnx.Param, ...
    )
    images = jax.random.uniform(jax.random.key(0), (batch, SIZE, SIZE, 3))
    labels = jax.random.randint(jax.random.key(1), (batch, 5), 0, 11)

    def loss(params, images, key):
        network = nnx.merge(graphdef, params, rest, copy=True)
        network.train()
        logits, _ = network(images, rngs=nnx.Rngs(dropout=key))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).sum(-1).mean()

    arguments = (params, images, jax.random.key(2))
    return jax.jit(jax.grad(loss)).lower(*arguments).compile(), arguments


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=16, help="images at a time (default 16)")
    parser.add_argument("--rounds", type=int, default=10, help="timed calls of each (default 10)")
    arguments = parser.parse_args()
    keep_freed_memory()
    passes = {model: make_pass(model, arguments.batch) for model in MODELS}
    times: dict[str, list[float]] = {model: [] for model in MODELS}
    for _ in range(arguments.rounds + 1):
        for model, (gradient, given) in passes.items():
            began = time.perf_counter()
            jax.block_until_ready(gradient(*given))
            times[model].append(1000 * (time.perf_counter() - began))
    medians = {model: statistics.median(found[1:]) for model, found in times.items()}
    print("| network | ms a step | over the CNN |\n|---|---|---|")
    for model, found in medians.items():
        print(f"| {model} | {found:.1f} | {100 * (found / medians['cnn'] - 1):+.1f} % |")
    record = {
        "command": f"python benchmarks/house_numbers.py --batch {arguments.batch} --rounds {arguments.rounds}",
        "date": datetime.date.today().isoformat(),
        "device": jax.devices()[0].device_kind,
        "cores": len(os.sched_getaffinity(0)),
        "jax": jax.__version__,
        "size": SIZE,
        "milliseconds": medians,
    }
    path = Path(__file__).parent.parent / "results" / f"house-numbers-{jax.default_backend()}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(f"\nwrote {path}")


if __name__ == "__main__":
    main()
