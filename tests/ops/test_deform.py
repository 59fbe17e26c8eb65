"""Deformable convolution: plain loops, the ordinary convolution, VTN's warp, and PyTorch's grid_sample cell by cell."""

import functools

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from jax import lax
from jax.test_util import check_grads
from numpy.testing import assert_allclose, assert_array_equal
from operators import deformable_conv

from vtnjax import ops
from vtnjax.ops.deform import deformable_coords

# stride, pads, dilation, kernel (rows, columns), groups
WINDOWS = {
    "plain": ((1, 1), ((1, 1), (1, 1)), (1, 1), (3, 3), 1),
    "strided": ((2, 2), ((1, 1), (1, 1)), (1, 1), (3, 3), 2),
    "dilated": ((1, 1), ((2, 2), (2, 2)), (2, 2), (3, 3), 4),
    "uneven": ((1, 2), ((0, 2), (3, 1)), (2, 1), (2, 3), 2),
    "1x1": ((1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1), 4),
}
SIZE, CHANNELS, OUT = (6, 7), 4, 3


def output_size(size, window):
    stride, pads, dilation, cells, _ = window
    return tuple(
        (n + sum(pad) - (k - 1) * gap - 1) // step + 1
        for n, pad, k, gap, step in zip(size, pads, cells, dilation, stride, strict=True)
    )


def random_case(window, *, size=SIZE, channels=CHANNELS, seed=0):
    """Image, kernel, offsets off the kinks that leave the image too, mask."""
    rng = np.random.default_rng(seed)
    cells, groups = window[3:]
    points = (*output_size(size, window), groups, *cells)
    offsets = loops.random_coords(rng, points, (3, 3), beyond=2.0) - 1
    return (
        rng.normal(size=(*size, channels)),
        rng.normal(size=(*cells, channels, OUT)),
        offsets,
        rng.normal(size=points),
    )


def options_of(window):
    return {"stride": window[0], "padding": window[1], "dilation": window[2]}


@functools.partial(jax.jit, static_argnames=("stride", "padding", "dilation"))
def plain(image, kernel, *, stride=(1, 1), padding="SAME", dilation=(1, 1)):
    """JAX's convolution of one example."""
    axes = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        image[None], kernel, stride, padding, rhs_dilation=dilation, dimension_numbers=axes
    )[0]


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("name", WINDOWS)
def test_it_is_the_plain_loop(x64, name, masked):
    window = WINDOWS[name]
    image, kernel, offsets, mask = random_case(window)
    mask = mask if masked else None
    stride, pads, dilation = window[:3]
    expected = loops.deformable_conv(image, kernel, offsets, mask, stride=stride, pads=pads, dilation=dilation)
    found = deformable_conv(*map(jnp.asarray, (image, kernel, offsets)), mask=mask, **options_of(window))
    assert_allclose(found, expected, atol=1e-12)


def whole_numbers(*shape, seed=0):
    """Few enough to be added in any order without rounding."""
    return jnp.asarray(np.random.default_rng(seed).integers(-8, 9, shape), float)


@pytest.mark.parametrize("size", [(6, 7), (8, 8), (5, 1)])
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 0), (2, 1))])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 2), ((1, 2), (2, 1))])
def test_without_offsets_it_is_exactly_the_ordinary_convolution(size, padding, stride, dilation):
    image, kernel = whole_numbers(*size, 4), whole_numbers(3, 2, 4, 5, seed=1)
    strides, dilations = ((number, number) if isinstance(number, int) else number for number in (stride, dilation))
    expected = plain(image, kernel, stride=strides, padding=padding, dilation=dilations)
    offsets = jnp.zeros((*expected.shape[:2], 2, 3, 2, 2))
    found = deformable_conv(image, kernel, offsets, stride=stride, padding=padding, dilation=dilation)
    assert_array_equal(found, expected)


def test_convention_same_padding_at_a_stride_is_that_of_lax_and_not_that_of_torch():
    image, kernel = whole_numbers(6, 6, 1), whole_numbers(3, 3, 1, 1, seed=1)
    convolve = functools.partial(deformable_conv, image, kernel, jnp.zeros((3, 3, 1, 3, 3, 2)), stride=2)
    assert_array_equal(convolve(), convolve(padding=((0, 1), (0, 1))))
    torchs = convolve(padding=((1, 1), (1, 1)))
    assert_array_equal(torchs[0, 0, 0], (image[:2, :2, 0] * kernel[1:, 1:, 0, 0]).sum())
    assert np.abs(torchs - convolve()).max() > 1


@pytest.mark.parametrize(("right", "down"), [(1, 0), (0, -2), (-3, 2), (9, 0)])
def test_convention_whole_offsets_are_x_then_y_and_move_the_convolution(right, down):
    image, kernel = whole_numbers(6, 7, 4), whole_numbers(3, 3, 4, 2, seed=1)
    offsets = jnp.broadcast_to(jnp.array([right, down], float), (6, 7, 2, 3, 3, 2))
    moved = plain(jnp.pad(image, [(10, 10), (10, 10), (0, 0)]), kernel)[10 + down : 16 + down, 10 + right : 17 + right]
    assert_array_equal(deformable_conv(image, kernel, offsets), moved)


def test_offsets_that_spread_the_kernel_are_a_dilation():
    image, kernel = whole_numbers(6, 7, 4), whole_numbers(3, 3, 4, 2, seed=1)
    y, x = jnp.meshgrid(jnp.arange(-1.0, 2), jnp.arange(-1.0, 2), indexing="ij")
    offsets = jnp.broadcast_to(jnp.stack([x, y], -1), (6, 7, 1, 3, 3, 2))
    assert_array_equal(deformable_conv(image, kernel, offsets), plain(image, kernel, dilation=(2, 2)))


def test_each_group_moves_its_own_consecutive_channels():
    image, kernel = whole_numbers(6, 7, 4), whole_numbers(3, 3, 4, 2, seed=1)
    offsets = jnp.zeros((6, 7, 2, 3, 3, 2)).at[:, :, 1, ..., 0].set(1)
    framed = jnp.pad(image, [(2, 2), (2, 2), (0, 0)])
    moved = jnp.concatenate([framed[..., :2], jnp.roll(framed[..., 2:], -1, axis=1)], axis=-1)
    assert_array_equal(deformable_conv(image, kernel, offsets), plain(moved, kernel)[2:8, 2:9])


def test_a_1x1_kernel_and_a_group_for_each_channel_are_the_warp_of_vtn(x64):
    rng = np.random.default_rng(0)
    image, fields = jnp.asarray(rng.normal(size=(6, 7, 4))), jnp.asarray(rng.normal(size=(6, 7, 4, 2)))
    found = deformable_conv(image, jnp.eye(4)[None, None], fields[:, :, :, None, None])
    assert_allclose(found, ops.sample_channels(image, ops.displace(fields)), atol=1e-14)


def test_the_coordinates_that_are_read(x64):
    window = WINDOWS["uneven"]
    _, _, offsets, _ = random_case(window)
    found = deformable_coords(jnp.asarray(offsets), SIZE, window[3], **options_of(window))
    (top, left), (down, right), (step_y, step_x) = (0, 3), window[2], window[0]
    for i, j, g, m, n in np.ndindex(*offsets.shape[:-1]):
        here = np.array([j * step_x - left + n * right, i * step_y - top + m * down])
        assert_allclose(found[i, j, g, m, n], here + offsets[i, j, g, m, n], atol=1e-12)


@pytest.mark.parametrize("name", ["strided", "uneven"])
def test_gradients_of_every_argument(x64, quick_compile, name):
    window = WINDOWS[name]

    def function(image, kernel, offsets, mask):
        return deformable_conv(image, kernel, offsets, mask=mask, **options_of(window))

    check_grads(jax.jit(function), tuple(map(jnp.asarray, random_case(window))), order=1, atol=1e-6, rtol=1e-6)


BAD = (np.nan, np.inf, -np.inf, 1e30, -3e38)


@pytest.mark.parametrize("bad", BAD)
def test_convention_a_bad_offset_reads_zero_and_spoils_nothing_else(bad):
    window = WINDOWS["plain"]
    image, kernel, offsets, mask = (array.astype(np.float32) for array in random_case(window))
    offsets[2, 3, 0, 1, 2, 0] = bad
    silent = mask.copy()
    silent[2, 3, 0, 1, 2] = 0  # the same point unread
    harmless = np.where(np.abs(offsets) < 1e9, offsets, 0)

    def run(offsets, mask):
        function = functools.partial(deformable_conv, **options_of(window))
        value, vjp = jax.vjp(lambda i, k, o, m: function(i, k, o, mask=m), image, kernel, offsets, mask)
        return value, *vjp(jnp.ones_like(value))

    found, truth = jax.jit(run)(offsets, mask), jax.jit(run)(harmless, silent)
    for part, expected in zip(found[:4], truth[:4], strict=True):
        assert_allclose(part, expected, atol=1e-5)
    assert_array_equal(found[3][2, 3, 0, 1, 2], 0)
    assert_array_equal(found[4][2, 3, 0, 1, 2], 0)


def test_an_image_of_one_pixel():
    image, kernel = jnp.full((1, 1, 2), 3.0), whole_numbers(3, 3, 2, 4)
    offsets = jnp.zeros((1, 1, 1, 3, 3, 2))
    assert_array_equal(deformable_conv(image, kernel, offsets)[0, 0], 3 * kernel[1, 1].sum(0))
    corner = offsets.at[..., 0, 0, :].set(0.75)  # from (-1, -1) to a quarter of a pixel before the only one
    expected = 3 * (kernel[1, 1] + 0.75**2 * kernel[0, 0]).sum(0)
    assert_allclose(deformable_conv(image, kernel, corner)[0, 0], expected, atol=1e-5)


def test_a_kernel_larger_than_the_image_leaves_nothing():
    image, kernel = jnp.ones((2, 5, 4)), jnp.ones((3, 3, 4, 2))
    offsets, mask = jnp.zeros((0, 3, 2, 3, 3, 2)), jnp.zeros((0, 3, 2, 3, 3))
    assert deformable_conv(image, kernel, offsets, mask=mask, padding="VALID").shape == (0, 3, 2)


def test_bfloat16_features_and_kernel_keep_float32_coordinates():
    image = jnp.tile(jnp.array([0.0, 1.0], jnp.bfloat16), 200)[None, :, None]
    offsets = jnp.full((1, 400, 1, 1, 1, 2), 0.25).at[..., 1].set(0)
    found = deformable_conv(image, jnp.ones((1, 1, 1, 1), jnp.bfloat16), offsets)
    assert found.dtype == jnp.bfloat16
    assert_allclose(found[0, 300:303, 0].astype(jnp.float32), [0.25, 0.75, 0.25])


def test_the_wider_of_image_and_kernel_is_what_it_computes_in():
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(4, 4, 64)), jnp.bfloat16)
    kernel = jnp.asarray(rng.normal(size=(3, 3, 64, 2)), jnp.float32)
    offsets = jnp.asarray(rng.uniform(-1, 1, (4, 4, 1, 3, 3, 2)), jnp.float32)
    found = deformable_conv(image, kernel, offsets)
    exact = deformable_conv(image.astype(jnp.float32), kernel, offsets)
    assert_array_equal(found, exact.astype(jnp.bfloat16))
    coarse = deformable_conv(image, kernel.astype(jnp.bfloat16), offsets)
    assert_allclose(coarse.astype(jnp.float32), exact, atol=0.5)
    assert np.abs(coarse.astype(jnp.float32) - exact).max() > 2**-8


def torch_deformable_conv(torch, image, kernel, offsets, mask, cotangent, window):
    """A kernel cell and a group at a time, by grid_sample; values and all gradients."""
    stride, pads, dilation, (kh, kw), groups = window
    arrays = [torch.from_numpy(array.copy()).requires_grad_() for array in (image, kernel, offsets, mask)]
    image, kernel, offsets, mask = arrays
    h, w, channels = image.shape
    width = channels // groups
    rows, columns = torch.meshgrid(*(torch.arange(n) for n in offsets.shape[:2]), indexing="ij")
    total = 0
    for g, m, n in np.ndindex(groups, kh, kw):
        x = columns * stride[1] - pads[1][0] + n * dilation[1] + offsets[:, :, g, m, n, 0]
        y = rows * stride[0] - pads[0][0] + m * dilation[0] + offsets[:, :, g, m, n, 1]
        grid = torch.stack([(2 * x + 1) / w - 1, (2 * y + 1) / h - 1], -1)[None]
        part = image[..., g * width : (g + 1) * width].permute(2, 0, 1)[None]
        read = torch.nn.functional.grid_sample(part, grid, align_corners=False)[0] * mask[:, :, g, m, n]
        total = total + torch.einsum("chw,co->hwo", read, kernel[m, n, g * width : (g + 1) * width])
    total.backward(torch.from_numpy(cotangent))
    return total.detach().numpy(), *(array.grad.numpy() for array in arrays)


@pytest.mark.torch
@pytest.mark.parametrize("name", WINDOWS)
def test_values_and_gradients_are_torchs(torch, x64, name):
    window, size = WINDOWS[name], (9, 11)
    case = random_case(window, size=size, channels=8)
    cotangent = np.random.default_rng(1).normal(size=(*output_size(size, window), OUT))
    oracle = torch_deformable_conv(torch, *case, cotangent, window)

    def function(image, kernel, offsets, mask):
        return deformable_conv(image, kernel, offsets, mask=mask, **options_of(window))

    def value_and_gradients(cotangent, *case):
        value, vjp = jax.vjp(function, *case)
        return value, *vjp(cotangent)

    found = jax.jit(value_and_gradients)(*map(jnp.asarray, (cotangent, *case)))
    for array, truth, part in zip(found, oracle, ("value", "image", "kernel", "offsets", "mask"), strict=True):
        assert_allclose(array, truth, atol=1e-10, err_msg=part)


@pytest.mark.torch
@pytest.mark.parametrize(("stride", "pad", "dilation"), [(1, 1, 1), (2, 1, 1), (2, 3, 2)])
def test_explicit_padding_is_torchs_convolution(torch, x64, stride, pad, dilation):
    image, kernel, *_ = random_case(WINDOWS["plain"], size=(8, 10))
    first, weights = torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(kernel).permute(3, 2, 0, 1)
    oracle = torch.nn.functional.conv2d(first, weights, stride=stride, padding=pad, dilation=dilation)[0]
    offsets = jnp.zeros((*oracle.shape[1:], 1, 3, 3, 2))
    options = {"stride": stride, "padding": ((pad, pad), (pad, pad)), "dilation": dilation}
    found = deformable_conv(jnp.asarray(image), jnp.asarray(kernel), offsets, **options)
    assert_allclose(found, oracle.permute(1, 2, 0).numpy(), atol=1e-12)
