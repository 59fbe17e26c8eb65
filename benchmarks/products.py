"""What does sampling by matrix products cost beside sampling by gathers? Counted by XLA, not timed.

    python benchmarks/products.py

For one example in float32, a sampler and its gradients to the image and the coordinates: the floating point operations,
the bytes that the compiled program reads and writes, and how many numbers are kept between two products. "auto" takes
the products on a TPU up to 2 ** 24 of these. Writes results/products-<platform>.json.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from saving import save

from vtnjax import ops

DENSE, SEPARABLE = ("gather", "matmul"), ("lerp", "matmul")


def deformable(image: jax.Array, offsets: jax.Array, *, backend: str) -> jax.Array:
    """A 3 x 3 kernel with one output channel, so that sampling is nearly all of the cost."""
    return ops.deformable_conv(image, jnp.ones((3, 3, image.shape[-1], 1)), offsets, backend=backend)


# name: (the sampler, the image, its other arguments, the groups of channels)
CASES: dict[str, tuple[Callable, tuple[int, ...], list[tuple[int, ...]], int]] = {
    "ST-CNN, image of 42 x 42": (ops.sample, (42, 42, 1), [(42, 42, 2)], 1),
    "ST-CNN, image of 64 x 64": (ops.sample, (64, 64, 3), [(64, 64, 2)], 1),
    "ST-CNN, map of 32 x 32 x 48": (ops.sample, (32, 32, 48), [(32, 32, 2)], 1),
    "VTN, 32 groups, last map of ResNet-50": (ops.sample_channels, (14, 14, 2048), [(14, 14, 32, 2)], 32),
    "VTN, 2048 groups, last map of ResNet-50": (ops.sample_channels, (14, 14, 2048), [(14, 14, 2048, 2)], 2048),
    "VTN, 512 groups, last map of VGG-19": (ops.sample_channels, (28, 28, 512), [(28, 28, 512, 2)], 512),
    "deformable 3 x 3, 14 x 14 x 512": (deformable, (14, 14, 512), [(14, 14, 1, 3, 3, 2)], 1),
    "deformable 3 x 3, 56 x 56 x 128": (deformable, (56, 56, 128), [(56, 56, 1, 3, 3, 2)], 1),
    "window of 224 x 224 in 224 x 224": (ops.sample, (224, 224, 3), [(224, 224, 2)], 1),
    "saliency, 448 x 448 to 224 x 224": (ops.sample, (448, 448, 3), [(224, 224, 2)], 1),
    "TASN, 448 x 448 to 224 x 224": (ops.sample_separable, (448, 448, 3), [(224,), (224,)], 1),
}


def traced(sampler: Callable, shapes: list[tuple[int, ...]], backend: str) -> jax.stages.Traced:
    """A sampler and all its gradients, for no platform in particular."""
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]

    def loss(*arguments):
        return jnp.sum(sampler(*arguments, backend=backend) ** 2)

    return jax.jit(jax.value_and_grad(loss, tuple(range(len(shapes))))).trace(*arguments)


def on_tpu(sampler: Callable, shapes: list[tuple[int, ...]]) -> str:
    """What "auto" takes on a TPU."""
    program = traced(sampler, shapes, "auto").lower(lowering_platforms=("tpu",)).as_text()
    return "gather" if "stablehlo.gather" in program else "matmul"


def cost(sampler: Callable, shapes: list[tuple[int, ...]], backend: str) -> dict[str, float]:
    """The operations, and the bytes that are read and written."""
    found: Any = traced(sampler, shapes, backend).lower().compile().cost_analysis()
    return {"megaflop": found["flops"] / 1e6, "megabytes": found["bytes accessed"] / 1e6}


def kept(name: str) -> int:
    """How many numbers lie between the two products."""
    sampler, (h, w, channels), others, groups = CASES[name]
    if sampler is ops.sample_separable:
        return math.prod(others[1]) * w * channels
    return math.prod(others[0][:-1]) * h * min(w, channels // groups)


def main() -> None:
    """Count, print and write down every case."""
    began, found = time.perf_counter(), {}
    for name, (sampler, image, others, _) in CASES.items():
        backends = SEPARABLE if sampler is ops.sample_separable else DENSE
        shapes = [image, *others]
        costs = {backend: cost(sampler, shapes, backend) for backend in backends}
        found[name] = {"kept": kept(name), "on_tpu": on_tpu(sampler, shapes), **costs}
        print(name, found[name], flush=True)
    save("products", "python benchmarks/products.py", seconds=time.perf_counter() - began, figures=found)


if __name__ == "__main__":
    main()
