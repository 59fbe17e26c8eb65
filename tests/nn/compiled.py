"""Modules run compiled: faster here than operation by operation, and each structure is compiled once."""

import functools

import jax
from flax import nnx


@functools.partial(jax.jit, static_argnums=0)
def _call(graphdef, state, arrays, given):
    return nnx.merge(graphdef, state, copy=True)(*arrays, **given)


def run(module, *arrays, **given):
    """What a module makes of arrays; the module itself stays as it was."""
    return _call(*nnx.split(module), arrays, given)
