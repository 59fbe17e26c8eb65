"""Heads by name: warped features to logits; and the poolings of which some of them are made."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from flax import nnx

from vtnjax import models, nn


def _cbp(channels: int, *, dtype: Any, **options: Any) -> nn.CompactBilinearPool:
    return nn.CompactBilinearPool(channels, **options)


def _kp(channels: int, *, dtype: Any, **options: Any) -> nn.KernelPool:
    return nn.KernelPool(channels, **options)


# Each takes the number of channels, `dtype`, `rngs`, and its options by the config, and has a `size`.
POOLINGS: dict[str, Callable[..., Any]] = {
    "bp": nn.BilinearPool,
    "cbp": _cbp,
    "kp": _kp,
    "mpncov": nn.MPNCOV,
    "isqrt": nn.ISQRTCOV,
}


def _pooled(shape: Sequence[int], classes: int, **options: Any) -> nnx.Module:
    return models.PooledClassifier(shape[-1], classes, **options)


def _flat(shape: Sequence[int], classes: int, **options: Any) -> nnx.Module:
    return models.FlatClassifier(math.prod(shape), classes, **options)


def _described(
    pooling: str, shape: Sequence[int], classes: int, *, dtype: Any, rngs: nnx.Rngs, **options: Any
) -> nnx.Module:
    pool = POOLINGS[pooling](shape[-1], dtype=dtype, rngs=rngs, **options)
    return models.DescriptorClassifier(pool, classes, dtype=dtype, rngs=rngs)


# Each takes the shape (h, w, c) of the features, the number of classes, `dtype`, `rngs`, and its options by the config.
HEADS: dict[str, Callable[..., nnx.Module]] = {
    "pooled": _pooled,
    "flat": _flat,
    **{name: functools.partial(_described, name) for name in POOLINGS},
}
