"""Samplers: read an image or a volume at given coordinates.

A bilinear sample reads the pixels at floor and floor + 1, its taps. At a whole coordinate its derivative is therefore
the slope of the cell to the right, and a transformer that starts at the identity gets a gradient. (STN Eq. 7 gives the
pixel's own value instead, because its neighbours are a whole pixel away; that is no derivative of Eq. 5.) Coordinates
and weights are at least float32.

Infinite, far and NaN coordinates have gradient 0 and spoil no other sample. A pixel that is NaN or infinite shows in
the samples that read it and in no other. As in PyTorch, a tap inside the image is read even where its weight is 0: at a
whole x, pixel x + 1 is read.
"""

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from vtnjax._arrays import as_coords, check_floating, check_last, check_not_empty, check_rank, widest
from vtnjax._checks import check_choice
from vtnjax.ops import _separable
from vtnjax.ops._cubic import cubic
from vtnjax.ops._fill import as_fill, filled, outside_weight
from vtnjax.ops._linear import linear
from vtnjax.ops._matmul import matmul, matmul_on_tpu
from vtnjax.ops._nearest import nearest
from vtnjax.ops._padding import EDGE_REFLECTION
from vtnjax.ops.coords import to_pixels

METHODS = ("bilinear", "nearest", "bicubic")
VOLUME_METHODS = ("bilinear", "nearest")
PADDINGS = ("zeros", "border", "reflection", "wrap")
BACKENDS = ("auto", "gather", "matmul")
SEPARABLE_BACKENDS = ("auto", "lerp", "matmul")


def sample(
    image: Float[ArrayLike, "h w c"],
    coords: Float[ArrayLike, "*points 2"],
    *,
    method: str = "bilinear",
    padding: str = "zeros",
    fill: ArrayLike = 0.0,
    backend: str = "auto",
) -> Float[Array, "*points c"]:
    """Sample an image at pixel coordinates (STN Eq. 3-5).

    Convention:
        Direction: output to input; output i reads the image at coords[i].
        Origin and order: pixel 0 is the centre of the first pixel; the last axis is (x, y), x right, y down.
        Outside: `padding` and `fill` say what is read; a NaN coordinate reads 0 with all of them.

    Args:
        image: (h, w, c), floating.
        coords: (..., 2), pixel coordinates (x, y).
        method: "bilinear"; "nearest", which rounds half to even as torch (STN Eq. 4 rounds half up) and has no gradient
            to the coordinates; or "bicubic", torch's convolution with a = -0.75.
        padding: "zeros": each tap outside counts 0, or `fill` (SciPy's "grid-constant"). "border": the border pixel is
            repeated ("nearest"). "reflection": the image is mirrored about the border pixels' centres ("mirror").
            "wrap", which torch lacks: the image is repeated, so that pixel w is pixel 0 ("grid-wrap"). With "border",
            "reflection" and "wrap" an infinite coordinate reads the border; with "reflection" and "wrap" so does one
            beyond 1/eps (8.4 million in float32, 4.5e15 in float64), where PyTorch goes on reflecting.
        fill: with "zeros" what each tap outside counts, a number or (c,). It may be NaN, which then shows in every
            sample that reads outside.
        backend: how "bilinear" reads. "gather" reads single pixels. "matmul" makes products with matrices of hat
            functions, which is what a TPU does best: nothing is gathered, also in the gradients, but a pixel that is
            NaN or infinite spoils every sample. Between the two products it keeps, for each point, h times c numbers or
            h times w, whichever is less. "auto" takes the products on a TPU where an example's points keep at most
            2 ** 24 numbers together, and reads single pixels elsewhere.

    Returns:
        (..., c) in the image's dtype.

    Raises:
        ValueError: if a rank, the last axis of `coords`, a dtype or a name is wrong, the image has no pixels, an axis
            has more pixels than the dtype of `coords` can tell apart (16.8 million in float32), the image has 2 ** 31
            or more in all, `fill` has another shape or comes with another padding, or "matmul" with another method than
            "bilinear".

    Examples:
        >>> image = jnp.array([[0.0, 10.0], [20.0, 30.0]])[..., None]
        >>> coords = jnp.array([[1.0, 0.0], [0.5, 0.0], [0.5, 0.5], [1.5, 0.0]])  # the last is half outside
        >>> ops.sample(image, coords)[:, 0].tolist()
        [10.0, 5.0, 15.0, 5.0]
        >>> ops.sample(image, coords, padding="border")[:, 0].tolist()
        [10.0, 5.0, 15.0, 10.0]
        >>> jax.vmap(ops.sample)(jnp.ones((8, 32, 32, 3)), jnp.ones((8, 16, 16, 2))).shape
        (8, 16, 16, 3)
    """
    image, coords = _check(image, coords, "image", "h w c", padding)
    check_choice("method", method, METHODS)
    return _sample(image[:, :, None], coords[..., None, :], method, padding, fill, backend)[..., 0, :]


def sample_channels(
    image: Float[ArrayLike, "h w c"],
    coords: Float[ArrayLike, "*points g 2"],
    *,
    method: str = "bilinear",
    padding: str = "zeros",
    fill: ArrayLike = 0.0,
    backend: str = "auto",
) -> Float[Array, "*points c"]:
    """Sample each group of channels with a field of its own (VTN section 3.1: one warp for each channel group).

    Convention:
        Direction: output to input; group j of output i reads its channels of the image at coords[i, j].
        Origin and order: pixel 0 is the centre of the first pixel; the last axis is (x, y), x right, y down.
        Outside: `padding` and `fill` say what is read; a NaN coordinate reads 0 with all of them.

    Args:
        image: (h, w, c), floating.
        coords: (..., g, 2), pixel coordinates (x, y) of each group. g divides c, and a group is c / g consecutive
            channels; with g = c every channel has its field.
        method: as in `sample`.
        padding: as in `sample`.
        fill: as in `sample`.
        backend: as in `sample`. Each group has points and channels of its own.

    Returns:
        (..., c) in the image's dtype.

    Raises:
        ValueError: as `sample`, where each group counts a pixel of its own, and if g does not divide c.

    Examples:
        >>> row = jnp.array([[1.0, 2.0, 3.0]])
        >>> image = jnp.stack([row, 10 * row], axis=-1)
        >>> coords = jnp.array([[0.0, 0.0], [1.5, 0.0]])  # where each of the two channels reads
        >>> ops.sample_channels(image, coords).tolist()
        [1.0, 25.0]
    """
    image, coords = _check(image, coords, "image", "h w c", padding)
    check_choice("method", method, METHODS)
    h, w, channels = image.shape
    if coords.ndim < 2:
        raise ValueError(f"coords must have the shape (..., groups, 2), but its shape is {coords.shape}")
    groups = coords.shape[-2]
    if groups == 0 or channels % groups:
        raise ValueError(f"coords must have a number of groups that divides the {channels} channels, not {groups}")
    out = _sample(image.reshape(h, w, groups, channels // groups), coords, method, padding, fill, backend)
    return out.reshape(*coords.shape[:-2], channels)


def sample_volume(
    volume: Float[ArrayLike, "d h w c"],
    coords: Float[ArrayLike, "*points 3"],
    *,
    method: str = "bilinear",
    padding: str = "zeros",
    fill: ArrayLike = 0.0,
    backend: str = "auto",
) -> Float[Array, "*points c"]:
    """Sample a volume at pixel coordinates (STN Eq. 9).

    Convention:
        Direction: output to input; output i reads the volume at coords[i].
        Origin and order: voxel 0 is the centre of the first voxel; the last axis is (x, y, z), x right, y down, z deep.
        Outside: `padding` and `fill` say what is read; a NaN coordinate reads 0 with all of them.

    Args:
        volume: (d, h, w, c), floating.
        coords: (..., 3), pixel coordinates (x, y, z).
        method: "bilinear", which is trilinear of a volume, or "nearest".
        padding: as in `sample`.
        fill: as in `sample`.
        backend: as in `sample`, where h are the rows of all slices.

    Returns:
        (..., c) in the volume's dtype.

    Raises:
        ValueError: as `sample`, of a volume and its voxels.

    Examples:
        >>> volume = jnp.arange(8.0).reshape(2, 2, 2, 1)  # voxel (x, y, z) holds x + 2 y + 4 z
        >>> coords = jnp.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.5, 0.5]])
        >>> ops.sample_volume(volume, coords)[:, 0].tolist()
        [1.0, 4.0, 3.5]
    """
    volume, coords = _check(volume, coords, "volume", "d h w c", padding)
    check_choice("method", method, VOLUME_METHODS)
    return _sample(volume[:, :, :, None], coords[..., None, :], method, padding, fill, backend)[..., 0, :]


def sample_separable(
    image: Float[ArrayLike, "h w c"],
    x: Float[ArrayLike, "w2"],
    y: Float[ArrayLike, "h2"],
    *,
    padding: str = "zeros",
    fill: ArrayLike = 0.0,
    backend: str = "auto",
) -> Float[Array, "h2 w2 c"]:
    """Sample bilinearly on a grid whose x depends on the column alone and y on the row alone, as TASN's does.

    The result is that of `sample` at the grid of all pairs, at the cost of two one-dimensional passes.

    Convention:
        Direction: output to input; output pixel [i, j] reads the image at (x[j], y[i]).
        Origin and order: pixel 0 is the centre of the first pixel; x comes first, to the right, then y, down.
        Outside: `padding` and `fill` say what is read; a NaN coordinate reads 0 with all of them.

    Args:
        image: (h, w, c), floating.
        x: (w',), the pixel coordinate that each output column reads.
        y: (h',), the pixel coordinate that each output row reads.
        padding: as in `sample`.
        fill: as in `sample`.
        backend: "lerp" makes two gathers and lerps. "matmul" makes two products with matrices of hat functions, which
            is what a TPU does best; a pixel that is NaN or infinite then spoils every sample of the rows and columns
            multiplied with it. "auto" takes the products on a TPU and the lerps elsewhere.

    Returns:
        (h', w', c) in the image's dtype.

    Raises:
        ValueError: as `sample`, and if `x` or `y` is no line.

    Examples:
        >>> image = jnp.arange(12.0).reshape(3, 4, 1)  # pixel (x, y) holds x + 4 y
        >>> x, y = jnp.array([0.0, 0.5, 3.0]), jnp.array([1.0, 2.0])
        >>> ops.sample_separable(image, x, y)[..., 0].tolist()
        [[4.0, 4.5, 7.0], [8.0, 8.5, 11.0]]
    """
    image, x = _check(image, x, "image", "h w c", padding, coords_name="x")
    y = as_coords("y", y)
    check_choice("backend", backend, SEPARABLE_BACKENDS)
    for name, line in (("x", x), ("y", y)):
        if line.ndim != 1:
            raise ValueError(f"{name} must be one line of pixel coordinates, but its shape is {line.shape}")
    dtype = widest(x.dtype, y.dtype)
    x, y = x.astype(dtype), y.astype(dtype)
    number = as_fill(fill, image.shape[-1], padding)
    run = {"auto": _separable.separable_auto, "lerp": _separable.separable_lerp, "matmul": _separable.separable_matmul}
    if number is None:
        return run[backend](image, x, y, padding)
    outside = outside_weight([x[None], y[:, None]], image.shape[1::-1], "bilinear")
    return filled(run[backend](image.astype(dtype), x, y, padding), outside, number).astype(image.dtype)


def grid_sample(
    image: Float[ArrayLike, "*sizes c"],
    grid: Float[ArrayLike, "*points n"],
    *,
    method: str = "bilinear",
    padding: str = "zeros",
    fill: ArrayLike = 0.0,
    backend: str = "auto",
    align_corners: bool,
) -> Float[Array, "*points c"]:
    """`torch.nn.functional.grid_sample` for one channels-last example: normalised coordinates.

    Convention:
        Direction: output to input; output i reads the image at grid[i].
        Origin and order: -1 and 1 are border pixels, as `align_corners` says; (x, y(, z)), x right, y down, z deep.
        Outside: `padding` and `fill` say what is read; a NaN coordinate reads 0 with all of them.

    Args:
        image: (h, w, c), or (d, h, w, c) with a grid of (x, y, z), floating.
        grid: (..., 2) or (..., 3), normalised coordinates (x, y) or (x, y, z).
        method: as in `sample`; of a volume as in `sample_volume`.
        padding: as in `sample`. With `align_corners=False`, "reflection" mirrors about the border pixels' outer edges,
            as in PyTorch. The period of "wrap" is the image, whatever `align_corners` says.
        fill: as in `sample`.
        backend: as in `sample`.
        align_corners: as in `to_pixels`. PyTorch's default is False; this function has none, because a wrong guess
            shifts every pixel.

    Returns:
        (..., c) in the image's dtype.

    Raises:
        ValueError: as `sample` and `sample_volume`.

    Examples:
        >>> image = jnp.array([[6.0, 8.0]])[..., None]
        >>> left = jnp.array([-1.0, 0.0])
        >>> ops.grid_sample(image, left, align_corners=True).tolist()  # the centre of the first pixel
        [6.0]
        >>> ops.grid_sample(image, left, align_corners=False).tolist()  # its outer edge, half of which is outside
        [3.0]
    """
    image = jnp.asarray(image)
    volume = image.ndim == 4
    image, grid = _check(image, grid, "image", "d h w c" if volume else "h w c", padding, coords_name="grid")
    check_choice("method of a volume" if volume else "method", method, VOLUME_METHODS if volume else METHODS)
    coords = to_pixels(grid, image.shape[:-1], align_corners=align_corners)
    if padding == "reflection" and not align_corners:
        padding = EDGE_REFLECTION
    return _sample(image[..., None, :], coords[..., None, :], method, padding, fill, backend)[..., 0, :]


def _check(image, coords, name, axes, padding, *, coords_name="coords"):
    image = jnp.asarray(image)
    check_choice("padding", padding, PADDINGS)
    check_rank(name, image, axes)
    check_not_empty(name, image)
    if jnp.iscomplexobj(image):
        raise ValueError(
            f"{name} must be real, not {image.dtype}: give its real and its imaginary part as two channels, of which "
            "each is sampled by itself"
        )
    check_floating(name, image)
    coords = as_coords(coords_name, coords)
    if coords_name != "x":
        _check_axes(name, image, coords_name, coords)
    # Interpolate float64 images in float64, whatever the coordinates came in.
    coords = coords.astype(widest(coords.dtype, image.dtype))
    countable = 2 ** (jnp.finfo(coords.dtype).nmant + 1)
    if max(image.shape[:-1]) > countable:
        raise ValueError(
            f"{name} must have at most {countable} pixels along an axis, which is as far as {coords.dtype} can tell "
            f"them apart, but its shape is {image.shape}"
        )
    return image, coords


def _check_axes(name, image, coords_name, coords):
    """Raise a ValueError unless the coordinates have an entry for each axis of an image or a volume."""
    last = coords.shape[-1] if coords.ndim else None
    if image.ndim == 4 and last == 2:
        raise ValueError(
            f"{coords_name} must hold (x, y, z) to read a volume (d, h, w, c), but its shape is {coords.shape} and "
            f"that of {name} {image.shape}; if {name} is a batch of images (h, w, c), use jax.vmap"
        )
    if image.ndim == 3 and last == 3:
        raise ValueError(
            f"{coords_name} must hold (x, y) to read an image (h, w, c), but its shape is {coords.shape} and that of "
            f"{name} {image.shape}; a volume is (d, h, w, c), also of one channel"
        )
    check_last(coords_name, coords, image.ndim - 1, "(x, y)" if image.ndim == 3 else "(x, y, z)")


def _sample(image, coords, method, padding, fill, backend):
    """(*sizes, g, c) at (..., g, n): (..., g, c)."""
    *sizes, groups, channels = image.shape
    number = as_fill(fill, groups * channels, padding)
    read = _reader(method, backend)
    if number is None:
        return read(image, coords, padding)
    if number.ndim:
        number = number.reshape(groups, channels)
    outside = outside_weight([coords[..., k] for k in range(len(sizes))], sizes[::-1], method)
    return filled(read(image.astype(coords.dtype), coords, padding), outside, number).astype(image.dtype)


def _reader(method, backend):
    check_choice("backend", backend, BACKENDS)
    if method == "bilinear":
        return {"auto": matmul_on_tpu, "gather": linear, "matmul": matmul}[backend]
    if backend == "matmul":
        raise ValueError(f"backend must be 'auto' or 'gather' with method={method!r}, not 'matmul'")
    return {"nearest": nearest, "bicubic": cubic}[method]
