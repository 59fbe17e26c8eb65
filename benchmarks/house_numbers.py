"""How much slower do transformers make the network of house numbers? STN 4.2: ST-CNN Multi is 6 % slower than the CNN.

    python benchmarks/house_numbers.py
    python benchmarks/house_numbers.py --batch 128        # on an accelerator: the paper's batch

times forward and backward passes at 64 x 64 pixels, the networks in turn, prints a table of medians and writes
results/house-numbers-<platform>.json.
"""

import argparse
import functools
import time

import jax
import optax
from flax import nnx
from saving import save
from timing import medians

from vtnjax import models
from vtnjax.train.memory import keep_freed_memory

MODELS = ("cnn", "single", "multi")
SIZE = 64


def make_pass(model: str, batch: int):
    """A compiled gradient of the loss to all parameters."""
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
    return functools.partial(jax.jit(jax.grad(loss)).lower(*arguments).compile(), *arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=16, help="images at a time (default 16)")
    parser.add_argument("--rounds", type=int, default=10, help="timed calls of each (default 10)")
    arguments = parser.parse_args()
    keep_freed_memory()
    began = time.perf_counter()
    passes = {model: make_pass(model, arguments.batch) for model in MODELS}
    found = medians(passes, arguments.rounds, calls=1, warm_seconds=0.0)
    print("| network | ms a step | over the CNN |\n|---|---|---|")
    for model, milliseconds in found.items():
        print(f"| {model} | {milliseconds:.1f} | {100 * (milliseconds / found['cnn'] - 1):+.1f} % |")
    command = f"python benchmarks/house_numbers.py --batch {arguments.batch} --rounds {arguments.rounds}"
    figures = {"size": SIZE, "milliseconds": found}
    save("house-numbers", command, seconds=time.perf_counter() - began, figures=figures)


if __name__ == "__main__":
    main()
