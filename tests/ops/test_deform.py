"""Deformable convolution: plain loops, the ordinary convolution, VTN's warp, and PyTorch's grid_sample cell by cell."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec
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


def random_case(window, *, size=SIZE, channels=CHANNELS, outputs=OUT, count=1, seed=0):
    """Image, kernel, offsets off the kinks that leave the image too, mask, bias."""
    rng = np.random.default_rng(seed)
    cells, groups = window[3:]
    points = (*output_size(size, window), groups, *cells)
    offsets = loops.random_coords(rng, points, (3, 3), beyond=2.0) - 1
    return (
        rng.normal(size=(*size, channels)),
        rng.normal(size=(*cells, channels // count, outputs)),
        offsets,
        rng.normal(size=points),
        rng.normal(size=outputs),
    )


def options_of(window):
    return {"stride": window[0], "padding": window[1], "dilation": window[2]}


@functools.partial(jax.jit, static_argnames=("stride", "padding", "dilation", "feature_group_count"))
def plain(image, kernel, *, stride=(1, 1), padding="SAME", dilation=(1, 1), feature_group_count=1):
    """JAX's convolution of one example."""
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC"), "feature_group_count": feature_group_count}
    return lax.conv_general_dilated(image[None], kernel, stride, padding, rhs_dilation=dilation, **options)[0]


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.daily("*-True", "plain-False")
def test_it_is_the_plain_loop(x64, name, masked):
    window = WINDOWS[name]
    image, kernel, offsets, mask, _ = random_case(window)
    mask = mask if masked else None
    stride, pads, dilation = window[:3]
    expected = loops.deformable_conv(image, kernel, offsets, mask, stride=stride, pads=pads, dilation=dilation)
    found = deformable_conv(*map(jnp.asarray, (image, kernel, offsets)), mask=mask, **options_of(window))
    assert_allclose(found, expected, atol=1e-12)


# feature_group_count and outputs, of 4 channels; with 4 a depthwise convolution, also with several outputs of each
FEATURE_GROUPS = [(1, 3), (2, 2), (2, 6), (4, 4), (4, 8)]


@pytest.mark.parametrize(("count", "outputs"), FEATURE_GROUPS)
@pytest.mark.parametrize("name", ["strided", "uneven"])
@pytest.mark.daily("strided-1-3", "strided-2-6", "uneven-4-4", "uneven-4-8")
def test_with_groups_of_the_kernel_and_a_bias_it_is_the_plain_loop(x64, name, count, outputs):
    window = WINDOWS[name]
    image, kernel, offsets, mask, bias = random_case(window, outputs=outputs, count=count)
    stride, pads, dilation = window[:3]
    options = {"stride": stride, "pads": pads, "dilation": dilation, "bias": bias, "count": count}
    expected = loops.deformable_conv(image, kernel, offsets, mask, **options)
    arrays = map(jnp.asarray, (image, kernel, offsets))
    found = deformable_conv(*arrays, mask=mask, bias=bias, feature_group_count=count, **options_of(window))
    assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("mesh_name", ["auto_mesh", "explicit_mesh"])
@pytest.mark.slow
def test_groups_of_the_kernel_over_eight_devices_are_as_on_one(mesh_name, request):
    window = WINDOWS["strided"]
    case = random_case(window, outputs=6, count=2)
    batch = tuple(jnp.asarray(np.multiply.outer(1 + 0.01 * np.arange(8), array), jnp.float32) for array in case)

    @jax.jit
    def function(batch):
        def one(image, kernel, offsets, mask, bias):
            options = {"mask": mask, "bias": bias, "feature_group_count": 2}
            return deformable_conv(image, kernel, offsets, **options, **options_of(window))

        return jax.value_and_grad(lambda batch: jnp.sum(jax.vmap(one)(*batch) ** 2))(batch)

    expected = function(batch)
    mesh = request.getfixturevalue(mesh_name)
    with jax.set_mesh(mesh):
        found = function(jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data"))))
    for one, many in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        assert_allclose(many, one, rtol=1e-4, atol=1e-3)


def whole_numbers(*shape, seed=0):
    """Few enough to be added in any order without rounding."""
    return jnp.asarray(np.random.default_rng(seed).integers(-8, 9, shape), float)


@pytest.mark.parametrize("size", [(6, 7), (8, 8), (5, 1)])
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 0), (2, 1))])
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 2), ((1, 2), (2, 1))])
@pytest.mark.daily("stride3-dilation3-SAME-size1")
def test_without_offsets_it_is_exactly_the_ordinary_convolution(size, padding, stride, dilation):
    image, kernel = whole_numbers(*size, 4), whole_numbers(3, 2, 4, 5, seed=1)
    strides, dilations = ((number, number) if isinstance(number, int) else number for number in (stride, dilation))
    expected = plain(image, kernel, stride=strides, padding=padding, dilation=dilations)
    offsets = np.zeros((*expected.shape[:2], 2, 3, 2, 2))
    found = deformable_conv(image, kernel, offsets, stride=stride, padding=padding, dilation=dilation)
    assert_array_equal(found, expected)


@pytest.mark.parametrize(("count", "outputs"), FEATURE_GROUPS)
@pytest.mark.daily("2-6", "4-8")
def test_convention_groups_of_the_kernel_are_those_of_lax(count, outputs):
    image, kernel = whole_numbers(6, 7, 4), whole_numbers(3, 3, 4 // count, outputs, seed=1)
    bias, offsets = whole_numbers(outputs, seed=2), np.zeros((3, 4, 2, 3, 3, 2))
    expected = np.asarray(plain(image, kernel, stride=(2, 2), feature_group_count=count)) + np.asarray(bias)
    assert_array_equal(
        deformable_conv(image, kernel, offsets, bias=bias, stride=2, feature_group_count=count), expected
    )


def test_a_depthwise_convolution_is_no_matrix_product():
    image, kernel, offsets = np.ones((6, 7, 4)), np.ones((3, 3, 1, 8)), np.ones((6, 7, 1, 3, 3, 2))
    assert "dot_general" not in deformable_conv.lower(image, kernel, offsets, feature_group_count=4).as_text()
    whole = np.ones((3, 3, 4, 8))
    assert "dot_general" in deformable_conv.lower(image, whole, offsets).as_text()


def test_a_large_image_is_a_small_program():
    shapes = [(4096, 4096, 3), (7, 7, 3, 1), (4096, 4096, 1, 7, 7, 2)]
    program = jax.export.export(deformable_conv)(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes))
    assert len(program.mlir_module_serialized) < 100_000  # as constants, its rows and columns alone are 235,000 bytes


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
    offsets = np.broadcast_to(np.array([right, down], float), (6, 7, 2, 3, 3, 2))
    padded = np.asarray(plain(np.pad(image, [(10, 10), (10, 10), (0, 0)]), kernel))
    moved = padded[10 + down : 16 + down, 10 + right : 17 + right]
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


@pytest.mark.slow
def test_a_1x1_kernel_and_a_group_for_each_channel_are_the_warp_of_vtn(x64):
    rng = np.random.default_rng(0)
    image, fields = jnp.asarray(rng.normal(size=(6, 7, 4))), jnp.asarray(rng.normal(size=(6, 7, 4, 2)))
    found = deformable_conv(image, jnp.eye(4)[None, None], fields[:, :, :, None, None])
    assert_allclose(found, ops.sample_channels(image, ops.displace(fields)), atol=1e-14)


def test_the_coordinates_that_are_read(x64):
    window = WINDOWS["uneven"]
    _, _, offsets, *_ = random_case(window)
    found = np.asarray(deformable_coords(jnp.asarray(offsets), SIZE, window[3], **options_of(window)))
    (top, left), (down, right), (step_y, step_x) = (0, 3), window[2], window[0]
    for i, j, g, m, n in np.ndindex(*offsets.shape[:-1]):
        here = np.array([j * step_x - left + n * right, i * step_y - top + m * down])
        assert_allclose(found[i, j, g, m, n], here + offsets[i, j, g, m, n], atol=1e-12)


@pytest.mark.parametrize(("name", "count", "outputs"), [("strided", 1, 3), ("uneven", 2, 6), ("strided", 4, 8)])
@pytest.mark.daily("strided-1-3")
def test_gradients_of_every_argument(x64, name, count, outputs):
    window = WINDOWS[name]

    def function(image, kernel, offsets, mask, bias):
        options = {"mask": mask, "bias": bias, "feature_group_count": count}
        return deformable_conv(image, kernel, offsets, **options, **options_of(window))

    case = tuple(map(jnp.asarray, random_case(window, outputs=outputs, count=count)))
    check_grads(jax.jit(function), case, order=1, atol=1e-6, rtol=1e-6)


BAD = (np.nan, np.inf, -np.inf, 1e30, -3e38)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.daily("inf")
def test_convention_a_bad_offset_reads_zero_and_spoils_nothing_else(bad):
    window = WINDOWS["plain"]
    image, kernel, offsets, mask, _ = (array.astype(np.float32) for array in random_case(window))
    offsets[2, 3, 0, 1, 2, 0] = bad
    silent = mask.copy()
    silent[2, 3, 0, 1, 2] = 0  # the same point unread
    harmless = np.where(np.abs(offsets) < 1e9, offsets, 0)

    def run(offsets, mask):
        function = functools.partial(deformable_conv, **options_of(window))
        value, vjp = jax.vjp(lambda i, k, o, m: function(i, k, o, mask=m), image, kernel, offsets, mask)
        return value, *vjp(jnp.ones_like(value))

    run = jax.jit(run)
    found, truth = (list(map(np.asarray, run(*each))) for each in ((offsets, mask), (harmless, silent)))
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
    offsets, mask = np.zeros((0, 3, 2, 3, 3, 2)), np.zeros((0, 3, 2, 3, 3))
    assert deformable_conv(image, kernel, offsets, mask=mask, padding="VALID").shape == (0, 3, 2)


def test_bfloat16_features_and_kernel_keep_float32_coordinates():
    image = jnp.tile(jnp.array([0.0, 1.0], jnp.bfloat16), 200)[None, :, None]
    offsets = jnp.full((1, 400, 1, 1, 1, 2), 0.25).at[..., 1].set(0)
    found = deformable_conv(image, jnp.ones((1, 1, 1, 1), jnp.bfloat16), offsets)
    assert found.dtype == jnp.bfloat16
    assert_allclose(found[0, 300:303, 0].astype(jnp.float32), [0.25, 0.75, 0.25])


@pytest.mark.slow
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


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
@pytest.mark.daily("float32")
def test_a_depthwise_convolution_adds_up_in_float32(dtype):
    rng = np.random.default_rng(0)
    image, kernel = jnp.asarray(rng.normal(size=(16, 16, 4)), dtype), jnp.asarray(rng.normal(size=(7, 7, 1, 4)), dtype)
    found = deformable_conv(image, kernel, jnp.zeros((16, 16, 1, 7, 7, 2)), feature_group_count=4)
    exact = plain(*(array.astype(jnp.float32) for array in (image, kernel)), feature_group_count=4)
    assert found.dtype == dtype
    rounding = float(jnp.finfo(dtype).eps) * jnp.abs(exact) + 1e-5
    assert (jnp.abs(found.astype(jnp.float32) - exact) <= rounding).all()


def test_a_bias_is_added_in_the_widest_dtype():
    image, kernel = jnp.full((1, 1, 1), 256, jnp.bfloat16), jnp.ones((1, 1, 1, 1), jnp.bfloat16)
    bias = jnp.full(1, 1 + 2**-10, jnp.float32)  # rounded first to a bfloat16 it is 1, and the tie 257 rounds to 256
    found = deformable_conv(image, kernel, jnp.zeros((1, 1, 1, 1, 1, 2)), bias=bias)
    assert_array_equal(found, jnp.full((1, 1, 1), 258, jnp.bfloat16))


def torch_deformable_conv(torch, image, kernel, offsets, mask, bias, cotangent, window, count):
    """A kernel cell and a group at a time, by grid_sample; values and all gradients."""
    stride, pads, dilation, (kh, kw), groups = window
    arrays = [torch.from_numpy(array.copy()).requires_grad_() for array in (image, kernel, offsets, mask, bias)]
    image, kernel, offsets, mask, bias = arrays
    h, w, channels = image.shape
    inputs, outputs = kernel.shape[2:]
    parts = kernel.reshape(kh, kw, inputs, count, outputs // count).permute(3, 0, 1, 2, 4)  # of each feature group
    kernel = torch.zeros(kh, kw, channels, outputs, dtype=kernel.dtype)
    for i, part in enumerate(parts):
        of_inputs, of_outputs = (slice(i * n, (i + 1) * n) for n in (inputs, outputs // count))
        kernel[:, :, of_inputs, of_outputs] = part
    width = channels // groups
    rows, columns = torch.meshgrid(*(torch.arange(n) for n in offsets.shape[:2]), indexing="ij")
    total = bias
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
@pytest.mark.parametrize(("count", "outputs"), [(1, 3), (4, 8), (8, 16)])
@pytest.mark.parametrize("name", WINDOWS)
def test_values_and_gradients_are_torchs(torch, x64, name, count, outputs):
    window, size = WINDOWS[name], (9, 11)
    case = random_case(window, size=size, channels=8, outputs=outputs, count=count)
    cotangent = np.random.default_rng(1).normal(size=(*output_size(size, window), outputs))
    oracle = torch_deformable_conv(torch, *case, cotangent, window, count)

    def function(image, kernel, offsets, mask, bias):
        options = {"mask": mask, "bias": bias, "feature_group_count": count}
        return deformable_conv(image, kernel, offsets, **options, **options_of(window))

    def value_and_gradients(cotangent, *case):
        value, vjp = jax.vjp(function, *case)
        return value, *vjp(cotangent)

    found = jax.jit(value_and_gradients)(*map(jnp.asarray, (cotangent, *case)))
    for array, truth, part in zip(found, oracle, ("value", "image", "kernel", "offsets", "mask", "bias"), strict=True):
        assert_allclose(array, truth, atol=1e-10, err_msg=part)


@pytest.mark.torch
@pytest.mark.parametrize(("stride", "pad", "dilation", "groups"), [(1, 1, 1, 1), (2, 1, 1, 2), (2, 3, 2, 4)])
def test_explicit_padding_and_groups_are_torchs_convolution(torch, x64, stride, pad, dilation, groups):
    image, kernel, _, _, bias = random_case(WINDOWS["plain"], size=(8, 10), outputs=4, count=groups)
    first, weights = torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(kernel).permute(3, 2, 0, 1)
    options = {"stride": stride, "padding": pad, "dilation": dilation, "groups": groups}
    oracle = torch.nn.functional.conv2d(first, weights, torch.from_numpy(bias), **options)[0]
    offsets = jnp.zeros((*oracle.shape[1:], 1, 3, 3, 2))
    options = {"stride": stride, "padding": ((pad, pad), (pad, pad)), "dilation": dilation}
    options |= {"bias": jnp.asarray(bias), "feature_group_count": groups}
    found = deformable_conv(jnp.asarray(image), jnp.asarray(kernel), offsets, **options)
    assert_allclose(found, oracle.permute(1, 2, 0).numpy(), atol=1e-12)
