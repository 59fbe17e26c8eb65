"""Do the samplers stay fast inside a network? A grid before, a pooling or a loss behind, beside PyTorch doing the same.

    python benchmarks/composed.py

256 images of 42 x 42 pixels with an affine warp each, float32, run in turn in one process. Prints the medians in
milliseconds and the median of the ratios of neighbouring turns, beside the sampler alone, and writes
results/composed-<platform>.json. Needs PyTorch, on a CPU.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from saving import save
from timing import CALLS, beside_torch
from torch.nn import functional  # pyright: ignore[reportMissingImports]

from vtnjax import ops
from vtnjax.models.pooling import average_pool
from vtnjax.train.memory import keep_freed_memory

BATCH, SIZE = 256, 42
Call = Callable[[], Any]


def make_data() -> dict[str, np.ndarray]:
    """Images, slightly turned and shrunk warps, and cotangents of samples and of pooled ones."""
    rng = np.random.default_rng(0)
    theta = np.array([[0.9, 0.1, 0.0], [-0.1, 0.9, 0.05]]) + rng.uniform(-0.1, 0.1, (BATCH, 2, 3))
    arrays = {
        "image": rng.standard_normal((BATCH, SIZE, SIZE, 1)),
        "theta": theta,
        "cotangent": rng.standard_normal((BATCH, SIZE, SIZE, 1)),
        "pooled": rng.standard_normal((BATCH, SIZE // 2, SIZE // 2, 1)),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def ours(data: dict[str, np.ndarray]) -> dict[str, Call]:
    """What is timed here, by name."""
    image, theta, cotangent, pooled = (jnp.asarray(array) for array in data.values())
    shape = (SIZE, SIZE)
    coords = jax.jit(jax.vmap(lambda theta: ops.to_pixels(ops.affine_grid(theta, shape), shape)))
    points, sample = coords(theta), jax.vmap(ops.sample)

    def warp(image, theta):
        return sample(image, coords(theta))

    def loss(image, points):
        return jnp.mean((sample(image, points) - cotangent) ** 2)

    def pulled(function, *arguments, by, cotangent):
        return jax.vjp(lambda x: function(*arguments[:by], x, *arguments[by + 1 :]), arguments[by])[1](cotangent)[0]

    calls = {
        "sample": (sample, (image, points)),
        "sample, to the coordinates": (
            lambda *a: pulled(sample, *a[:2], by=1, cotangent=a[2]),
            (image, points, cotangent),
        ),
        "grid and sample": (warp, (image, theta)),
        "grid and sample, to theta": (
            lambda *a: pulled(warp, *a[:2], by=1, cotangent=a[2]),
            (image, theta, cotangent),
        ),
        "grid, sample and pooling": (lambda *a: average_pool(warp(*a), 2), (image, theta)),
        "grid, sample and pooling, to theta": (
            lambda *a: pulled(lambda i, t: average_pool(warp(i, t), 2), *a[:2], by=1, cotangent=a[2]),
            (image, theta, pooled),
        ),
        "sample and squared loss": (loss, (image, points)),
        "sample and squared loss, to the coordinates": (jax.grad(loss, 1), (image, points)),
        "sample and squared loss, to the image": (jax.grad(loss), (image, points)),
    }
    return {name: _compiled(function, arguments) for name, (function, arguments) in calls.items()}


def _compiled(function, arguments) -> Call:
    program = jax.jit(function)
    return lambda: program(*arguments)


def theirs(data: dict[str, np.ndarray]) -> dict[str, Call]:
    """The same in PyTorch, whose coordinates are normalised."""
    image, theta, cotangent, pooled = (torch.tensor(array) for array in data.values())
    image, cotangent, pooled = (array.permute(0, 3, 1, 2).contiguous() for array in (image, cotangent, pooled))

    def grid(theta):
        return functional.affine_grid(theta, list(image.shape), align_corners=True)

    points = grid(theta)

    def sample(image, points):
        return functional.grid_sample(image, points, align_corners=True)

    def warp(image, theta):
        return sample(image, grid(theta))

    def pool(image, theta):
        return functional.avg_pool2d(warp(image, theta), 2)

    def loss(image, points):
        return ((sample(image, points) - cotangent) ** 2).mean()

    def forward(function, *arguments):
        def call():
            with torch.no_grad():
                return function(*arguments)

        return call

    def backward(function, *arguments, by, cotangent=None):
        def call():
            leaf = arguments[by].detach().requires_grad_()
            function(*arguments[:by], leaf, *arguments[by + 1 :]).backward(cotangent)
            return leaf.grad

        return call

    return {
        "sample": forward(sample, image, points),
        "sample, to the coordinates": backward(sample, image, points, by=1, cotangent=cotangent),
        "grid and sample": forward(warp, image, theta),
        "grid and sample, to theta": backward(warp, image, theta, by=1, cotangent=cotangent),
        "grid, sample and pooling": forward(pool, image, theta),
        "grid, sample and pooling, to theta": backward(pool, image, theta, by=1, cotangent=pooled),
        "sample and squared loss": forward(loss, image, points),
        "sample and squared loss, to the coordinates": backward(loss, image, points, by=1),
        "sample and squared loss, to the image": backward(loss, image, points, by=0),
    }


def check(name: str, found: Any, wanted: Any) -> None:
    """Raise an AssertionError unless both computed the same."""
    found, wanted = np.asarray(found), wanted.numpy()
    if wanted.ndim == 4 and found.shape != wanted.shape:
        wanted = np.moveaxis(wanted, 1, -1)
    if name.endswith("to the coordinates"):  # by pixels here, by halves of the image there
        found = found * (SIZE - 1) / 2
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-3 * np.abs(wanted).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help=f"turns of {CALLS} timed calls of each (default 20)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these rows alone, and no record")
    arguments = parser.parse_args()
    keep_freed_memory()
    began, results, data = time.perf_counter(), {}, make_data()
    mine, other = ours(data), theirs(data)
    print("| what | vtnjax ms | torch ms | ratio |\n|---|---|---|---|", flush=True)
    for name in arguments.only or mine:
        check(name, mine[name](), other[name]())
        found = results[name] = beside_torch(mine[name], other[name], arguments.rounds)
        print(f"| {name} | {found['vtnjax']:.2f} | {found['torch']:.2f} | {found['ratio']:.2f} |", flush=True)
    if arguments.only is None:
        command = f"python benchmarks/composed.py --rounds {arguments.rounds}"
        figures = {"results": results}
        save("composed", command, seconds=time.perf_counter() - began, figures=figures, packages=["torch"])


if __name__ == "__main__":
    main()
