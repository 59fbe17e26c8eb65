"""From attention maps to sampled images: how fast is the inverse-CDF sampler beside PyTorch doing the same?

    python benchmarks/attention_sampler.py

Maps and images of 448 x 448 to images of 224 x 224, a batch of 8, float32, run in turn in one process: marginals,
clipping, integrals, their inverse and the sampling. PyTorch does it with `cumsum`, `searchsorted` and `grid_sample`.
Prints a table of medians and writes results/attention-sampler-<platform>.json. On a GPU also 448 and 512 pixels out of
as many, with the gathers and with the matrix products, in float32 and bfloat16. Needs PyTorch.
"""

import argparse
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from saving import save
from timing import medians

from vtnjax import ops
from vtnjax.train.memory import keep_freed_memory

BATCH, LIMIT = 8, 0.7
DENSE, ITERATIONS = 4.0, 5


def make_data(size: int, out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, attention of a few peaks, and a cotangent."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size] / size
    attention = np.full((BATCH, size, size), 0.05)
    for peaks in attention:
        for centre_y, centre_x in rng.uniform(0.2, 0.8, (3, 2)):
            peaks += np.exp(-((y - centre_y) ** 2 + (x - centre_x) ** 2) / 0.01)
    images = rng.standard_normal((BATCH, size, size, 3), np.float32)
    return images, attention.astype(np.float32), rng.standard_normal((BATCH, out, out, 3), np.float32)


def jax_passes(data: tuple, out: int, dtype: str, backend: str) -> dict[str, Callable[[], Any]]:
    images, attention, cotangent = (jnp.asarray(array, dtype) for array in data)

    @jax.vmap
    def sample(image, attention):
        x, y = ops.attention_coords(attention, (out, out), dense=DENSE, iterations=ITERATIONS)
        return ops.sample_separable(image, x, y, backend=backend)

    forward = jax.jit(sample)
    backward = jax.jit(lambda i, a, g: jax.vjp(lambda i: sample(i, a), i)[1](g))
    return {
        "forward": lambda: forward(images, attention),
        "to the image": lambda: backward(images, attention, cotangent),
    }


def torch_coords(attention: Any, out: int) -> Any:
    """The sampling grid (n, out, out, 2) of maps (n, a, a), as `ops.attention_coords` defines it."""
    cells = attention.shape[-1]
    lines = torch.stack([attention.amax(1), attention.amax(2)])  # x and y: (2, n, a)
    lines = lines / lines.mean(-1, keepdim=True)
    for number in range(ITERATIONS):
        bound = lines.amax(-1).amin(0)  # (n,)
        bound = bound.clamp(max=DENSE) if number == 0 else bound
        lines = torch.minimum(lines, bound[None, :, None])
        lines = lines + 1 - lines.mean(-1, keepdim=True)
    density = lines[..., 1:].clamp(min=1e-6)
    integral = density.cumsum(-1)
    wanted = torch.arange(out, device=lines.device, dtype=lines.dtype) / out * integral[..., -1:]
    cell = torch.searchsorted(integral, wanted.contiguous()).clamp(max=cells - 2)
    read = cell + 1 - (integral.gather(-1, cell) - wanted) / density.gather(-1, cell)
    x, y = read / (cells - 1) * 2 - 1
    return torch.stack([x[:, None, :].expand(-1, out, -1), y[:, :, None].expand(-1, -1, out)], dim=-1)


def torch_passes(data: tuple, out: int, dtype: str, device: str) -> dict[str, Callable[[], Any]]:
    images, attention, cotangent = (torch.tensor(array, device=device, dtype=getattr(torch, dtype)) for array in data)
    images, cotangent = (array.permute(0, 3, 1, 2).contiguous() for array in (images, cotangent))
    read = functools.partial(torch.nn.functional.grid_sample, align_corners=True)

    def forward():
        with torch.no_grad():
            return read(images, torch_coords(attention.float(), out).to(images.dtype))

    def backward():
        pixels = images.detach().requires_grad_()
        with torch.no_grad():
            grid = torch_coords(attention.float(), out).to(images.dtype)
        read(pixels, grid).backward(cotangent)
        return pixels.grad

    return {"forward": forward, "to the image": backward}


def measure(size: int, out: int, dtype: str, rounds: int, device: str) -> dict[str, dict[str, float]]:
    """Milliseconds by pass and contender, after a look at whether they agree."""

    def wait(result):
        jax.block_until_ready(result)
        if device == "cuda":
            torch.cuda.synchronize()

    data = make_data(size, out)
    backends = ("lerp", "matmul") if device == "cuda" else ("lerp",)
    contenders = {f"vtnjax {backend}": jax_passes(data, out, dtype, backend) for backend in backends}
    contenders["torch"] = torch_passes(data, out, dtype, device)
    if dtype == "float32":
        for name in ("forward", "to the image"):
            (ours,) = jax.tree.leaves(contenders["vtnjax lerp"][name]())
            theirs = contenders["torch"][name]().permute(0, 2, 3, 1).cpu().numpy()
            np.testing.assert_allclose(ours, theirs, atol=2e-2)
    return {
        name: medians({who: calls[name] for who, calls in contenders.items()}, rounds, wait)
        for name in ("forward", "to the image")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="turns of timed calls of each (default 10)")
    arguments = parser.parse_args()
    keep_freed_memory()
    kind = jax.default_backend()
    device = "cuda" if kind == "gpu" else "cpu"
    cases = [(448, 224, "float32")]
    if device == "cuda":
        cases = [(s, o, d) for s, o in ((448, 224), (448, 448), (512, 512)) for d in ("float32", "bfloat16")]
    print("| size | dtype | pass | ms | ratio to torch | limit |\n|---|---|---|---|---|---|", flush=True)
    began, results = time.perf_counter(), []
    for size, out, dtype in cases:
        figures = measure(size, out, dtype, arguments.rounds, device)
        results.append({"size": size, "out": out, "dtype": dtype, "milliseconds": figures})
        for name, times in figures.items():
            shown = ", ".join(f"{who} {ms:.2f}" for who, ms in times.items())
            ratio = min(ms for who, ms in times.items() if who != "torch") / times["torch"]
            print(f"| {size} to {out} | {dtype} | {name} | {shown} | {ratio:.2f} | {LIMIT} |", flush=True)
    command = f"python benchmarks/attention_sampler.py --rounds {arguments.rounds}"
    seconds = time.perf_counter() - began
    save("attention-sampler", command, seconds=seconds, figures={"results": results}, packages=["torch"])


if __name__ == "__main__":
    main()
