"""Samplers: read an image or a volume at given coordinates.

Convention: one example, channels last; coordinates are in pixels, (x, y) or (x, y, z), 0 the centre of the first
pixel; pull: output i reads the input at coords[i]. Padding has torch's names and meanings: with "zeros" each tap
outside counts 0 (SciPy's "grid-constant"), "border" repeats the border pixel ("nearest"), "reflection" mirrors about
the border pixels' centres ("mirror"). Taps are floor and floor + 1, so that at integer coordinates the derivative is
that of the cell to the right: a transformer that starts at the identity gets a gradient. (STN Eq. 7 gives there the
pixel's own value, its neighbours being a whole pixel away, which is no derivative of Eq. 5.) Coordinates and weights
are at least float32; the output has the image's dtype.

Coordinates that are no place: with zeros, NaN, infinite and far ones read 0; with the other paddings NaN reads 0 and an
infinity the last or first pixel. Their gradient is 0, and they spoil no other pixel.
"""

from functools import partial

import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from vtnjax.ops import _linear, _separable
from vtnjax.ops._checks import check_choice, check_floating, check_last, check_not_empty, check_rank
from vtnjax.ops._gather import flat_index, take_pixels
from vtnjax.ops._padding import EDGE_REFLECTION, PADDINGS, fold, wrap_index
from vtnjax.ops.coords import as_coords, to_pixels, widest

METHODS = ("bilinear", "nearest", "bicubic")
BACKENDS = ("auto", "lerp", "matmul")
_CUBIC_A = -0.75  # torch's and OpenCV's; SciPy's and Pillow's cubic kernels are others


def sample(
    image: Float[ArrayLike, "h w c"],
    coords: Float[ArrayLike, "*points 2"],
    *,
    method: str = "bilinear",
    padding: str = "zeros",
) -> Float[Array, "*points c"]:
    """Sample an image at pixel coordinates (STN Eq. 3-5).

    Args:
        image: (h, w, c), floating.
        coords: (..., 2), (x, y) in pixels.
        method: "bilinear"; "nearest", which rounds half to even as torch (STN Eq. 4 rounds half up) and has no gradient
            to the coordinates; or "bicubic", torch's convolution with a = -0.75.
        padding: "zeros", "border" or "reflection".

    Returns:
        (..., c) in the image's dtype.

    Raises:
        ValueError: if a rank, the last axis of `coords`, a dtype or a name is wrong, or the image has no pixels.
    """
    image, coords = _check(image, coords, "image", "h w c", method, padding)
    return _sample(image[:, :, None], coords[..., None, :], method, padding)[..., 0, :]


def sample_channels(
    image: Float[ArrayLike, "h w c"],
    coords: Float[ArrayLike, "*points g 2"],
    *,
    method: str = "bilinear",
    padding: str = "zeros",
) -> Float[Array, "*points c"]:
    """Sample each group of channels with a field of its own (VTN section 3.1: one warp for each channel group).

    Args:
        image: (h, w, c), floating.
        coords: (..., g, 2), (x, y) in pixels, where g divides c: the c / g consecutive channels of group j are read at
            `coords[..., j, :]`. With g = c every channel has its field.
        method: as in `sample`.
        padding: as in `sample`.

    Returns:
        (..., c) in the image's dtype.

    Raises:
        ValueError: as `sample`, and if g does not divide c.
    """
    image, coords = _check(image, coords, "image", "h w c", method, padding)
    h, w, channels = image.shape
    if coords.ndim < 2:
        raise ValueError(f"coords must have the shape (..., groups, 2), but its shape is {coords.shape}")
    groups = coords.shape[-2]
    if groups == 0 or channels % groups:
        raise ValueError(f"coords has {groups} groups, which must divide the {channels} channels of the image")
    out = _sample(image.reshape(h, w, groups, channels // groups), coords, method, padding)
    return out.reshape(*coords.shape[:-2], channels)


def sample_volume(
    volume: Float[ArrayLike, "d h w c"], coords: Float[ArrayLike, "*points 3"], *, padding: str = "zeros"
) -> Float[Array, "*points c"]:
    """Sample a volume trilinearly at pixel coordinates (STN Eq. 9).

    Args:
        volume: (d, h, w, c), floating.
        coords: (..., 3), (x, y, z) in pixels.
        padding: as in `sample`.

    Returns:
        (..., c) in the volume's dtype.

    Raises:
        ValueError: if a rank, the last axis of `coords`, a dtype or a name is wrong, or the volume has no voxels.
    """
    volume, coords = _check(volume, coords, "volume", "d h w c", "bilinear", padding)
    return _linear.linear(volume[:, :, :, None], coords[..., None, :], padding)[..., 0, :]


def sample_separable(
    image: Float[ArrayLike, "h w c"],
    x: Float[ArrayLike, "w2"],
    y: Float[ArrayLike, "h2"],
    *,
    padding: str = "zeros",
    backend: str = "auto",
) -> Float[Array, "h2 w2 c"]:
    """Sample bilinearly on a grid whose x depends on the column alone and y on the row alone, as TASN's does.

    Equal to `sample` at the grid of all pairs, at the cost of two one-dimensional passes.

    Args:
        image: (h, w, c), floating.
        x: (w',), in pixels, where each output column reads.
        y: (h',), in pixels, where each output row reads.
        padding: as in `sample`.
        backend: "lerp", two gathers and lerps; "matmul", two products with matrices of hat functions, which is what a
            TPU does best; "auto" takes the products on a TPU and the lerps elsewhere.

    Returns:
        (h', w', c) in the image's dtype.

    Raises:
        ValueError: if a rank, a dtype or a name is wrong, or the image has no pixels.
    """
    image, x = _check(image, x, "image", "h w c", "bilinear", padding, coords_name="x")
    y = as_coords("y", y)
    check_choice("backend", backend, BACKENDS)
    for name, line in (("x", x), ("y", y)):
        if line.ndim != 1:
            raise ValueError(f"{name} must be one line of pixel coordinates, but its shape is {line.shape}")
    dtype = widest(x.dtype, y.dtype)
    x, y = x.astype(dtype), y.astype(dtype)
    lerp, matmul = (partial(op, padding=padding) for op in (_separable.separable_lerp, _separable.separable_matmul))
    if backend == "auto":
        return lax.platform_dependent(image, x, y, tpu=matmul, default=lerp)
    return (matmul if backend == "matmul" else lerp)(image, x, y)


def grid_sample(
    image: Float[ArrayLike, "*sizes c"],
    grid: Float[ArrayLike, "*points n"],
    *,
    method: str = "bilinear",
    padding: str = "zeros",
    align_corners: bool,
) -> Float[Array, "*points c"]:
    """`torch.nn.functional.grid_sample` for one channels-last example: normalised coordinates.

    PyTorch's default is `align_corners=False`; here it has no default, since a wrong guess shifts every pixel. With
    False, "reflection" mirrors about the border pixels' outer edges, as in PyTorch.

    Args:
        image: (h, w, c), or (d, h, w, c) with a grid of (x, y, z), floating.
        grid: (..., 2) or (..., 3), normalised.
        method: as in `sample`; a volume takes "bilinear" (trilinear) only.
        padding: as in `sample`.
        align_corners: as in `to_pixels`.

    Returns:
        (..., c) in the image's dtype.

    Raises:
        ValueError: as `sample` and `sample_volume`.
    """
    image = jnp.asarray(image)
    volume = image.ndim == 4
    image, grid = _check(image, grid, "image", "d h w c" if volume else "h w c", method, padding, coords_name="grid")
    if volume and method != "bilinear":
        raise ValueError(f"method must be 'bilinear' for a volume, not {method!r}")
    coords = to_pixels(grid, image.shape[:-1], align_corners=align_corners)
    if padding == "reflection" and not align_corners:
        padding = EDGE_REFLECTION
    return _sample(image[..., None, :], coords[..., None, :], method, padding)[..., 0, :]


def _check(image, coords, name, axes, method, padding, *, coords_name="coords"):
    image = jnp.asarray(image)
    check_choice("method", method, METHODS)
    check_choice("padding", padding, PADDINGS)
    check_rank(name, image, axes)
    check_not_empty(name, image)
    check_floating(name, image)
    coords = as_coords(coords_name, coords)
    if coords_name != "x":
        check_last(coords_name, coords, image.ndim - 1, "(x, y)" if image.ndim == 3 else "(x, y, z)")
    # Interpolate float64 images in float64, whatever the coordinates came in.
    return image, coords.astype(widest(coords.dtype, image.dtype))


def _sample(image, coords, method, padding):
    """(*sizes, g, c) at (..., g, n): (..., g, c)."""
    if method == "bilinear":
        return _linear.linear(image, coords, padding)
    return (_nearest if method == "nearest" else _bicubic)(image, coords, padding)


def _nearest(image, coords, padding):
    (iy, in_y), (ix, in_x) = (_nearest_tap(coords[..., k], image.shape[1 - k], padding) for k in (1, 0))
    value = take_pixels(image, flat_index([iy, ix], image))
    return jnp.where((in_y & in_x)[..., None], value, 0)


def _nearest_tap(x, size, padding):
    pixel = jnp.round(fold(x, size, padding)[0])
    inside = (pixel >= 0) & (pixel <= size - 1)
    return jnp.where(inside, pixel, 0).astype(jnp.int32), inside


def _bicubic(image, coords, padding):
    (iy, wy), (ix, wx) = (_cubic_taps(coords[..., k], image.shape[1 - k], padding) for k in (1, 0))  # (4, ..., g)
    rows = [flat_index([iy[i], ix[j]], image) for i in range(4) for j in range(4)]
    taps = take_pixels(image, jnp.stack(rows)).reshape(4, 4, *coords.shape[:-1], image.shape[-1])
    product = jnp.einsum("ij...c,i...,j...->...c", taps.astype(wy.dtype), wy, wx, precision=lax.Precision.HIGHEST)
    return product.astype(image.dtype)


def _cubic_taps(x, size, padding):
    """Four pixels along an axis and their weights, (4, ...)."""
    if padding in ("zeros", "border"):
        # All taps of a coordinate further out are padding: nothing varies there, and no integer overflows.
        far = ~((x >= -3) & (x < size + 2))
        anchor = jnp.where(x > 0, size + 2, -3).astype(x.dtype)
    else:
        far = ~(jnp.abs(x) < 1 / jnp.finfo(x.dtype).eps)
        anchor = jnp.where(x > 0, size - 1, 0).astype(x.dtype)
    nearby = jnp.where(far, anchor, x)
    first = jnp.floor(nearby)
    weights = _cubic_weights(nearby - first)
    pixels = first.astype(jnp.int32)[None] + jnp.arange(-1, 3, dtype=jnp.int32).reshape(4, *[1] * x.ndim)
    counts = (pixels >= 0) & (pixels < size) if padding == "zeros" else ~jnp.isnan(x)[None]
    return wrap_index(pixels, size, padding), jnp.where(counts, weights, 0)


def _cubic_weights(t):
    def near(d):  # |d| <= 1
        return ((_CUBIC_A + 2) * d - (_CUBIC_A + 3)) * d * d + 1

    def far(d):  # 1 <= |d| <= 2
        return ((_CUBIC_A * d - 5 * _CUBIC_A) * d + 8 * _CUBIC_A) * d - 4 * _CUBIC_A

    return jnp.stack([far(t + 1), near(t), near(1 - t), far(2 - t)])
