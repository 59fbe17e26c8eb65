"""The training step: a pure function (state, batch) -> (state, metrics)."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
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
    frozen: Where | None = None,
    ema: float = 0.0,
    micro_batches: int = 1,
    devices: int = 1,
) -> Step:
    """A step that minimises an objective of a model.

    Args:
        graphdef: the model's structure, from `create_state`.
        optimiser: the optimiser, of optax.
        prepare: the function from a random key and a batch's images to the network's input.
        objective: the loss of the model, in training mode, for the inputs that it made of the batch.
        frozen_statistics: the function that tells, from the names on a BatchNorm's path, whether it uses its running
            statistics in training too, and leaves them as they are. None: no BatchNorm does.
        frozen: the function that tells, from the names on a parameter's path, whether it has no gradient. None: each
            parameter has one.
        ema: the decay of the parameters' moving average, which the state then has: after t steps it is the smaller of
            this and (1 + t) / (10 + t), so that the first steps are soon forgotten. 0: no average.
        micro_batches: into how many parts each device's share of a batch is cut, in its order. They are computed one
            after the other, in the memory of one, and their losses and gradients averaged. BatchNorm, triplets and the
            weights of classes see one part at a time; else the step is that of the whole batch.
        devices: over how many devices a batch is spread.

    Returns:
        `(state, batch) -> (state, metrics)`. The metrics are "loss", "gradient_norm" and what the objective logs.
    """
    call = _Loss(graphdef, objective, frozen_statistics, frozen)
    return functools.partial(_train_step, call, optimiser, prepare, ema, (micro_batches, devices))


def batch_norms(model: nnx.Module) -> dict[tuple[str, ...], nnx.BatchNorm]:
    """The BatchNorms of a network by the names on their paths."""
    modules = nnx.iter_modules(model)
    return {path_names(path): module for path, module in modules if isinstance(module, nnx.BatchNorm)}


class _Loss(NamedTuple):
    """The loss of parameters, and beside it what is logged and the statistics that the model's call leaves."""

    graphdef: nnx.GraphDef
    objective: Objective
    frozen_statistics: Where | None
    frozen: Where | None

    def __call__(self, params, statistics, inputs, key):
        if self.frozen is not None:
            params = _held(params, self.frozen)
        # A copy: the merged variables are changed inside the transform, which NNX refuses for the originals.
        model = nnx.merge(self.graphdef, params, statistics, copy=True)
        model.train()
        if self.frozen_statistics is not None:
            for path, norm in batch_norms(model).items():
                norm.use_running_average = self.frozen_statistics(path)
        loss, logged = self.objective(model, inputs, key)
        return loss, (logged, nnx.state(model, nnx.Not(nnx.Param)))


def _held(params, frozen):
    """The parameters, of which those that are frozen have no gradient."""

    def held(path, parameter):
        return jax.lax.stop_gradient(parameter) if frozen(path_names(path)) else parameter

    return jax.tree_util.tree_map_with_path(held, params)


def _train_step(loss_of, optimiser, prepare, ema, parts, state, batch):
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    inputs = loss_of.objective.inputs(batch, key, prepare)
    gradient = functools.partial(jax.value_and_grad(loss_of, has_aux=True), state.params)
    if parts[0] > 1:
        gradient = _one_after_the_other(gradient, *parts)
    (loss, (logged, statistics)), gradients = gradient(state.statistics, inputs, key)
    updates, optimiser_state = optimiser.update(gradients, state.optimiser, state.params)
    params, average = optax.apply_updates(state.params, updates), None
    if ema:
        kept = jnp.minimum(ema, (1 + state.step) / (10 + state.step))
        average = optax.incremental_update(params, state.average, 1 - kept)
    state = dataclasses.replace(
        state, step=state.step + 1, params=params, statistics=statistics, optimiser=optimiser_state, average=average
    )
    return state, {"loss": loss, "gradient_norm": optax.tree.norm(gradients), **logged}


def _one_after_the_other(gradient, count, devices):
    """The same of inputs in so many parts, with the means of losses and gradients, and statistics that go on."""

    def accumulated(statistics, inputs, key):
        inputs = jax.tree.map(functools.partial(_parts, count=count, devices=devices), inputs)
        keys = jax.random.split(key, count)

        def one(carry, part):
            statistics, total = carry
            (loss, (logged, statistics)), gradients = gradient(statistics, *part)
            return (statistics, jax.tree.map(jnp.add, total, (loss, logged, gradients))), None

        first = jax.tree.map(lambda x: x[0], (inputs, keys))
        (loss, (logged, _)), gradients = jax.eval_shape(gradient, statistics, *first)
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), (loss, logged, gradients))
        (statistics, total), _ = jax.lax.scan(one, (statistics, zeros), (inputs, keys))
        loss, logged, gradients = jax.tree.map(lambda x: x / count, total)
        return (loss, (logged, statistics)), gradients

    return accumulated


def _parts(x, *, count, devices):
    """A batch (n, ...) as parts (count, n / count, ...), to each of which every device gives of its own share."""
    share = x.reshape(devices, count, -1, *x.shape[1:])
    return jnp.moveaxis(share, 1, 0).reshape(count, -1, *x.shape[1:])
