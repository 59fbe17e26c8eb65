"""What do the transformers cost on an accelerator? Training steps of the papers' networks beside the plain ones.

    python benchmarks/device.py                    # all of it, on a GPU or a TPU
    python benchmarks/device.py --only tasn copy   # parts of it

A step is forward, backward and update with momentum, in bfloat16 where not said otherwise, of images that are on the
device. Prints a row as soon as it is measured and writes results/device-<platform>.json after each, or
results/device-<parts>-<platform>.json of parts. `copy` is the bandwidth that the samplers of `benchmarks/sampling.py`
are held against.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from timing import median

from vtnjax import models, recipes, train
from vtnjax.experiments.record import write_record
from vtnjax.recipes.together import together

CLASSES = 200
_CROSS_ENTROPY = recipes.CrossEntropy()
Row = tuple[str, dict[str, float]]


def step_milliseconds(
    model: nnx.Module,
    shape: tuple[int, ...],
    labels: jax.Array,
    rounds: int,
    objective: train.Objective = _CROSS_ENTROPY,
) -> dict[str, float]:
    """Milliseconds and images a second of a training step, and the gigabytes it needs beside its arguments."""
    optimiser = optax.sgd(1e-3, momentum=0.9)
    graphdef, state = train.create_state(model, optimiser, 0)
    step = train.make_train_step(graphdef, optimiser, lambda _, images: images, objective)
    batch = {"image": jax.random.uniform(jax.random.key(0), shape), "label": labels}
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    memory = compiled.memory_analysis()
    current = [jax.tree.map(jnp.copy, state)]

    def once():
        current[0], metrics = compiled(current[0], batch)
        return metrics

    found = median(once, rounds, burst=3)
    return {
        "milliseconds": found,
        "images_per_second": 1000 * shape[0] / found,
        "step_gigabytes": memory.temp_size_in_bytes / 1e9 if memory else float("nan"),
    }


def photographs(rounds: int) -> Iterator[Row]:
    """A ResNet-50 at 448 x 448, 32 images: plain, and with warps of its last map."""
    yield "ResNet-50, plain", _photograph_step(rounds, "none")
    yield "ResNet-50, STN", _photograph_step(rounds, "stn")
    yield "ResNet-50, VTN", _photograph_step(rounds, "vtn")
    yield "ResNet-50, VTN, consistency loss", _photograph_step(rounds, "vtn", objective=recipes.Consistency(1.0, 30.0))


def second_order(rounds: int) -> Iterator[Row]:
    """The same with iSQRT-COV, which the papers put on a trunk of stride 16."""
    yield "ResNet-50, iSQRT-COV", _photograph_step(rounds, "none", head="isqrt", last_stride=1)
    yield "ResNet-50, VTN and iSQRT-COV", _photograph_step(rounds, "vtn", head="isqrt", last_stride=1)


def _photograph_step(rounds, warp, *, head="pooled", last_stride=2, objective=_CROSS_ENTROPY):
    shape, labels = (32, 448, 448, 3), jnp.arange(32) // 4
    rngs, dtype = nnx.Rngs(0), jnp.bfloat16
    trunk = models.ResNet("resnet50", strides=(1, 2, 2, last_stride), dtype=dtype, rngs=rngs)
    features = models.features_shape(trunk, shape[1:])
    transformer = recipes.FEATURE_WARPS[warp](trunk, features, dtype=dtype, rngs=rngs)
    classifier = recipes.HEADS[head](features, CLASSES, dtype=dtype, rngs=rngs)
    return step_milliseconds(models.WarpedFeatures(trunk, transformer, classifier), shape, labels, rounds, objective)


def house_numbers(rounds: int) -> Iterator[Row]:
    """STN 4.2: the paper's Multi is 6 % slower than its CNN. Batch 128 of 64 x 64, float32."""
    labels = jax.random.randint(jax.random.key(1), (128, 5), 0, 11)
    for name in ("cnn", "single", "multi"):
        network = models.house_number_network(name, (64, 64, 3), rngs=nnx.Rngs(0))
        yield f"house numbers, {name}", step_milliseconds(network, (128, 64, 64, 3), labels, rounds)


def tasn(rounds: int) -> Iterator[Row]:
    """TASN's step, 32 images of 512 x 512 sampled to 224 x 224, beside a plain ResNet-50 at 224 x 224."""
    dtype, rngs, labels = jnp.bfloat16, nnx.Rngs(0), jnp.arange(32)

    def trunk():
        return models.ResNet("resnet50", dtype=dtype, rngs=rngs)

    plain = models.WarpedFeatures(trunk(), None, models.PooledClassifier(2048, CLASSES, dtype=dtype, rngs=rngs))
    yield "ResNet-50 at 224", step_milliseconds(plain, (32, 224, 224, 3), labels, rounds)
    attentive = models.ResNet("resnet18", strides=(1, 1, 2, 1), dtype=dtype, rngs=rngs)
    attention = models.AttentionNetwork(attentive, 512, CLASSES, size=(224, 224), dtype=dtype, rngs=rngs)
    network = models.TASN(attention, trunk(), 2048, CLASSES, shape=(224, 224), dtype=dtype, rngs=rngs)
    yield "TASN, both nets", step_milliseconds(network, (32, 512, 512, 3), labels, rounds, recipes.Distillation())


def seeds(rounds: int) -> Iterator[Row]:
    """Several seeds of a small ST-FCN in one step: batch 128 of 42 x 42 each, float32."""
    optimiser = optax.sgd(1e-2, momentum=0.9)
    images = jax.random.uniform(jax.random.key(0), (128, 42, 42, 1))
    for count in (1, 4, 16, 64):
        members = [
            train.create_state(
                models.STN("st_fcn", (42, 42, 1), classes=10, warp="affine", rngs=nnx.Rngs(i)), optimiser, i
            )
            for i in range(count)
        ]
        state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[state for _, state in members])
        step = jax.jit(
            together(train.make_train_step(members[0][0], optimiser, lambda _, images: images, _CROSS_ENTROPY))
        )
        batch = {"image": jnp.stack([images] * count), "label": jnp.zeros((count, 128), jnp.int32)}
        found = median(lambda step=step, state=state, batch=batch: step(state, batch)[1], rounds, burst=10)
        yield f"ST-FCN, {count} seeds", {"milliseconds": found, "milliseconds_a_seed": found / count}


def copy(rounds: int) -> Iterator[Row]:
    """The bandwidth of a large copy, read and written bytes together."""
    x, add = jnp.zeros(2**29, jnp.float32), jax.jit(lambda x: x + 1)
    found = median(lambda: add(x), rounds)
    yield "copy of 2 GB", {"milliseconds": found, "gigabytes_per_second": 2 * x.nbytes / 1e6 / found}


PARTS = {
    "copy": copy,
    "photographs": photographs,
    "second_order": second_order,
    "house_numbers": house_numbers,
    "tasn": tasn,
    "seeds": seeds,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="timed bursts of each (default 10)")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts alone")
    arguments = parser.parse_args()
    some = [] if set(arguments.only) == set(PARTS) else arguments.only
    file = "-".join(["device", *some, jax.default_backend()]) + ".json"
    path = Path(__file__).parent.parent / "results" / file
    results, began = {}, time.perf_counter()
    for part in arguments.only:
        for name, figures in PARTS[part](arguments.rounds):
            results[name] = figures
            print(f"{name:32}" + "  ".join(f"{value:10.2f} {key}" for key, value in figures.items()), flush=True)
            command = f"python benchmarks/device.py --rounds {arguments.rounds} --only {' '.join(arguments.only)}"
            write_record(path, command, seconds=time.perf_counter() - began, figures=results)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
