"""What does inference by TASN's master-net cost, beside the plain backbone and beside both nets?

    python benchmarks/tasn.py

ResNet-50 on images of 224 x 224, alone and inside TASN, which samples them from 512 x 512 by the attention of a
ResNet-18 without two of its strides. Prints operations, as XLA counts them, and milliseconds an image, and writes
results/tasn-<platform>.json.
"""

import argparse
import time

import jax
import jax.numpy as jnp
from flax import nnx
from saving import save
from timing import median

from vtnjax import models
from vtnjax.train.memory import keep_freed_memory

FULL, SAMPLED, CLASSES = 512, 224, 200


def make_networks() -> dict[str, tuple[nnx.Module, int]]:
    """Each network in evaluation mode, and the size of its images."""
    rngs = nnx.Rngs(0)

    def tasn(predict):
        trunk = models.ResNet("resnet18", strides=(1, 1, 2, 1), rngs=rngs)
        attention = models.AttentionNetwork(trunk, 512, CLASSES, size=(SAMPLED, SAMPLED), rngs=rngs)
        trunk = models.ResNet("resnet50", rngs=rngs)
        shape = (SAMPLED, SAMPLED)
        return models.TASN(attention, trunk, 2048, CLASSES, shape=shape, predict=predict, rngs=rngs)

    trunk = models.ResNet("resnet50", rngs=rngs)
    plain = models.WarpedFeatures(trunk, None, models.PooledClassifier(2048, CLASSES, rngs=rngs))
    return {
        "plain ResNet-50, 224": (plain, SAMPLED),
        "plain ResNet-50, 448": (plain, 448),
        "TASN, master-net alone": (tasn("master"), FULL),
        "TASN, both nets": (tasn("part"), FULL),
    }


def measure(model: nnx.Module, size: int, batch: int, rounds: int) -> dict[str, float]:
    """GFLOP and milliseconds an image."""
    graphdef, state = nnx.split(model)

    def classify(state, images):
        network = nnx.merge(graphdef, state, copy=True)
        network.eval()
        return network(images)[0]

    images = jnp.zeros((batch, size, size, 3))
    compiled = jax.jit(classify).lower(state, images).compile()
    milliseconds = median(lambda: compiled(state, images), rounds) / batch
    operations = (compiled.cost_analysis() or {}).get("flops", 0.0)
    return {"gflop": operations / batch / 1e9, "milliseconds": milliseconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=4, help="images at a time (default 4)")
    parser.add_argument("--rounds", type=int, default=5, help="timed calls (default 5)")
    arguments = parser.parse_args()
    keep_freed_memory()
    began, results = time.perf_counter(), {}
    print("| network | GFLOP an image | ms an image |\n|---|---|---|", flush=True)
    for name, (model, size) in make_networks().items():
        results[name] = measure(model, size, arguments.batch, arguments.rounds)
        print(f"| {name} | {results[name]['gflop']:.1f} | {results[name]['milliseconds']:.0f} |", flush=True)
    command = f"python benchmarks/tasn.py --batch {arguments.batch} --rounds {arguments.rounds}"
    save("tasn", command, seconds=time.perf_counter() - began, figures={"results": results})


if __name__ == "__main__":
    main()
