"""The saliency sampler: salient places grow."""

from collections.abc import Sequence

import jax
from flax import nnx
from jaxtyping import Array, Float

from vtnjax import ops
from vtnjax._arrays import as_coords, check_maps, check_pair, check_sizes
from vtnjax.ops.saliency import check_gaussian


class SaliencySampler(nnx.Module):
    """Resample each image of a batch so that its salient places grow ("Learning to Zoom", Recasens et al. 2018).

    The saliency comes from a network of the caller's, as a map of any size that covers the image. As in the reference
    implementation it is resized bilinearly to `size` cells, a softmax over the cells makes a density of it, and
    `ops.saliency_grid` makes a grid of the density. Gradients flow through the grid to the map. A constant map resizes
    the image. The module has no parameters; the map, the grid and the coordinates are float32 whatever the image's
    dtype is.

    Calling it with images (n, h, w, c) and a map (n, h0, w0) or (n, h0, w0, 1) returns `(y, out)`: `y` is
    (n, h', w', c), `out["coords"]` the pixel coordinates (n, h', w', 2) that were read, and `out["attention"]` the
    density (n, *size), which sums to 1.

    Examples:
        >>> sampler = nn.SaliencySampler((3, 3), size=5)
        >>> images = jnp.broadcast_to(jnp.arange(9.0).reshape(1, 1, 9, 1), (2, 9, 9, 1))
        >>> y, out = jax.jit(sampler)(images, jnp.zeros((2, 4, 4)))  # a constant map resizes
        >>> y[0, 0, :, 0].round(2).tolist()
        [0.0, 4.0, 8.0]
        >>> out["attention"].shape, float(out["attention"][0].sum().round(2))
        ((2, 5, 5), 1.0)
    """

    def __init__(
        self,
        shape: Sequence[int],
        *,
        size: int | Sequence[int] = 31,
        fwhm: float = 13.0,
        pad: int | None = None,
    ):
        """Make a sampler; the defaults are the reference implementation's.

        Args:
            shape: (h', w') of the output.
            size: how many cells the map and the grid have, one number or (rows, columns).
            fwhm: the Gaussian's full width at half maximum in cells, as in `ops.saliency_grid`.
            pad: how many cells the Gaussian reaches, as in `ops.saliency_grid`; by default all others, 30 of 31.

        Raises:
            ValueError: if shape, size or pad are not whole numbers, or fwhm is not positive.
        """
        self.shape = check_sizes("shape", shape, (2,))
        self.size = check_pair("size", size)
        self.fwhm, self.pad = fwhm, max(self.size) - 1 if pad is None else pad
        check_gaussian(self.fwhm, self.pad)

    def __call__(
        self, image: Float[Array, "n h w c"], saliency: Float[Array, "n h0 w0 *one"]
    ) -> tuple[Float[Array, "n h2 w2 c"], dict[str, Array]]:
        """Resample a batch, as the class says."""
        check_maps(image, "saliency", saliency)
        saliency = saliency.reshape(*saliency.shape[:3], 1)

        def magnify(image, saliency):
            logits = ops.resize(as_coords("saliency", saliency), self.size)[..., 0]
            attention = jax.nn.softmax(logits, axis=(0, 1))
            grid = ops.saliency_grid(attention, self.shape, fwhm=self.fwhm, pad=self.pad)
            coords = ops.to_pixels(grid, image.shape[:2])
            # The grid stays on the image, but at its last pixels the slope to zeros beyond would mislead.
            return ops.sample(image, coords, padding="border"), {"coords": coords, "attention": attention}

        return jax.vmap(magnify)(image, saliency)
