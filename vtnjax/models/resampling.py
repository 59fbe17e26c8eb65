"""Samplings of images by an attention map, by name: TASN's, and those of its Table 3."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from vtnjax import ops
from vtnjax._checks import check_choice
from vtnjax.nn import AttentionSampler

SAMPLERS = ("inverse_cdf", "ssn", "uniform", "none")
# The reference implementation of the saliency sampler.
_CELLS, _FWHM = 31, 13.0


def resample(
    image: Float[Array, "n h w c"],
    attention: Float[Array, "n h0 w0"] | None,
    shape: Sequence[int],
    sampler: str,
    *,
    dense: float | None = 4.0,
    iterations: int = 5,
) -> tuple[Float[Array, "n h2 w2 c"], Float[Array, "n h2 w2 2"]]:
    """Images of another size, read where attention says.

    Args:
        image: (n, h, w, c).
        attention: (n, h0, w0), not negative; None is constant, as "none" has it.
        shape: (h', w') of the output.
        sampler: "inverse_cdf", `nn.AttentionSampler`; "ssn", the saliency sampler's grid for this map in place of its
            own saliency; "uniform", evenly spaced in the bounding box of the attention above its mean; "none", evenly
            spaced in the whole image.
        dense: where "inverse_cdf" clips attention, at least 1, or None, as `ops.attention_coords` takes it.
        iterations: of the inverse CDF's clipping, as `ops.attention_coords` takes them.

    Returns:
        The images (n, h', w', c) and the pixel coordinates (n, h', w', 2) that were read.

    Raises:
        ValueError: if the sampler's name is wrong.
    """
    check_choice("sampler", sampler, SAMPLERS)
    if attention is None:
        attention = jnp.ones((image.shape[0], 2, 2), jnp.float32)
    if sampler == "inverse_cdf":
        y, out = AttentionSampler(shape, dense=dense, iterations=iterations)(image, attention)
        return y, out["coords"]
    if sampler == "ssn":
        return jax.vmap(lambda image, attention: _by_saliency(image, attention, shape))(image, attention)
    return jax.vmap(lambda image, attention: _by_box(image, attention, shape))(image, attention)


def _by_saliency(image, attention, shape):
    cells = ops.resize(attention[..., None], (_CELLS, _CELLS))[..., 0]
    grid = ops.saliency_grid(cells, shape, fwhm=_FWHM, pad=_CELLS - 1)
    coords = ops.to_pixels(grid, image.shape[:2])
    return ops.sample(image, coords, padding="border"), coords


def _by_box(image, attention, shape):
    """Evenly spaced between the first and the last row, and column, that attention above its mean reaches into."""
    inside = attention >= attention.mean()  # of a constant map all, whichever way its mean is rounded
    inside = inside | (attention.max() <= attention.mean())
    y, x = (
        _between(inside.any(axis), size, count) for axis, size, count in zip((1, 0), image.shape, shape, strict=False)
    )
    coords = jnp.stack(jnp.broadcast_arrays(x[None], y[:, None]), axis=-1)
    return ops.sample_separable(image, x, y), coords


def _between(inside, size, count):
    """`count` pixels of `size`, evenly spaced over the cells from the first to the last that is inside."""
    cells = len(inside)
    first, last = inside.argmax(), cells - 1 - inside[::-1].argmax()
    # A cell reaches half a cell to either side; the outer ones end with the image.
    scale = (size - 1) / max(cells - 1, 1)
    low = jnp.maximum((first.astype(jnp.float32) - 0.5) * scale, 0)
    high = jnp.minimum((last.astype(jnp.float32) + 0.5) * scale, size - 1)
    if cells == 1:
        low, high = jnp.float32(0), jnp.float32(size - 1)
    return low + (high - low) * jnp.linspace(0, 1, count, dtype=jnp.float32)
