"""The attention sampler: attended places get more of the output's pixels."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from vtnjax import ops
from vtnjax._arrays import check_maps, check_sizes
from vtnjax.ops.attention import check_density


class AttentionSampler(nnx.Module):
    """Resample each image of a batch by the inverse CDF of an attention map (TASN section 3.2, Eq. 4-5).

    x depends on the column alone and y on the row alone, so rows and columns stay straight and nothing folds. A map of
    another size covers the whole image: its first and last cells are centred on the image's first and last pixels. The
    module has no parameters; the coordinates are float32 whatever the image's dtype is.

    Calling it with images (n, h, w, c) and a map (n, h0, w0) or (n, h0, w0, 1), not negative, returns `(y, out)`: `y`
    is (n, h', w', c), `out["coords"]` the pixel coordinates (n, h', w', 2) that were read.

    Examples:
        >>> sampler = nn.AttentionSampler((4, 4))
        >>> images, attention = jnp.ones((2, 9, 9, 3)), jnp.ones((2, 5, 5))
        >>> y, out = jax.jit(sampler)(images, attention)
        >>> y.shape
        (2, 4, 4, 3)
        >>> out["coords"][0, 0, :, 0].round(2).tolist()  # even attention: the x of a row are evenly spaced
        [0.0, 2.0, 4.0, 6.0]
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        dense: float | None = 4.0,
        iterations: int = 5,
        first: float = 0.0,
        stop_gradient: bool = True,
    ):
        """Make a sampler; the defaults are the reference implementation's.

        Args:
            shape: (h', w') of the output.
            dense: the bound of the density, as in `ops.attention_coords`; None is the paper's plain inverse CDF.
            iterations: how often the density is clipped, as in `ops.attention_coords`.
            first: where the integral begins, as in `ops.attention_coords`: 0 for the reference's CUDA port, whose first
                output pixel reads the first pixel, 1.0 for its MXNet operator, whose first one reads one cell before.
            stop_gradient: whether no gradient goes to the map, as in the reference implementation.

        Raises:
            ValueError: if shape or iterations are not whole numbers, dense is below 1, or first is below 0.
        """
        self.shape = check_sizes("shape", shape, (2,))
        check_density(dense, iterations, first)
        self.dense, self.iterations, self.first, self.stop_gradient = dense, iterations, first, stop_gradient

    def __call__(
        self, image: Float[Array, "n h w c"], attention: Float[Array, "n h0 w0 *one"]
    ) -> tuple[Float[Array, "n h2 w2 c"], dict[str, Array]]:
        """Resample a batch, as the class says."""
        check_maps(image, "attention", attention)
        attention = attention.reshape(attention.shape[:3])
        if self.stop_gradient:
            attention = lax.stop_gradient(attention)

        def magnify(image, attention):
            x, y = self._lines(attention, image.shape)
            coords = jnp.stack(jnp.broadcast_arrays(x[None], y[:, None]), axis=-1)
            return ops.sample_separable(image, x, y), {"coords": coords}

        return jax.vmap(magnify)(image, attention)

    def _lines(self, attention, shape):
        """The pixel coordinates of the image that the output's columns and rows read."""
        # A single row or column of cells says nothing about places along it: two equal ones spread evenly.
        attention = jnp.pad(attention, [(0, int(size == 1)) for size in attention.shape], mode="edge")
        lines = ops.attention_coords(
            attention, self.shape, dense=self.dense, iterations=self.iterations, first=self.first
        )
        sizes = zip(lines, shape[1::-1], attention.shape[::-1], strict=True)
        return [line * ((size - 1) / (cells - 1)) for line, size, cells in sizes]
