"""How long does a whole training step take beside PyTorch? Forward, backward and SGD of the same network, in turn.

    python benchmarks/steps.py                        # all of it
    python benchmarks/steps.py --only FCN ST-FCN      # these networks alone: prints, and writes nothing

Both have the same weights, and the benchmark stops where the losses of the first two steps differ. Prints the medians
in milliseconds and the median of the ratios of neighbouring turns, and writes results/steps-<platform>.json. Needs
PyTorch, on a CPU. As train.py does it, freed memory is kept and XLA_FLAGS are `vtnjax.cpu_flags()` unless set.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import vtnjax

os.environ.setdefault("XLA_FLAGS", vtnjax.cpu_flags())

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch  # pyright: ignore[reportMissingImports]
import torch_networks as theirs
from flax import nnx
from saving import save
from timing import beside_torch

from vtnjax import models, nn, recipes, train
from vtnjax.train.memory import keep_freed_memory

RATE, CLASSES, SIZE = 1e-5, 10, 42
_DIGITS, _PHOTOGRAPHS, _TASN = (128, SIZE, SIZE, 1), (8, 224, 224, 3), (2, 512, 512, 3)
Pair = tuple[nnx.Module, Any]  # the network here and in PyTorch


class Case(NamedTuple):
    """Two networks, their images' shape, what may be the time over PyTorch's, and whether they are trained."""

    make: Callable[[], Pair]
    shape: tuple[int, ...]
    limit: float | None
    train: bool = True


def digits(name: str, warp: str = "affine") -> Pair:
    """A network of the STN paper, whose transformer does not begin at the identity."""
    model = models.STN(name, (SIZE, SIZE, 1), classes=CLASSES, warp=warp, rngs=nnx.Rngs(0))
    if model.transformer is not None:
        _stir(model.transformer.head)
    return model, theirs.STN(model, name, warp, SIZE)


def resnet(*, warped: bool) -> Pair:
    """A ResNet-50, with VTN's fields of its last map."""
    rngs = nnx.Rngs(0)
    transformer = nn.VolumetricTransformer(2048, 32, rngs=rngs) if warped else None
    if transformer is not None:
        _stir(transformer.head)
    trunk, classifier = models.ResNet("resnet50", rngs=rngs), models.PooledClassifier(2048, CLASSES, rngs=rngs)
    parts = theirs.ResNet("resnet50"), theirs.VolumetricTransformer() if warped else None
    return (
        models.WarpedFeatures(trunk, transformer, classifier),
        theirs.WarpedFeatures(*parts, theirs.PooledClassifier(2048, CLASSES)),
    )


def squeezenet() -> Pair:
    """SqueezeNet 1.1 with a linear classifier."""
    rngs = nnx.Rngs(0)
    trunk, classifier = models.SqueezeNet(rngs=rngs), models.PooledClassifier(512, CLASSES, rngs=rngs)
    return (
        models.WarpedFeatures(trunk, None, classifier),
        theirs.WarpedFeatures(theirs.SqueezeNet(), None, theirs.PooledClassifier(512, CLASSES)),
    )


def master_net() -> Pair:
    """TASN's master-net: a ResNet-18 for the attention, and a ResNet-50."""
    rngs, size = nnx.Rngs(0), 224
    trunk = models.ResNet("resnet18", strides=(1, 1, 2, 1), rngs=rngs)
    attention = models.AttentionNetwork(trunk, 512, CLASSES, size=(size, size), rngs=rngs)
    trunk = models.ResNet("resnet50", rngs=rngs)
    model = models.TASN(attention, trunk, 2048, CLASSES, shape=(size, size), parts=0, rngs=rngs)
    return model, theirs.MasterNet(CLASSES, size)


PLAIN, WARPED = "ResNet-50", "ResNet-50 with VTN"
CASES = {
    "FCN": Case(lambda: digits("fcn"), _DIGITS, 1.0),
    "ST-FCN": Case(lambda: digits("st_fcn"), _DIGITS, 1.0),
    "ST-FCN, TPS": Case(lambda: digits("st_fcn", "tps"), _DIGITS, 1.0),
    "CNN": Case(lambda: digits("cnn"), _DIGITS, 1.3),
    "ST-CNN": Case(lambda: digits("st_cnn"), _DIGITS, 1.3),
    "SqueezeNet": Case(squeezenet, _PHOTOGRAPHS, 1.5),
    PLAIN: Case(lambda: resnet(warped=False), _PHOTOGRAPHS, 1.5),
    WARPED: Case(lambda: resnet(warped=True), _PHOTOGRAPHS, 1.5),
    "TASN's master-net, forward": Case(master_net, _TASN, None, train=False),
}


def _stir(head: Any) -> None:
    """Give a layer whose kernel begins at zero another one, so that its transformer is not the identity."""
    head.kernel[...] = 0.02 * jax.random.normal(jax.random.key(3), head.kernel.shape)


def make_data(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, h, w, c) and labels (n,)."""
    rng = np.random.default_rng(0)
    return rng.uniform(size=shape).astype(np.float32), rng.integers(0, CLASSES, shape[0])


def our_step(model: nnx.Module, data: tuple[np.ndarray, np.ndarray]) -> Callable[[], jax.Array]:
    """A training step that gives the loss before it."""
    optimiser = optax.sgd(RATE)
    graphdef, state = train.create_state(model, optimiser, 0)
    step = train.make_train_step(graphdef, optimiser, lambda _, images: images, recipes.CrossEntropy())
    batch = {"image": jnp.asarray(data[0]), "label": jnp.asarray(data[1], jnp.int32)}
    compiled = jax.jit(step, donate_argnums=0).lower(state, batch).compile()
    current = [jax.tree.map(jnp.copy, state)]

    def once():
        current[0], metrics = compiled(current[0], batch)
        return metrics["loss"]

    return once


def their_step(network: Any, data: tuple[np.ndarray, np.ndarray]) -> Callable[[], Any]:
    """The same in PyTorch."""
    optimiser = torch.optim.SGD(network.train().parameters(), lr=RATE)
    images, labels = torch.tensor(data[0]).permute(0, 3, 1, 2).contiguous(), torch.tensor(data[1])

    def once():
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimiser.step()
        return loss.detach()

    return once


def our_forward(model: nnx.Module, data: tuple[np.ndarray, np.ndarray]) -> Callable[[], jax.Array]:
    """Logits in evaluation mode."""
    model.eval()
    graphdef, state = nnx.split(model)
    images = jnp.asarray(data[0])
    compiled = jax.jit(lambda state, images: nnx.merge(graphdef, state, copy=True)(images)[0])
    return lambda: compiled(state, images)


def their_forward(network: Any, data: tuple[np.ndarray, np.ndarray]) -> Callable[[], Any]:
    """The same in PyTorch."""
    images = torch.tensor(data[0]).permute(0, 3, 1, 2).contiguous()
    network.eval()

    def once():
        with torch.no_grad():
            return network(images)

    return once


def measure(case: Case, rounds: int) -> dict[str, float]:
    """Milliseconds of each, and the ratio, after a look at whether both compute the same."""
    model, network = case.make()
    theirs.load(network, model)
    data = make_data(case.shape)
    ours, other = (our_step, their_step) if case.train else (our_forward, their_forward)
    calls = ours(model, data), other(network, data)
    for tolerance in (1e-4, 5e-2):  # after a step too, where a ResNet of random weights magnifies the rounding
        found, wanted = (np.asarray(call()) for call in calls)
        np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
    return beside_torch(*calls, rounds, calls=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="timed steps of each (default 20)")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="NETWORK", help=f"of {', '.join(CASES)}")
    arguments = parser.parse_args()
    keep_freed_memory()
    began, results = time.perf_counter(), {}
    print("| network | vtnjax ms | torch ms | ratio | limit |\n|---|---|---|---|---|", flush=True)
    for name in arguments.only or CASES:
        found = results[name] = measure(CASES[name], arguments.rounds)
        limit = CASES[name].limit or ""
        print(f"| {name} | {found['vtnjax']:.1f} | {found['torch']:.1f} | {found['ratio']:.2f} | {limit} |", flush=True)
    if arguments.only is None:
        command = f"python benchmarks/steps.py --rounds {arguments.rounds}"
        figures = {"xla_flags": os.environ["XLA_FLAGS"], "results": results}
        save("steps", command, seconds=time.perf_counter() - began, figures=figures, packages=["torch"])


if __name__ == "__main__":
    main()
