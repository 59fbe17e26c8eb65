"""Poolings of descriptors by name: warped features to one vector an image, which a search compares."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from vtnjax import nn, ops

_MAC, _SPOC, _CROW = jax.vmap(ops.mac), jax.vmap(ops.spoc), jax.vmap(ops.crow)  # one object each: compiled once


def _without_options(pool: Callable[..., Any]) -> Callable[..., Any]:
    """A pooling that has neither parameters nor options."""

    def make(channels: int, *, dtype: Any, rngs: nnx.Rngs) -> Callable[..., Any]:
        return pool

    return make


def _gem(channels: int, *, dtype: Any, **options: Any) -> nn.GeM:
    return nn.GeM(channels, **options)


# Each takes the number of channels, `dtype`, `rngs`, and its options by the config; where it changes the number of
# channels it has a `size`.
POOLS: dict[str, Callable[..., Any]] = {
    "mac": _without_options(_MAC),
    "spoc": _without_options(_SPOC),
    "crow": _without_options(_CROW),
    "gem": _gem,
    "rmac": nn.RMAC,
}
