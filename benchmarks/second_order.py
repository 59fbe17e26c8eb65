"""How fast is second-order pooling? Values and gradients of a batch, beside the same formulas in PyTorch.

    python benchmarks/second_order.py

Batches of 8 rectified feature maps in float32, as the last stages of networks make them of 448 x 448 pixels, run in
turn in one process. Prints the medians in milliseconds and the median of the ratios of neighbouring turns, and writes
results/second-order-<platform>.json. Needs PyTorch, on a CPU.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from saving import save
from timing import CALLS, beside_torch

from vtnjax import cpu_flags

os.environ.setdefault("XLA_FLAGS", cpu_flags())  # as train.py sets it

import jax
import jax.numpy as jnp
import torch  # pyright: ignore[reportMissingImports]

from vtnjax import ops
from vtnjax.train.memory import keep_freed_memory

BATCH, COMPACT, KERNEL, ORDERS = 8, 8192, 4096, 4
RNG = np.random.default_rng(0)
COEFFICIENTS = np.array([0.4, 0.5, 0.5, 0.4, 0.3], np.float32)


class Case(NamedTuple):
    """The shape of one image's features, and the pooling of a batch, here and in PyTorch."""

    shape: tuple[int, int, int]
    ours: Callable[..., Any]
    theirs: Callable[..., Any]


def sketches(count: int, channels: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Hashes and signs."""
    signs = RNG.choice([-1, 1], (count, channels)).astype(np.int8)
    return RNG.integers(0, size, (count, channels)).astype(np.int32), signs


# ---- In PyTorch


def centred(x: Any) -> Any:
    """Covariances (n, c, c) of features (n, h w, c)."""
    x = x - x.mean(1, keepdim=True)
    return x.transpose(1, 2).bmm(x) / x.shape[1]


def upper(matrix: Any) -> Any:
    """The upper triangles row by row."""
    rows, columns = torch.triu_indices(*matrix.shape[1:])
    return matrix[:, rows, columns]


def isqrt(x: Any) -> Any:
    """iSQRT-COV of 5 iterations."""
    y = centred(x)
    trace = y.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    y, three = y / trace, 3 * torch.eye(y.shape[1])
    z = (three - y) / 2
    y = y.bmm(z)
    for _ in range(3):
        t = (three - z.bmm(y)) / 2
        y, z = y.bmm(t), t.bmm(z)
    return upper(y.bmm(three - z.bmm(y)) / 2 * trace.sqrt())


def mpncov(x: Any) -> Any:
    """MPN-COV by eigenvalues, with PyTorch's own derivative; all eigenvalues are kept."""
    values, vectors = torch.linalg.eigh(centred(x))
    return upper((vectors * values.clamp(min=1e-12).sqrt()[:, None]).bmm(vectors.transpose(1, 2)))


def normalised(x: Any) -> Any:
    """Signed roots, at length 1."""
    return torch.nn.functional.normalize(x.sign() * (x.abs() + 1e-8).sqrt())


def bilinear(x: Any) -> Any:
    """Bilinear pooling."""
    return normalised((x.transpose(1, 2).bmm(x) / x.shape[1]).flatten(1))


def spectra(x: Any, hashes: Any, signs: Any, size: int) -> list[Any]:
    """Of each position's count sketches."""
    return [
        torch.fft.rfft(x.new_zeros(*x.shape[:2], size).index_add_(2, place, x * sign))
        for place, sign in zip(torch.tensor(hashes).long(), torch.tensor(signs), strict=True)
    ]


def by_products(hashes: Any, signs: Any, size: int) -> Callable[[Any], Any]:
    """Compact bilinear pooling: products added to their places."""
    places = torch.tensor((hashes[0][:, None] + hashes[1][None]) % size).long().flatten()
    both = torch.tensor(signs[0][:, None] * signs[1][None])

    def pool(x):
        products = (x.transpose(1, 2).bmm(x) * both).flatten(1)
        return normalised(x.new_zeros(x.shape[0], size).index_add_(1, places, products))

    return pool


def by_spectra(hashes: Any, signs: Any, size: int) -> Callable[[Any], Any]:
    """Compact bilinear pooling: spectra multiplied, summed, and transformed back once."""

    def pool(x):
        one, other = spectra(x, hashes, signs, size)
        return normalised(torch.fft.irfft((one * other).sum(1), size))

    return pool


def kernel(hashes: Any, signs: Any, size: int) -> Callable[[Any], Any]:
    """Kernel pooling."""

    def pool(x):
        x = torch.nn.functional.normalize(x, dim=-1)
        product, *rest = spectra(x, hashes, signs, size)
        found = [torch.full((x.shape[0], 1), float(COEFFICIENTS[0])), float(COEFFICIENTS[1]) * x.mean(1)]
        for coefficient, spectrum in zip(COEFFICIENTS[2:], rest, strict=True):
            product = product * spectrum
            found.append(float(coefficient) * torch.fft.irfft(product.mean(1), size))
        return normalised(torch.cat(found, 1))

    return pool


# ---- Side by side


def cases() -> dict[str, Case]:
    """The poolings by name."""
    few, many, orders = sketches(2, 512, COMPACT), sketches(2, 2048, COMPACT), sketches(ORDERS, 2048, KERNEL)
    return {
        "iSQRT-COV, 28 x 28 x 256": Case((28, 28, 256), ops.isqrt_covariance, isqrt),
        "MPN-COV, 28 x 28 x 256": Case((28, 28, 256), ops.matrix_power_covariance, mpncov),
        "bilinear, 28 x 28 x 512": Case((28, 28, 512), ops.bilinear_pool, bilinear),
        "compact bilinear, 28 x 28 x 512": Case(
            (28, 28, 512), lambda x: ops.compact_bilinear_pool(x, *few, COMPACT), by_products(*few, COMPACT)
        ),
        "compact bilinear, 14 x 14 x 2048": Case(
            (14, 14, 2048), lambda x: ops.compact_bilinear_pool(x, *many, COMPACT), by_spectra(*many, COMPACT)
        ),
        "kernel, 14 x 14 x 2048": Case(
            (14, 14, 2048), lambda x: ops.kernel_pool(x, *orders, KERNEL, COEFFICIENTS), kernel(*orders, KERNEL)
        ),
    }


def measure(case: Case, rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds and ratio of the values, and of values and gradients."""
    x = np.maximum(RNG.standard_normal((BATCH, *case.shape)), 0).astype(np.float32)
    features, tensor = jnp.asarray(x), torch.tensor(x.reshape(BATCH, -1, case.shape[-1]))
    pool = jax.jit(jax.vmap(case.ours))
    weights = np.random.default_rng(1).standard_normal(pool(features).shape).astype(np.float32)
    both = jax.jit(jax.value_and_grad(lambda x: (jax.vmap(case.ours)(x) * weights).sum()))

    def forward():
        with torch.no_grad():
            return case.theirs(tensor)

    def backward():
        leaf = tensor.detach().requires_grad_()
        (case.theirs(leaf) * torch.tensor(weights)).sum().backward()
        return leaf.grad

    # Of the roots, whose smallest products' signs differ, only most agree closely.
    close = np.isclose(np.asarray(pool(features)), forward().numpy(), rtol=1e-3, atol=2e-4)
    assert close.mean() > 0.99, close.mean()
    return {
        "values": beside_torch(lambda: pool(features), forward, rounds),
        "with gradients": beside_torch(lambda: both(features), backward, rounds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help=f"turns of {CALLS} timed calls of each (default 5)")
    arguments = parser.parse_args()
    keep_freed_memory()
    began, results = time.perf_counter(), {}
    print("| what | vtnjax ms | torch ms | ratio |\n|---|---|---|---|", flush=True)
    for name, case in cases().items():
        for what, found in measure(case, arguments.rounds).items():
            results[f"{name}, {what}"] = found
            row = f"{found['vtnjax']:.1f} | {found['torch']:.1f} | {found['ratio']:.2f}"
            print(f"| {name}, {what} | {row} |", flush=True)
    command = f"python benchmarks/second_order.py --rounds {arguments.rounds}"
    figures = {"results": results}
    save("second-order", command, seconds=time.perf_counter() - began, figures=figures, packages=["torch"])


if __name__ == "__main__":
    main()
