"""Copies of modules that learn on their own."""

from typing import TypeVar

import jax
import jax.numpy as jnp
from flax import nnx

_Module = TypeVar("_Module")


def copy_module(module: _Module) -> _Module:
    """A module like it with arrays of its own.

    `nnx.clone` shares the arrays, and a training step that takes over its state's may not be given one twice.
    """
    graphdef, state = nnx.split(module)
    return nnx.merge(graphdef, jax.tree.map(jnp.copy, state))
