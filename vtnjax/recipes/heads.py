"""Heads by name: warped features to logits."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from flax import nnx

from vtnjax import models


def _pooled(shape: Sequence[int], classes: int, **options: Any) -> nnx.Module:
    return models.PooledClassifier(shape[-1], classes, **options)


def _flat(shape: Sequence[int], classes: int, **options: Any) -> nnx.Module:
    return models.FlatClassifier(math.prod(shape), classes, **options)


# Each takes the shape (h, w, c) of the features, the number of classes, `dtype`, `rngs`, and its options by the config.
HEADS: dict[str, Callable[..., nnx.Module]] = {"pooled": _pooled, "flat": _flat}
