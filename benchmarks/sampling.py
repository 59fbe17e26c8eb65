"""How fast are the samplers? Ours, PyTorch's `grid_sample` and JAX's `map_coordinates` in one process, run in turn.

    python benchmarks/sampling.py

prints a table of medians in milliseconds with the ratio to PyTorch and writes results/sampling-<platform>.json.
Needs PyTorch. On a GPU it adds bfloat16 and `torch.compile`, the batches are 8 times as large, and calls are timed in
bursts of 10 that are waited for at their end. Each has its own natural layout: channels last here, channels first in
PyTorch, where a field for each group of channels is a batch of groups. The coordinates are those of a slightly turned
and shrunk grid with noise of one pixel, so that some fall outside. Freed memory is kept, as train.py does it: otherwise
the system clears every block above 32 MB again at every call, of either library.
"""

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from jax.scipy.ndimage import map_coordinates
from saving import save
from timing import CALLS, medians

from vtnjax import ops
from vtnjax.train.memory import keep_freed_memory


class Case(NamedTuple):
    """A batch of images (n, h, w, c) with a field for each of `groups`, read at (h', w') points."""

    name: str
    n: int
    h: int
    w: int
    c: int
    groups: int
    out: tuple[int, int]
    limits: tuple[float, float, float | None]  # over PyTorch: forward, gradient to coordinates, to both
    method: str = "bilinear"


CASES = (
    Case("STN input", 256, 42, 42, 1, 1, (42, 42), (1.5, 1.5, 2.0)),
    Case("STN features", 64, 28, 28, 32, 1, (28, 28), (1.5, 2.0, 3.0)),
    Case("VTN groups", 8, 14, 14, 2048, 32, (14, 14), (1.5, 2.0, 3.5)),
    Case("VTN channels", 8, 14, 14, 512, 512, (14, 14), (1.2, 1.2, 1.5)),
    Case("separable", 8, 448, 448, 3, 0, (224, 224), (1.0, 1.5, None)),
    Case("bicubic", 1, 512, 512, 3, 1, (512, 512), (1.5, 1.5, 1.5), "bicubic"),
)
_GPU_BATCHES, _GPU_BURST = 8, 10
PASSES = ("forward", "to coordinates", "to both")


def make_data(case: Case, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, pixel coordinates (n, h', w', groups, 2), or (n, h' + w') lines y and x if separable, and a cotangent."""
    image = rng.standard_normal((case.n, case.h, case.w, case.c), np.float32)
    cotangent = rng.standard_normal((case.n, *case.out, case.c), np.float32)
    if not case.groups:
        lines = [
            np.sort(rng.uniform(-2, size + 1, (case.n, out)))
            for size, out in zip((case.h, case.w), case.out, strict=True)
        ]
        return image, np.concatenate(lines, axis=1).astype(np.float32), cotangent
    y, x = np.meshgrid(
        *(np.linspace(0, s - 1, o) for s, o in zip((case.h, case.w), case.out, strict=True)), indexing="ij"
    )
    grid = np.stack([0.9 * x + 0.1 * y, 0.9 * y - 0.1 * x + 1], axis=-1)[None, :, :, None]
    noise = rng.uniform(-1, 1, (case.n, *case.out, case.groups, 2))
    return image, (grid + noise).astype(np.float32), cotangent


def ours(case: Case) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The batched sampler of a case."""
    if case.groups > 1:
        return jax.vmap(ops.sample_channels)
    if case.groups == 1:
        return jax.vmap(lambda image, coords: ops.sample(image, coords[:, :, 0], method=case.method))
    rows = case.out[0]
    return jax.vmap(lambda image, lines: ops.sample_separable(image, lines[rows:], lines[:rows]))


def with_map_coordinates(image: jax.Array, coords: jax.Array) -> jax.Array:
    """The same for one channel and one field, by `jax.scipy.ndimage.map_coordinates`."""

    def one(image, coords):
        return map_coordinates(image[..., 0], [coords[:, :, 0, 1], coords[:, :, 0, 0]], order=1, mode="constant")

    return jax.vmap(one)(image, coords)[..., None]


def jax_passes(sampler: Callable, data: tuple, dtype: str) -> dict[str, Callable[[], Any]]:
    """Compiled passes of a sampler."""
    image, coords, cotangent = jnp.asarray(data[0], dtype), jnp.asarray(data[1]), jnp.asarray(data[2], dtype)
    forward = jax.jit(sampler)
    to_coords = jax.jit(lambda i, c, g: jax.vjp(lambda c: sampler(i, c), c)[1](g))
    to_both = jax.jit(lambda i, c, g: jax.vjp(sampler, i, c)[1](g))
    return {
        "forward": lambda: forward(image, coords),
        "to coordinates": lambda: to_coords(image, coords, cotangent),
        "to both": lambda: to_both(image, coords, cotangent),
    }


def bare_passes(case: Case, data: tuple, dtype: str) -> dict[str, Callable[[], Any]]:
    """What XLA takes for the reads or the writes alone, at given indices: a floor for channels taken one at a time.

    Four reads added up for each sample, without coordinates or weights, as the forward pass and the gradient to the
    coordinates need them; one write of a cell's four corners, as the gradient to the image needs it.
    """
    image, coords, cotangent = (jnp.asarray(array) for array in data)
    table = image.astype(dtype).reshape(case.n, -1)
    x, y = (jnp.clip(coords[..., k], 0, size - 2).astype(jnp.int32) for k, size in ((0, case.w), (1, case.h)))
    index = (y * case.w + x) * case.groups + jnp.arange(case.groups)
    corners = (0, case.groups, case.w * case.groups, (case.w + 1) * case.groups)
    options: dict[str, Any] = {"mode": "promise_in_bounds", "wrap_negative_indices": False}

    def read(table, index):
        return sum(table.at[index + corner].get(**options) for corner in corners)

    def write(index, values):
        rows = jnp.broadcast_to(values[..., None], (*values.shape, 4))
        return jnp.zeros((case.h * case.w * case.groups, 4), rows.dtype).at[index].add(rows, **options)

    reads, writes = jax.jit(jax.vmap(read)), jax.jit(jax.vmap(write))
    values = cotangent.astype(dtype).reshape(index.shape)
    return {
        "forward": lambda: reads(table, index),
        "to coordinates": lambda: reads(table, index),
        "to both": lambda: writes(index, values),
    }


def torch_passes(case: Case, data: tuple, dtype: str, device: str, *, compiled: bool) -> dict[str, Callable[[], Any]]:
    """The same passes in PyTorch, groups folded into the batch."""
    image, coords, cotangent = data
    groups, (rows, columns) = max(case.groups, 1), case.out
    if not case.groups:
        y, x = coords[:, :rows], coords[:, rows:]
        pairs = np.broadcast_arrays(x[:, None, :], y[:, :, None])
        coords = np.stack(pairs, axis=-1)[:, :, :, None]
    grid = coords / np.array([case.w - 1, case.h - 1], np.float32) * 2 - 1
    grid = np.moveaxis(grid, 3, 1).reshape(case.n * groups, rows, columns, 2)

    def planes(x):
        return np.moveaxis(x, -1, 1).reshape(case.n * groups, case.c // groups, *x.shape[1:3])

    kind = getattr(torch, dtype)
    image, cotangent = (torch.tensor(planes(x).copy(), dtype=kind, device=device) for x in (image, cotangent))
    grid = torch.tensor(grid.astype(np.float32), dtype=kind, device=device)
    call = functools.partial(torch.nn.functional.grid_sample, mode=case.method, align_corners=True)
    call = torch.compile(call, dynamic=False) if compiled else call

    def backward(*, to_image):
        pixels, points = image.detach().requires_grad_(to_image), grid.detach().requires_grad_()
        call(pixels, points).backward(cotangent)
        return pixels.grad, points.grad

    def forward():
        with torch.no_grad():
            return call(image, grid)

    return {
        "forward": forward,
        "to coordinates": lambda: backward(to_image=False),
        "to both": lambda: backward(to_image=True),
    }


def measure(case: Case, rounds: int, dtype: str, device: str) -> dict[str, dict[str, float]]:
    """Milliseconds by pass and contender."""

    def wait(result):
        jax.block_until_ready(result)  # PyTorch's tensors pass through it
        if device == "cuda":
            torch.cuda.synchronize()

    burst = 1
    if device == "cuda":
        case, burst = case._replace(n=_GPU_BATCHES * case.n), _GPU_BURST
    data = make_data(case, np.random.default_rng(0))
    contenders = {"vtnjax": jax_passes(ours(case), data, dtype)}
    contenders["torch"] = torch_passes(case, data, dtype, device, compiled=False)
    if device == "cuda":
        contenders["torch.compile"] = torch_passes(case, data, dtype, device, compiled=True)
    if case.c == 1:
        contenders["map_coordinates"] = jax_passes(with_map_coordinates, data, dtype)
    if case.c == case.groups:
        contenders["reads or writes alone"] = bare_passes(case, data, dtype)
    # A pass at a time, so that what runs in turn finds the caches alike.
    return {
        name: medians({who: calls[name] for who, calls in contenders.items()}, rounds, wait, burst=burst)
        for name in PASSES
    }


def report(case: Case, dtype: str, figures: dict[str, dict[str, float]]) -> list[str]:
    """The table's rows of a case."""
    rows = []
    for name, limit in zip(PASSES, case.limits, strict=True):
        times = figures[name]
        others = ", ".join(f"{who} {ms:.2f}" for who, ms in times.items() if who not in ("vtnjax", "torch"))
        ratio, aim = times["vtnjax"] / times["torch"], "" if limit is None else f"{limit:.1f}"
        columns = (
            case.name,
            dtype,
            name,
            f"{times['vtnjax']:.2f}",
            f"{times['torch']:.2f}",
            f"{ratio:.2f}",
            aim,
            others,
        )
        rows.append(f"| {' | '.join(columns)} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help=f"turns of {CALLS} timed calls of each (default 10)")
    parser.add_argument("--case", choices=[case.name for case in CASES], help="only this case")
    arguments = parser.parse_args()
    keep_freed_memory()
    kind = jax.default_backend()
    device = "cuda" if kind == "gpu" else "cpu"
    rows = [
        "| case | dtype | pass | vtnjax ms | torch ms | ratio | limit | others ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(rows), flush=True)
    began, results = time.perf_counter(), []
    for case in CASES:
        if arguments.case not in (None, case.name):
            continue
        for dtype in ("float32", "bfloat16") if kind == "gpu" else ("float32",):
            figures = measure(case, arguments.rounds, dtype, device)
            results.append({"case": case.name, "dtype": dtype, "milliseconds": figures})
            print("\n".join(report(case, dtype, figures)), flush=True)
    if arguments.case is None:
        command = f"python benchmarks/sampling.py --rounds {arguments.rounds}"
        figures = {"rounds": arguments.rounds, "results": results}
        save("sampling", command, seconds=time.perf_counter() - began, figures=figures, packages=["torch"])


if __name__ == "__main__":
    main()
