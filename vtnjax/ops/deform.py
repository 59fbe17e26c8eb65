"""Deformable convolution: each output pixel reads the input where offsets of its own say.

`ops.sample_channels` reads the pixels, one field for each group and kernel cell, and one matrix product for each group
of the kernel contracts them. A 1 x 1 kernel and as many groups as channels leave VTN's channel-wise warp.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from vtnjax._arrays import as_coords, check_floating, check_not_empty, check_pair, check_rank, widest
from vtnjax.ops.sampling import sample_channels


def deformable_conv(
    image: Float[ArrayLike, "h w c"],
    kernel: Float[ArrayLike, "kh kw c1 c2"],
    offsets: Float[ArrayLike, "h2 w2 g kh kw 2"],
    *,
    mask: Float[ArrayLike, "h2 w2 g kh kw"] | None = None,
    bias: Float[ArrayLike, "c2"] | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | Sequence[Sequence[int]] = "SAME",
    dilation: int | Sequence[int] = 1,
    feature_group_count: int = 1,
    backend: str = "auto",
) -> Float[Array, "h2 w2 c2"]:
    """Deformable convolution: Dai et al. (2017) Eq. 2, and with a mask Zhu et al. (2019, "v2") Eq. 1.

    Output pixel [i, j] reads bilinearly at (j stride - left + n dilation, i stride - top + m dilation) plus the offset
    of the kernel's cell (m, n). With zero offsets it is the ordinary convolution. The sampled pixels are kept, kh kw
    times the image at stride 1. The product with the kernel has JAX's default precision and the widest dtype of image,
    kernel and bias; coordinates are at least float32.

    Convention:
        Direction: output to input; a cell's offset leads from its own pixel to the place it reads.
        Origin and order: pixel 0 is the centre of the first pixel; offsets are (x, y), x right, y down.
        Outside: every tap outside the image counts 0; a NaN offset reads 0.

    Args:
        image: (h, w, c), floating.
        kernel: (kh, kw, c / feature_group_count, c'), floating.
        offsets: (h', w', g, kh, kw, 2), offsets (x, y) in pixels. g divides c, and c / g consecutive channels share
            offsets. torchvision's `deform_conv2d` has (y, x) instead, in channels that run (g, kh, kw, 2).
        mask: (h', w', g, kh, kw), which multiplies the pixels that were read; v2's lies in [0, 1].
        bias: (c',), floating, which is added.
        stride: a whole number of pixels, or (rows, columns).
        padding: "SAME", "VALID" (none) or ((top, bottom), (left, right)) in pixels. "SAME" is that of `flax.nnx.Conv`:
            h' = ceil(h / stride), padded evenly, an odd row or column at the bottom or right. At a stride of 2 a 3 x 3
            kernel so adds ((0, 1), (0, 1)) to even sizes, where PyTorch's `padding=1` adds ((1, 1), (1, 1)).
        dilation: pixels from one cell of the kernel to the next, or (rows, columns).
        feature_group_count: groups of the kernel, not of the offsets, as PyTorch's `groups`; c makes it depthwise.
        backend: as in `sample`.

    Returns:
        (h', w', c') in the image's dtype.

    Raises:
        ValueError: if a rank, a dtype or an option is wrong, the image has no pixels, the groups do not divide its
            channels, or kernel, offsets, mask or bias have not the shape that the others ask for.

    Examples:
        >>> image, kernel, offsets = jnp.ones((3, 3, 1)), jnp.ones((3, 3, 1, 1)), jnp.zeros((3, 3, 1, 3, 3, 2))
        >>> ops.deformable_conv(image, kernel, offsets)[..., 0].tolist()  # the ordinary convolution
        [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    image, kernel, bias = _check(image, kernel, bias, feature_group_count)
    sizes = image.shape[:2], kernel.shape[:2]
    coords = deformable_coords(offsets, *sizes, stride=stride, padding=padding, dilation=dilation)
    dtype = widest(*(array.dtype for array in (image, kernel, bias) if array is not None))
    out = _contract(_read(image.astype(dtype), coords, mask, backend), kernel.astype(dtype), feature_group_count)
    out = out if bias is None else out + bias.astype(dtype).reshape(1, 1, -1)
    return out.astype(image.dtype)


def _read(image, coords, mask, backend):
    """The taps (h', w', kh, kw, c), times the mask if there is one."""
    mask = None if mask is None else as_coords("mask", mask)
    _check_points(image.shape[-1], coords, mask)
    taps = sample_channels(image, jnp.moveaxis(coords, 2, -2), backend=backend)
    return taps if mask is None else _modulate(taps, mask)


def deformable_coords(
    offsets: Float[ArrayLike, "h2 w2 g kh kw 2"],
    shape: Sequence[int],
    kernel_size: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: str | Sequence[Sequence[int]] = "SAME",
    dilation: int | Sequence[int] = 1,
) -> Float[Array, "h2 w2 g kh kw 2"]:
    """The pixel coordinates (x, y) that `deformable_conv` reads in an image of `shape`, at least float32."""
    offsets = as_coords("offsets", offsets)
    y, x = _lines(shape, kernel_size, stride, padding, dilation)
    wanted = (y.shape[0], x.shape[0], *kernel_size, 2)
    if offsets.ndim != 6 or offsets.shape[:2] + offsets.shape[3:] != wanted:
        h, w, kh, kw, _ = wanted
        raise ValueError(f"offsets must have the shape ({h}, {w}, groups, {kh}, {kw}, 2), but it is {offsets.shape}")
    x, y = x[None, :, None, None, :], y[:, None, None, :, None]
    return jnp.stack([offsets[..., 0] + x.astype(offsets.dtype), offsets[..., 1] + y.astype(offsets.dtype)], axis=-1)


def check_conv_padding(padding: str | Sequence[Sequence[int]]) -> str | tuple[tuple[int, int], ...]:
    """Return "SAME", "VALID" or pairs of whole numbers, or raise a ValueError."""
    try:
        if isinstance(padding, str):
            return {"SAME": "SAME", "VALID": "VALID"}[padding]
        (top, bottom), (left, right) = ((side.__index__() for side in pair) for pair in padding)
        if min(top, bottom, left, right) < 0:
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError):
        wanted = "'SAME', 'VALID' or ((top, bottom), (left, right)) in pixels"
        raise ValueError(f"padding must be {wanted}, not {padding!r}") from None
    return (top, bottom), (left, right)


def check_feature_groups(count: int, channels: int, outputs: int) -> None:
    """Raise a ValueError unless so many groups of a kernel divide its channels and its outputs."""
    if not hasattr(count, "__index__") or count < 1 or channels % count or outputs % count:
        raise ValueError(
            f"feature_group_count must be a whole number that divides the {channels} channels that come in and the "
            f"{outputs} that go out, not {count!r}"
        )


def _check(image, kernel, bias, count):
    """The three as arrays that fit each other, or a ValueError."""
    image, kernel = jnp.asarray(image), jnp.asarray(kernel)
    bias = None if bias is None else jnp.asarray(bias)
    check_rank("image", image, "h w c")
    check_not_empty("image", image)
    check_floating("image", image)
    check_floating("kernel", kernel)
    if kernel.ndim != 4 or 0 in kernel.shape[:2]:
        raise ValueError(f"kernel must have the shape (kh, kw, c, c') of at least one cell, but it is {kernel.shape}")
    channels, outputs = image.shape[-1], kernel.shape[-1]
    check_feature_groups(count, channels, outputs)
    if kernel.shape[2] * count != channels:
        groups = f" in {count} feature groups" if count > 1 else ""
        raise ValueError(
            f"kernel must have the shape (kh, kw, {channels // count}, c') for the image's {channels} channels"
            f"{groups}, but it is {kernel.shape}"
        )
    if bias is not None:
        check_floating("bias", bias)
        if bias.shape != (outputs,):
            raise ValueError(f"bias must have the shape {(outputs,)} of the kernel's outputs, but it is {bias.shape}")
    return image, kernel, bias


def _check_points(channels, coords, mask):
    groups, points = coords.shape[2], coords.shape[:-1]
    if groups == 0 or channels % groups:
        raise ValueError(f"offsets must have a number of groups that divides the {channels} channels, not {groups}")
    if mask is not None and mask.shape != points:
        raise ValueError(f"mask must have the shape {points} of the offsets' points, but it is {mask.shape}")


def _lines(shape, kernel_size, stride, padding, dilation):
    """Where the kernel's cells lie without offsets: rows (h', kh) and columns (w', kw)."""
    strides, dilations = check_pair("stride", stride), check_pair("dilation", dilation)
    windows = tuple((size - 1) * gap + 1 for size, gap in zip(kernel_size, dilations, strict=True))
    pads = check_conv_padding(padding)
    if isinstance(pads, str):
        pads = lax.padtype_to_pads(tuple(shape), windows, strides, pads)
    for size, cells, step, gap, window, (before, after) in zip(
        shape, kernel_size, strides, dilations, windows, pads, strict=True
    ):
        count = max((size + before + after - window) // step + 1, 0)
        outputs, inside = jnp.arange(count, dtype=jnp.int32)[:, None], jnp.arange(cells, dtype=jnp.int32)[None]
        yield step * outputs - before + gap * inside


def _modulate(taps, mask):
    """Taps (h', w', kh, kw, c) times the mask (h', w', g, kh, kw) of each group."""
    mask = jnp.moveaxis(mask, 2, -1)[..., None]
    grouped = taps.reshape(*mask.shape[:-1], taps.shape[-1] // mask.shape[-2])
    return (grouped.astype(mask.dtype) * mask).astype(taps.dtype).reshape(taps.shape)


def _contract(taps, kernel, count):
    """Taps (h', w', kh, kw, c) times a kernel (kh, kw, c / count, c') of `count` groups: (h', w', c')."""
    if count == 1:
        return jnp.einsum("hwijc,ijco->hwo", taps, kernel)
    *cells, channels, outputs = kernel.shape
    if channels == 1:
        exact = widest(taps.dtype, jnp.float32)
        each = kernel[:, :, 0].reshape(*cells, count, outputs // count)
        out = _depthwise(taps.astype(exact), each.astype(exact)).astype(taps.dtype)
    else:
        taps = taps.reshape(*taps.shape[:-1], count, channels)
        out = jnp.einsum("hwijgc,ijcgo->hwgo", taps, kernel.reshape(*cells, channels, count, outputs // count))
    return out.reshape(*out.shape[:2], outputs)


@jax.custom_jvp
def _depthwise(taps, kernel):
    """Taps (h', w', kh, kw, c) times a kernel (kh, kw, c, k) of its own for each channel: (h', w', c, k).

    Cell by cell: a reduction, which XLA fuses with the sampler's gathers, runs ten times slower on a CPU. Only its
    gradient is faster.
    """
    total = jnp.zeros((), taps.dtype)
    for i, j in np.ndindex(kernel.shape[:2]):
        total = total + taps[:, :, i, j, :, None] * kernel[None, None, i, j]
    return total


@_depthwise.defjvp
def _depthwise_jvp(primals, tangents):
    return jax.jvp(_depthwise_sum, primals, tangents)


def _depthwise_sum(taps, kernel):
    return jnp.sum(taps[..., None] * kernel[None, None], axis=(2, 3))
