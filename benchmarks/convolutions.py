"""Which convolutions make a training step longer than PyTorch's? Each of a network's, alone, beside PyTorch.

    python benchmarks/convolutions.py

Traces networks of benchmarks/steps.py and runs each different convolution of them in turn in both: the values, and the
gradients to input and kernel (to the kernel alone where the input is the image). Prints for each kind how often the
network has it and the medians in milliseconds, sums them up over the network, and writes
results/convolutions-<platform>.json. Needs PyTorch, on a CPU.
"""

import argparse
import collections
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import steps
import torch  # pyright: ignore[reportMissingImports]
from flax import nnx
from jax import lax
from jax.extend import core
from saving import save
from timing import beside_torch

from vtnjax.train.memory import keep_freed_memory

NETWORKS = ("CNN",)  # whose step misses its limit
LAYOUT = ("NHWC", "HWIO", "NHWC")


class Convolution(NamedTuple):
    """The shapes of input and kernel, the strides, and the padding."""

    image: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        (_, h, w, c), (rows, columns, _, outputs), (stride, _) = self.image, self.kernel, self.strides
        return f"{rows} x {columns}, {c} to {outputs}, of {h} x {w}{f', stride {stride}' * (stride > 1)}"


def convolutions(jaxpr: Any) -> Iterator[Convolution]:
    """All convolutions of a program, also of the functions that it calls."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            image, kernel = (variable.aval.shape for variable in equation.invars)
            params = equation.params
            yield Convolution(image, kernel, tuple(params["window_strides"]), tuple(map(tuple, params["padding"])))
        for value in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda each: isinstance(each, core.Jaxpr | core.ClosedJaxpr)
        ):
            if isinstance(value, core.Jaxpr | core.ClosedJaxpr):
                yield from convolutions(getattr(value, "jaxpr", value))


def of_network(name: str) -> collections.Counter[Convolution]:
    """The convolutions of a network, and how often it has each."""
    case = steps.CASES[name]
    graphdef, state = nnx.split(case.make()[0])
    traced = jax.make_jaxpr(lambda state, image: nnx.merge(graphdef, state, copy=True)(image)[0])
    return collections.Counter(convolutions(traced(state, jnp.zeros(case.shape)).jaxpr))


def ours(convolution: Convolution, arrays: tuple[np.ndarray, np.ndarray]) -> Any:
    """A call that computes values and gradients."""
    by = (0, 1) if convolution.image[-1] > 3 else (1,)

    def conv(image, kernel):
        options = {"padding": convolution.padding, "dimension_numbers": LAYOUT}
        return lax.conv_general_dilated(image, kernel, convolution.strides, **options)

    def both(image, kernel):
        value, pull = jax.vjp(conv, image, kernel)
        return [value, *(pull(value)[i] for i in by)]

    program, given = jax.jit(both), tuple(map(jnp.asarray, arrays))
    return lambda: program(*given)


def theirs(convolution: Convolution, arrays: tuple[np.ndarray, np.ndarray]) -> Any:
    """The same in PyTorch."""
    image, kernel = torch.tensor(arrays[0]).permute(0, 3, 1, 2), torch.tensor(arrays[1]).permute(3, 2, 0, 1)
    image, kernel = image.contiguous(), kernel.contiguous().requires_grad_()
    image.requires_grad_(convolution.image[-1] > 3)
    (top, bottom), (left, right) = convolution.padding
    even = (top, left) == (bottom, right)
    leaves = [kernel, *([image] if image.requires_grad else [])]

    def both():
        padded = image if even else torch.nn.functional.pad(image, (left, right, top, bottom))
        margin = (top, left) if even else 0
        value = torch.nn.functional.conv2d(padded, kernel, stride=convolution.strides, padding=margin)
        return [value, *torch.autograd.grad(value, leaves, value.detach())]

    return both


def measure(convolution: Convolution, rounds: int) -> dict[str, float]:
    """Milliseconds of both, and their ratio."""
    rng = np.random.default_rng(0)
    shapes = convolution.image, convolution.kernel
    image, kernel = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    mine, other = ours(convolution, (image, kernel)), theirs(convolution, (image, kernel))
    expected = np.moveaxis(other()[0].detach().numpy(), 1, -1)
    np.testing.assert_allclose(mine()[0], expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    return beside_torch(mine, other, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2, help="turns of each (default 2)")
    arguments = parser.parse_args()
    keep_freed_memory()
    began, results = time.perf_counter(), {}
    for name in NETWORKS:
        rows = {}
        for convolution, count in of_network(name).items():
            rows[str(convolution)] = found = {"count": count, **measure(convolution, arguments.rounds)}
            print(f"{name}: {count} x {convolution}: {found['vtnjax']:.1f} {found['torch']:.1f} ms", flush=True)
        sums = {who: sum(row["count"] * row[who] for row in rows.values()) for who in ("vtnjax", "torch")}
        results[name] = {"convolutions": rows, **sums, "ratio": sums["vtnjax"] / sums["torch"]}
        print(f"{name}, all: {sums['vtnjax']:.0f} {sums['torch']:.0f} ms, ratio {results[name]['ratio']:.2f}")
    command = f"python benchmarks/convolutions.py --rounds {arguments.rounds}"
    figures = {"results": results}
    save("convolutions", command, seconds=time.perf_counter() - began, figures=figures, packages=["torch"])


if __name__ == "__main__":
    main()
