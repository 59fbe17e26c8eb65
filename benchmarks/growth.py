"""Do the samplers' time and memory grow in proportion to what they compute? Sizes 14 to 896, groups 1 to 2048.

    python benchmarks/growth.py

times one image of 8 channels read at as many points, and a map of 14 x 14 x 2048 with ever more fields, forward and
with the gradients to image and coordinates. Prints nanoseconds a value and the bytes a value that the compiled program
needs beside its arguments, and writes results/growth-<platform>.json and .png.
"""

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
from saving import RESULTS, save
from timing import median

from vtnjax import ops
from vtnjax.train.memory import keep_freed_memory

SIZES, CHANNELS = (14, 28, 56, 112, 224, 448, 896), 8
GROUPS, MAP = (1, 8, 32, 128, 512, 2048), (14, 14, 2048)
PASSES = ("forward", "gradient")
Figures = dict[str, dict[str, list[float]]]  # by pass: "nanoseconds" and "bytes", of a value each


def _separable(image: jax.Array, coords: jax.Array) -> jax.Array:
    return ops.sample_separable(image, coords[0, :, 0], coords[:, 0, 1])


SAMPLERS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "bilinear": ops.sample,
    "bicubic": functools.partial(ops.sample, method="bicubic"),
    "nearest": functools.partial(ops.sample, method="nearest"),
    "separable": _separable,
}


def measure(sampler: Callable, image: jax.Array, coords: jax.Array, rounds: int) -> dict[str, dict[str, float]]:
    """Nanoseconds and bytes a value of the output, by pass."""

    def loss(image, coords):
        return jnp.vdot(sampler(image, coords), image)

    found = {}
    for name, function in zip(PASSES, (sampler, jax.grad(loss, (0, 1))), strict=True):
        compiled = jax.jit(function).lower(image, coords).compile()
        memory: Any = compiled.memory_analysis()
        milliseconds = median(functools.partial(compiled, image, coords), rounds)
        found[name] = {"nanoseconds": 1e6 * milliseconds / image.size, "bytes": memory.temp_size_in_bytes / image.size}
    return found


def by_size(sampler: Callable, rounds: int) -> Figures:
    """Of an image of each size, read at as many points."""
    return _lists([measure(sampler, *_data((size, size, CHANNELS), ()), rounds) for size in SIZES])


def by_groups(rounds: int) -> Figures:
    """Of a map with each number of fields."""
    return _lists([measure(ops.sample_channels, *_data(MAP, (groups,)), rounds) for groups in GROUPS])


def _data(shape, fields):
    image = jax.random.normal(jax.random.key(0), shape)
    coords = jax.random.uniform(jax.random.key(1), (*shape[:2], *fields, 2), maxval=shape[0] - 1.0)
    return image, coords


def _lists(found):
    return {name: {what: [each[name][what] for each in found] for what in found[0][name]} for name in PASSES}


def draw(results: dict[str, Figures]) -> Figure:
    """A column for sizes and one for groups; time above, memory below."""
    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, 2, sharey="row")
    for row, (what, label) in enumerate((("nanoseconds", "ns a value"), ("bytes", "bytes a value"))):
        for name, found in results.items():
            groups = name == "fields"
            for style, each in zip("-:", PASSES, strict=True):
                line = {"linestyle": style, "marker": ".", "label": f"{name}, {each}"}
                axes[row, int(groups)].plot(GROUPS if groups else SIZES, found[each][what], **line)
        axes[row, 0].set_ylabel(label)
    for axis in axes.flat:
        axis.set_xscale("log", base=2)
        axis.set_yscale("symlog", linthresh=1)
        axis.set_ylim(bottom=0)
    for axis in axes[0]:
        axis.legend(fontsize=7)
    axes[1, 0].set_xlabel("size of the image, pixels along each axis")
    axes[1, 1].set_xlabel("fields of a map of 14 x 14 x 2048")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="timed calls of each (default 5)")
    arguments = parser.parse_args()
    keep_freed_memory()
    began = time.perf_counter()
    results = {name: by_size(sampler, arguments.rounds) for name, sampler in SAMPLERS.items()}
    results["fields"] = by_groups(arguments.rounds)
    for name, found in results.items():
        for each, figures in found.items():
            for what, values in figures.items():
                print(f"{name:10} {each:9} {what:12}" + "".join(f"{value:9.1f}" for value in values), flush=True)
    draw(results).savefig(RESULTS / f"growth-{jax.default_backend()}.png", dpi=100)
    command = f"python benchmarks/growth.py --rounds {arguments.rounds}"
    figures = {"sizes": SIZES, "groups": GROUPS, "results": results}
    save("growth", command, seconds=time.perf_counter() - began, figures=figures)


if __name__ == "__main__":
    main()
