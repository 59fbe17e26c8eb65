"""Keep XLA's CPU compiler from merging one part of a program with the next."""

from collections.abc import Callable, Hashable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax


# Compiled, so that outside jit a second call finds the program of the first.
@partial(jax.jit, static_argnums=(0, 1))
def apart(function: Callable, options: tuple[Hashable, ...], *arrays: jax.Array):
    """`function(*arrays, *options)`, on a CPU compiled by itself.

    XLA compiles gathers into whatever reads them, again for each reader, in loops that no longer vectorise, and keeps
    in memory what two sums of gathers have in common. It merges nothing across the border of a conditional, also one
    whose other branch is never taken: the barrier hides that from it. (A barrier around arrays it removes too early.)

    Args:
        function: a function of arrays with a name of its own: another `partial` would be compiled anew at each call.
        options: further arguments, constants.
        arrays: the arguments.
    """

    def call(*arrays):
        return function(*arrays, *options)

    return lax.platform_dependent(*arrays, cpu=partial(_in_a_branch, call), default=call)


def read_apart(function: Callable, options: tuple[Hashable, ...], image: jax.Array, coords: jax.Array) -> jax.Array:
    """`apart` of a sampler: an image (*sizes, g, c) at (*points, g, n) gives (*points, g, c).

    The groups cross the border merged with what is last: of an array with axes of size 1 XLA chooses another layout
    there, and copies it slowly.
    """
    flat = apart(_read, (function, options, image.shape[-2]), _merged(image), _merged(coords))
    return _split(flat, image.shape[-2])


def _read(image, coords, function, options, groups):
    return _merged(function(_split(image, groups), _split(coords, groups), *options))


def _merged(x):
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def _split(x, groups):
    return x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)


def _in_a_branch(call, *arrays):
    shapes = jax.eval_shape(call, *arrays)

    def never_run(*arrays):
        return jax.tree.map(lambda out: jnp.zeros(out.shape, out.dtype, out_sharding=out.sharding), shapes)

    return lax.cond(lax.optimization_barrier(jnp.zeros((), bool)), never_run, call, *arrays)
