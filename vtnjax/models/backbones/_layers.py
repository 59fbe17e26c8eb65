"""The layers that the backbones are made of.

Images of several sizes share a compiled program where they are padded at the right and at the bottom. What a trunk
makes of one is then what it makes of the image alone, if the padding is 0 wherever a window looks. `inside`
(n, h, w, 1) says of a map where the image is; None: everywhere.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from vtnjax._arrays import by_rows, widest

# PyTorch's kaiming_normal_(mode="fan_out", nonlinearity="relu"), with which torchvision starts these networks.
_KERNEL_INIT = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


Inside = Bool[Array, "n _h _w 1"] | None


class Cells(NamedTuple):
    """Where the cells of a map lie: cell i of an axis has the middle of its receptive field at stride * i + first.

    Pixel 0 is the middle of the first pixel, as everywhere. Near the edges part of a field is padding; its middle is
    that of the whole field.
    """

    stride: int = 1
    first: float = 0.0

    def behind(self, stride: int, shift: float) -> "Cells":
        """Those of windows `stride` cells apart, the first of which has its middle `shift` cells behind cell 0."""
        return Cells(self.stride * stride, self.first + self.stride * shift)


class ConvNorm(nnx.Module):
    """A square convolution and, if wanted, BatchNorm; padded by the same amount on every side, as PyTorch pads.

    Flax's "SAME" pads a convolution of stride 2 at the right and at the bottom first, which moves its output.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        padding: int | None = None,
        bias: bool = False,
        norm: bool = True,
        epsilon: float = 1e-5,
        frozen_statistics: bool = False,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Make the layer.

        Args:
            inputs: channels of the input.
            outputs: channels of the output.
            size: of the kernel, odd.
            stride: of the convolution.
            dilation: of the kernel.
            padding: pixels on each side; by default as many as leave the size unchanged at stride 1.
            bias: whether the convolution has one.
            norm: whether BatchNorm follows.
            epsilon: BatchNorm's, added to the variance.
            frozen_statistics: whether BatchNorm uses its running statistics also in training, and leaves them as they
                are.
            dtype: of the computation; BatchNorm computes in at least float32.
            param_dtype: of the parameters.
            rngs: NNX's random streams; `params` is used.
        """
        around = dilation * (size // 2) if padding is None else padding
        self.conv = nnx.Conv(
            inputs,
            outputs,
            (size, size),
            strides=stride,
            padding=((around, around), (around, around)),
            kernel_dilation=dilation,
            use_bias=bias,
            kernel_init=_KERNEL_INIT,
            conv_general_dilated=_pointwise if size == 1 and not around else lax.conv_general_dilated,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.size, self.stride, self.overhang = size, stride, dilation * (size - 1) - 2 * around
        self.frozen_statistics = frozen_statistics
        # In bfloat16 the running statistics themselves would be rounded.
        wide = None if dtype is None else widest(dtype, jnp.float32)
        self.norm = (
            nnx.BatchNorm(outputs, momentum=0.9, epsilon=epsilon, dtype=wide, param_dtype=param_dtype, rngs=rngs)
            if norm
            else None
        )

    def __call__(self, x: Float[Array, "n h w c"], inside: Inside = None) -> Float[Array, "n h2 w2 c2"]:
        """The layer's output, in the dtype of the computation."""
        return by_rows(self._normalised, self._convolved(x, inside))

    def rectified(self, x: Float[Array, "n h w c"], inside: Inside = None) -> Float[Array, "n h2 w2 c2"]:
        """The same, with what is negative set to 0."""
        return by_rows(lambda rows: nnx.relu(self._normalised(rows)), self._convolved(x, inside))

    def inside(self, inside: Inside) -> Inside:
        """Where the image is in the layer's output."""
        return every(inside, self.stride, self.overhang)

    def cells(self, cells: Cells) -> Cells:
        """Where the cells of the layer's output lie."""
        return cells.behind(self.stride, self.overhang / 2)

    def _convolved(self, x, inside):
        return self.conv(x if self.size == 1 else blank(x, inside))

    def _normalised(self, x):
        if self.norm is None:
            return x
        return self.norm(x, use_running_average=self.frozen_statistics or None).astype(x.dtype)


def _pointwise(x, kernel, strides, padding, *, precision, **options):
    """A 1 x 1 convolution as a product of matrices, of which XLA's gradients are faster on a CPU."""
    x = x[:, :: strides[0], :: strides[1]]
    return by_rows(lambda rows: jnp.matmul(rows, kernel[0, 0], precision=precision), x)


def max_pool(
    x: Float[Array, "n h w c"], size: int, padding: Sequence[tuple[int, int]], inside: Inside = None
) -> Float[Array, "n h2 w2 c"]:
    """Maxima of square windows, two pixels apart; what `padding` adds before and after each axis never wins.

    With `inside` no value may be negative, since what is outside counts as 0.
    """
    # Flax takes pairs, which its annotation leaves out.
    return nnx.max_pool(blank(x, inside), (size, size), strides=(2, 2), padding=padding)  # pyright: ignore[reportArgumentType]


def ceil_max_pool(x: Float[Array, "n h w c"], size: int, inside: Inside = None) -> Float[Array, "n h2 w2 c"]:
    """The same without padding, but a last window that hangs over the edge counts too (PyTorch's `ceil_mode`)."""
    return max_pool(x, size, [(0, (side - size) % 2) for side in x.shape[1:3]], inside)


def blank(x: Float[Array, "n h w c"], inside: Inside) -> Float[Array, "n h w c"]:
    """The map with 0 where the image is not."""
    return x if inside is None else jnp.where(inside, x, 0)


def every(inside: Inside, stride: int, overhang: int) -> Inside:
    """Where the image is in the outputs of windows `stride` apart.

    The i-th window is one of the image's own if position `i * stride + overhang` is inside: overhang is by how much a
    window is longer than what may hang over both edges together.
    """
    return None if inside is None else inside[:, overhang::stride, overhang::stride]
