"""The state of a run between two steps."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax
from flax import nnx

# An nnx.State, whose own type parameters are of a kind that run-time type checkers warn of.
Variables: TypeAlias = Any
# An array; JAX also puts a state together from descriptions of arrays, such as their shapes.
Leaf: TypeAlias = Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything a step changes, and the key all its randomness is folded from.

    Attributes:
        step: the number of steps done, int32 (); in states stacked by `train_together` all arrays begin with an axis of
            seeds.
        params: the learned parameters.
        statistics: the model's other variables, such as batch statistics.
        optimiser: the optimiser's state, of optax.
        key: the raw data of the run's random key, uint32; step i uses the key folded with i, so resuming is exact.
        average: the moving average of the parameters, which is what is evaluated; None: there is none.
    """

    step: Leaf
    params: Variables
    statistics: Variables
    optimiser: Any
    key: Leaf
    average: Variables | None = None


def create_state(
    model: nnx.Module, optimiser: optax.GradientTransformation, seed: int, *, average: bool = False
) -> tuple[nnx.GraphDef, TrainState]:
    """The structure of a model, and the state of a run that begins with it, with or without the `average`."""
    graphdef, params, statistics = nnx.split(model, nnx.Param, ...)
    key = jax.random.key_data(jax.random.key(seed))
    # Copies, because a step takes the buffers of both over.
    averaged = jax.tree.map(jnp.copy, params) if average else None
    return graphdef, TrainState(jnp.zeros((), jnp.int32), params, statistics, optimiser.init(params), key, averaged)


def merged(graphdef: nnx.GraphDef, state: TrainState) -> Any:
    """The model of a state, in evaluation mode; a copy, which shares no variable with the state.

    Its parameters are the averaged ones where the state has such.
    """
    params = state.params if state.average is None else state.average
    model = nnx.merge(graphdef, params, state.statistics, copy=True)
    model.eval()
    return model


def parameter_table(params: Variables) -> str:
    """A line for each parameter, its path, shape and size, and the total."""
    rows = [(name.replace("/", "."), str(leaf.shape), f"{leaf.size:,}") for name, leaf in named_leaves(params).items()]
    rows.append(("parameters in all", "", f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,}"))
    wide = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join(f"  {name:<{wide[0]}}  {shape:<{wide[1]}}  {size:>{wide[2]}}" for name, shape, size in rows)


def named_leaves(tree: Any) -> dict[str, Any]:
    """The leaves of a pytree by their paths, "transformer/head/kernel", without Flax's box around each value."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    names = [jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value") for path, _ in leaves]
    return dict(zip(names, (leaf for _, leaf in leaves), strict=True))


def path_names(path: Sequence[Any]) -> tuple[str, ...]:
    """The names on the path of a leaf, such as ("transformer", "head", "kernel")."""
    return tuple(str(getattr(key, "key", getattr(key, "name", key))) for key in path)
