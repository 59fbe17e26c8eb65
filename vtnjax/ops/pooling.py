"""Global pooling of a feature map to one descriptor, as instance-level retrieval compares images.

None is brought to length 1 here: whoever compares descriptors does that last. All are computed in float32 at least: in
float16 the third power of a small activation is 0, and its gradient not a number.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from vtnjax._arrays import as_coords, as_positions, check_floating, clamp, highest
from vtnjax._checks import check_at_least_1, check_positive

# Beside a region's length before it is divided by that, as the reference code has it.
_EPSILON = 1e-6
_MOST_ADDED = 6


def mac(features: Float[ArrayLike, "h w c"]) -> Float[Array, " c"]:
    """Maximum activation of convolutions: each channel's highest value (MAC, Tolias 2016).

    Args:
        features: (h, w, c), floating.

    Returns:
        (c,), at least float32. Of equal values the first has the gradient.

    Raises:
        ValueError: if the features are not floating (h, w, c) with at least one position.

    Examples:
        >>> features = jnp.array([[[1.0, 0.0], [3.0, 2.0]]])  # one row of two positions, two channels
        >>> ops.mac(features).tolist()
        [3.0, 2.0]
    """
    return highest(as_positions("features", features).T)


def spoc(features: Float[ArrayLike, "h w c"]) -> Float[Array, " c"]:
    """Sum-pooled convolutional features: each channel's mean (SPoC, Babenko 2015, without its centre prior).

    Args:
        features: (h, w, c), floating.

    Returns:
        (c,), at least float32.

    Raises:
        ValueError: if the features are not floating (h, w, c) with at least one position.

    Examples:
        >>> features = jnp.array([[[1.0, 0.0], [3.0, 2.0]]])  # one row of two positions, two channels
        >>> ops.spoc(features).tolist()
        [2.0, 1.0]
    """
    return as_positions("features", features).mean(0)


def gem(features: Float[ArrayLike, "h w c"], p: Float[ArrayLike, "*p"], *, epsilon: float = 1e-6) -> Float[Array, " c"]:
    """Generalised mean: (mean over positions of x ** p) ** (1 / p) of each channel (GeM, Radenovic 2018, Eq. 3).

    With p = 1 it is the mean, and the larger p, the nearer the maximum. The powers are taken of each value over its
    channel's highest, so that no p overflows.

    Args:
        features: (h, w, c), floating.
        p: a number above 0, or one for each channel, (c,); it has a gradient.
        epsilon: smaller features count as this, above 0; they have no gradient.

    Returns:
        (c,), at least float32.

    Raises:
        ValueError: if the features are not floating (h, w, c) with at least one position, `p` has another shape or is
            known and not above 0, or `epsilon` is not above 0 and finite.

    Examples:
        >>> features = jnp.array([[[1.0, 4.0], [7.0, 4.0]]])  # one row of two positions, two channels
        >>> ops.gem(features, 1.0).round(2).tolist()  # the mean
        [4.0, 4.0]
        >>> ops.gem(features, 2.0).round(2).tolist()  # the root mean square
        [5.0, 4.0]
    """
    x = as_positions("features", features)
    check_positive("epsilon", epsilon)
    p = jnp.asarray(p, x.dtype) if isinstance(p, int | float) else jnp.asarray(p)
    check_floating("p", p)
    if p.shape not in ((), x.shape[1:]):
        raise ValueError(f"p must be a number or one for each channel, {x.shape[1:]}, but its shape is {p.shape}")
    if not isinstance(p, Tracer) and not np.all(np.asarray(p) > 0):  # by NumPy: JAX would trace the comparison
        raise ValueError(f"p must be above 0, not {p}")
    p = jnp.broadcast_to(p.astype(x.dtype), x.shape[1:])
    x = clamp(x, epsilon, jnp.inf)
    largest = lax.stop_gradient(x.max(0))  # the result does not depend on what the values are divided by
    return largest * ((x / largest[None]) ** p[None]).mean(0) ** (1 / p)


def crow(features: Float[ArrayLike, "h w c"]) -> Float[Array, " c"]:
    """Cross-dimensional weighting of positions and channels, then a sum over the positions (CroW, Kalantidis 2016).

    A position weighs the root of its channels' sum, over the length of the map of these sums. A channel weighs log(sum
    of q / q_k), where q_k is the share of positions at which channel k is not 0, and nothing if there is none. The
    shares have no gradient. CroW is made for activations that are not negative: a negative sum weighs nothing. Where
    the reference divides by 0, for a map of zeros, this gives 0 and a gradient of 0.

    Args:
        features: (h, w, c), floating.

    Returns:
        (c,), at least float32.

    Raises:
        ValueError: if the features are not floating (h, w, c) with at least one position.

    Examples:
        >>> features = jnp.array([[[1.0, 1.0], [1.0, 0.0]]])  # the second channel is 0 at the second position
        >>> [f"{value:.2f}" for value in ops.crow(features)]  # so it weighs more
        ['0.65', '1.04']
    """
    x = as_positions("features", features)
    energy = x.sum(1)
    length = _length(energy)
    weight = _root(energy / jnp.where(length == 0, 1, length))
    share = (x != 0).mean(0, dtype=x.dtype)
    rarity = jnp.where(share > 0, jnp.log(share.sum() / jnp.where(share > 0, share, 1)), 0)
    return (weight[:, None] * x).sum(0) * rarity


def rmac(features: Float[ArrayLike, "h w c"], *, levels: int = 3) -> Float[Array, " c"]:
    """Regional maxima, each brought to length 1, added up (R-MAC, Tolias 2016), without whitening.

    As in the reference code the maximum of the whole map is added too, which a square map then counts twice. The
    original paper has it once, and whitens each region: `nn.RMAC` can.

    Args:
        features: (h, w, c), floating.
        levels: how many sizes of regions, at least 1; see `regional_maxima`.

    Returns:
        (c,), at least float32. A region of zeros adds nothing and has no gradient.

    Raises:
        ValueError: if the features are not floating (h, w, c) with at least one position, or there is no level.

    Examples:
        >>> rmac = jax.jit(ops.rmac)
        >>> rmac(jnp.ones((14, 14, 1))).round(2).tolist()  # 14 regions and the whole map, each of length 1
        [15.0]
    """
    return unit(regional_maxima(features, levels=levels)).sum(0)


def regional_maxima(features: Float[ArrayLike, "h w c"], *, levels: int = 3) -> Float[Array, "regions c"]:
    """Each channel's highest value in the whole map and in each region of R-MAC, (1 + regions, c), at least float32.

    On level l the regions are squares of 2 w / (l + 1) pixels, rounded down, of a map whose shorter side has w. There
    are l of them along the shorter side, and more along the longer one, so many that neighbours on the first level
    overlap by 40 % as nearly as may be. They are spread evenly, and their places are computed in whole numbers:
    floating point goes wrong at ties (of 3 x 11 positions the reference code makes 44 regions in place of 38).

    Raises:
        ValueError: as `rmac`.
    """
    x = as_coords("features", features)
    whole = mac(features)[None]
    check_at_least_1("levels", levels)
    found = [whole]
    for size, rows, columns in _regions(x.shape[0], x.shape[1], levels):
        bands = highest(jnp.moveaxis(_windows(x, rows, size), 1, -1))  # (rows, w, c)
        squares = highest(jnp.moveaxis(_windows(jnp.moveaxis(bands, 1, 0), columns, size), 1, -1))  # (columns, rows, c)
        found.append(jnp.moveaxis(squares, 1, 0).reshape(len(rows) * len(columns), x.shape[-1]))
    return jnp.concatenate(found)


def unit(vectors: Float[Array, "*n c"]) -> Float[Array, "*n c"]:
    """Vectors over their lengths plus 1e-6, as the reference code has it; a vector of zeros has a gradient of 0."""
    length = _length(vectors)[..., None]
    return jnp.where(length == 0, 0, vectors / (length + _EPSILON))


def _length(vectors):
    return _root((vectors**2).sum(-1))


def _root(x):
    """The square root; of 0 and of what is below it 0, with a gradient of 0. What is not a number stays so."""
    none = x <= 0
    return jnp.where(none, 0, jnp.sqrt(jnp.where(none, 1, x)))


def _windows(x, starts, size):
    """(starts, size, ...) of an array's first axis."""
    return jnp.stack([lax.slice_in_dim(x, start, start + size) for start in starts])


def _regions(height: int, width: int, levels: int) -> list[tuple[int, list[int], list[int]]]:
    """Of each level the size of its squares, and where they begin along the rows and the columns."""
    shorter, longer = sorted((height, width))
    added = 0 if shorter == longer else _added(shorter, longer)
    found = []
    for level in range(1, levels + 1):
        size = 2 * shorter // (level + 1)
        if size:
            counts = (level + added * (side > shorter) for side in (height, width))
            found.append((size, *(_spread(side - size, n) for side, n in zip((height, width), counts, strict=True))))
    return found


def _added(shorter: int, longer: int) -> int:
    """How many more squares lie along the longer side: 1 to 6, what brings the overlap nearest to 40 %."""
    counts = np.arange(1, _MOST_ADDED + 1)
    # |1 - (longer - shorter) / (n shorter) - 0.4| times 5 shorter, with 60 / n in place of 1 / n to stay whole.
    distance = np.abs(3 * counts * shorter - 5 * (longer - shorter)) * (60 // counts)
    return int(counts[distance.argmin()])


def _spread(last: int, count: int) -> list[int]:
    """Where so many squares begin, evenly from 0 to `last`."""
    return [0] if count == 1 else [k * last // (count - 1) for k in range(count)]
