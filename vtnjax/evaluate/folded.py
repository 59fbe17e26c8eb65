"""How much of a warp folds over, over a test set."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vtnjax import ops


def folded(out: Mapping[str, Any]) -> Float[Array, "n"] | None:
    """The share of the cells of each image's warp that fold, see `ops.folds`; of several fields their mean.

    Args:
        out: what a network tells beside its logits. Its warp is `coords`, (n, h, w, 2), or (n, h, w, groups, 2) of a
            volumetric transformer, which also tells its `displacement`.

    Returns:
        (n,), float32 in 0..1, or None where the network has no such warp. Windows, which several affine warps read
        from an image, are none.
    """
    coords = out.get("coords")
    if coords is None or not (coords.ndim == 4 or "displacement" in out):
        return None
    if coords.shape[-1] != 2 or min(coords.shape[1:3]) < 2:
        return None
    folds = jax.vmap(ops.folds)(coords)
    return folds.mean(tuple(range(1, folds.ndim)), dtype=jnp.float32)
