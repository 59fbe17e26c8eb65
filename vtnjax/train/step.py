"""The training step: a pure function (state, batch) -> (state, metrics)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

import jax
import optax
from flax import nnx
from jaxtyping import Array, Float, Num, PRNGKeyArray

from vtnjax.train.state import TrainState, path_names

Batch: TypeAlias = dict[str, Array]
Prepare: TypeAlias = Callable[[PRNGKeyArray, Num[Array, "n h w c"]], Float[Array, "n *sizes c"]]
Step: TypeAlias = Callable[[TrainState, Batch], tuple[TrainState, dict[str, Array]]]
Where: TypeAlias = Callable[[tuple[str, ...]], bool]


@runtime_checkable
class Objective(Protocol):
    """The loss that is minimised. Both methods are traced: they are pure functions of their arguments.

    `key` is the step's own. An objective folds what it draws from this key, so that resuming is exact.
    """

    def inputs(self, batch: Batch, key: PRNGKeyArray, prepare: Prepare) -> Any:
        """The inputs of the loss, computed from a batch before the network is called, outside the gradient."""
        ...

    def __call__(
        self, model: Any, inputs: Any, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
        """The loss, a mean over the global batch, and what is logged beside it, by name."""
        ...


def make_train_step(
    graphdef: nnx.GraphDef,
    optimiser: optax.GradientTransformation,
    prepare: Prepare,
    objective: Objective,
    *,
    frozen_statistics: Where | None = None,
) -> Step:
    """A step that minimises an objective of a model.

    Args:
        graphdef: the model's structure, from `create_state`.
        optimiser: the optimiser, of optax.
        prepare: the function from a random key and a batch's images to the network's input.
        objective: the loss of the model, in training mode, for the inputs that it made of the batch.
        frozen_statistics: the function that tells, from the names on a BatchNorm's path, whether it uses its running
            statistics in training too, and leaves them as they are. None: no BatchNorm does.

    Returns:
        `(state, batch) -> (state, metrics)`. The metrics are "loss", "gradient_norm" and what the objective logs.
    """
    return functools.partial(_train_step, graphdef, optimiser, prepare, objective, frozen_statistics)


def batch_norms(model: nnx.Module) -> dict[tuple[str, ...], nnx.BatchNorm]:
    """The BatchNorms of a network by the names on their paths."""
    modules = nnx.iter_modules(model)
    return {path_names(path): module for path, module in modules if isinstance(module, nnx.BatchNorm)}


def _train_step(graphdef, optimiser, prepare, objective, frozen_statistics, state, batch):
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    inputs = objective.inputs(batch, key, prepare)

    def loss_of(params):
        # A copy: the merged variables are changed inside the transform, which NNX refuses for the originals.
        model = nnx.merge(graphdef, params, state.statistics, copy=True)
        model.train()
        if frozen_statistics is not None:
            for path, norm in batch_norms(model).items():
                norm.use_running_average = frozen_statistics(path)
        loss, logged = objective(model, inputs, key)
        return loss, (logged, nnx.state(model, nnx.Not(nnx.Param)))

    (loss, (logged, statistics)), gradients = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    updates, optimiser_state = optimiser.update(gradients, state.optimiser, state.params)
    state = dataclasses.replace(
        state,
        step=state.step + 1,
        params=optax.apply_updates(state.params, updates),
        statistics=statistics,
        optimiser=optimiser_state,
    )
    return state, {"loss": loss, "gradient_norm": optax.tree.norm(gradients), **logged}
