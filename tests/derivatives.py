"""Derivatives against central differences, as `jax.test_util.check_grads` takes them, but all in one program."""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose

STEP = 1e-4


def random_like(tree, seed):
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape)), tree)


def product(left, right):
    return sum(np.vdot(a, b) for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True))


def check_to_second_order(function, arguments, *, atol=1e-5, rtol=1e-5):
    """Compares both modes, of a function in float64 and of its gradients, with differences along one direction.

    The second order of forward mode alone is part of forward mode over reverse mode.
    """

    def gradients(*arguments):
        value, pull_back = jax.vjp(function, *arguments)
        return pull_back(value)

    @jax.jit
    def run(arguments):
        """For the function and for its gradients the value, how it moves with the arguments, and what it pulls back."""
        return [
            (*jax.jvp(each, arguments, way), jax.vjp(each, *arguments)[1](weights))
            for each, weights in zip((function, gradients), cotangents, strict=True)
        ]

    arguments = tuple(arguments)
    way = random_like(arguments, 0)
    cotangents = random_like(jax.eval_shape(function, *arguments), 1), random_like(arguments, 2)
    low, found, high = (
        run(jax.tree.map(lambda x, d, side=side: x + side * STEP * d, arguments, way)) for side in (-1, 0, 1)
    )
    for (below, *_), (_, moved, pulled), (above, *_), weights in zip(low, found, high, cotangents, strict=True):
        expected = jax.tree.map(lambda a, b: (a - b) / (2 * STEP), above, below)
        jax.tree.map(lambda a, b: assert_allclose(a, b, atol=atol, rtol=rtol), moved, expected)
        assert_allclose(product(way, pulled), product(expected, weights), atol=atol, rtol=rtol)
