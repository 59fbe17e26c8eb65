"""A recipe's evaluation of its test set."""

from collections.abc import Callable
from typing import Any

from flax import nnx
from jax.sharding import Mesh

from vtnjax import data
from vtnjax.recipes.recipe import Recipe
from vtnjax.train.mesh import to_devices


def make_evaluate(
    recipe: Recipe, batch_size: int, mesh: Mesh, *, as_stored: bool = False, **share: Any
) -> Callable[[nnx.Module], dict[str, float]]:
    """The function from a network in evaluation mode to its figures.

    Args:
        recipe: the run's recipe.
        batch_size: the number of images in a batch of the test set.
        mesh: the mesh over which each batch is split.
        as_stored: True for a network that takes images as the test set holds them, such as `averaged` makes.
        **share: the `process_index` and `process_count` of this process.
    """

    def test():
        for batch in to_devices(data.eval_batches(recipe.test, batch_size=batch_size, **share), mesh):
            yield batch if as_stored else {**batch, "image": recipe.as_input(batch["image"])}

    return lambda network: recipe.evaluation(network, test)
