"""The evaluation of a test set, in training and of what was trained."""

from collections.abc import Callable
from typing import Any

from flax import nnx
from jax.sharding import Mesh

from vtnjax import data, evaluate
from vtnjax.recipes.build import build_input
from vtnjax.train.config import Config
from vtnjax.train.mesh import to_devices


def make_evaluate(
    config: Config, test: data.Source, mesh: Mesh, *, as_stored: bool = False, **share: Any
) -> Callable[[nnx.Module], dict[str, float]]:
    """From a network in evaluation mode to its figures.

    Args:
        config: of the run.
        test: the test set.
        mesh: over which each batch is split.
        as_stored: whether the network takes images as the test set holds them, such as one of `averaged`.
        **share: `process_index` and `process_count`.
    """
    evaluation, as_input = evaluate.Classification(), build_input(config)

    def batches():
        for batch in to_devices(data.eval_batches(test, batch_size=config.batch_size, **share), mesh):
            yield batch if as_stored else {**batch, "image": as_input(batch["image"])}

    return lambda network: evaluation(network, batches)
