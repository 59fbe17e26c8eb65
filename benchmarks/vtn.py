"""What does a volumetric transformer cost? Time and memory of a training step of the module alone.

    python benchmarks/vtn.py

prints a table and writes results/vtn-<platform>.json. The memory is what the compiled step needs beside its arguments;
the resident set is that of the whole process, in which each case runs alone. XLA_FLAGS are `vtnjax.cpu_flags()`, as in
train.py, unless they are set. What it adds to a ResNet-50's step on an accelerator, `benchmarks/device.py --only
photographs` measures.
"""

import argparse
import functools
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any, NamedTuple

from vtnjax import cpu_flags

os.environ.setdefault("XLA_FLAGS", cpu_flags())  # as train.py sets it

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from saving import save
from timing import median

from vtnjax import nn


class Case(NamedTuple):
    """Features (n, h, w, c) and how many fields."""

    name: str
    n: int
    h: int
    w: int
    c: int
    groups: int


CASES = (
    Case("ResNet-50, 32 groups", 8, 14, 14, 2048, 32),
    Case("VGG-19, 32 groups", 4, 28, 28, 512, 32),
    Case("VGG-19 without grouping", 4, 28, 28, 512, 512),
)


def gradient_of(module: nnx.Module):
    """A function `(params, rest, x)` that gives the gradients of the mean square of the module's first output."""
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)

    def loss(params, rest, x):
        y, _ = nnx.merge(graphdef, params, rest, copy=True)(x)
        return jnp.mean(jnp.square(y))

    return jax.jit(jax.grad(loss, argnums=(0, 2))), (params, rest)


def measure(case: Case, rounds: int) -> dict[str, float]:
    """Milliseconds of a step, and gigabytes."""
    module = nn.VolumetricTransformer(case.c, case.groups, rngs=nnx.Rngs(0))
    gradient, state = gradient_of(module)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((case.n, case.h, case.w, case.c), np.float32))
    compiled = gradient.lower(*state, x).compile()
    memory = compiled.memory_analysis()
    return {
        "milliseconds": median(functools.partial(compiled, *state, x), rounds),
        "step_gigabytes": memory.temp_size_in_bytes / 1e9 if memory else float("nan"),
        "process_gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="timed steps of each (default 3)")
    parser.add_argument("--case", choices=[case.name for case in CASES], help="print this case alone, as JSON")
    arguments = parser.parse_args()
    if arguments.case:
        (case,) = [case for case in CASES if case.name == arguments.case]
        print(json.dumps(measure(case, arguments.rounds)))
        return
    began = time.perf_counter()
    results: dict[str, Any] = {}
    for case in CASES:
        command = [sys.executable, __file__, "--rounds", str(arguments.rounds), "--case", case.name]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results[case.name] = {**case._asdict(), **json.loads(out)}
        figures = results[case.name]
        print(
            f"{case.name:25} {figures['milliseconds']:8.0f} ms  {figures['step_gigabytes']:.2f} GB for the step, "
            f"{figures['process_gigabytes']:.2f} GB resident",
            flush=True,
        )
    command = f"python benchmarks/vtn.py --rounds {arguments.rounds}"
    save("vtn", command, seconds=time.perf_counter() - began, figures={"results": results})


if __name__ == "__main__":
    main()
