import functools
import itertools

import jax
import jax.numpy as jnp
import loops
import numpy as np
import operators
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import ops
from vtnjax.ops import _linear
from vtnjax.ops._padding import EDGE_REFLECTION

METHODS = ("nearest", "bilinear", "bicubic")
PADDINGS = ("zeros", "border", "reflection", "wrap")
EVERY = list(itertools.product(METHODS, PADDINGS))
ROW = np.array([3.0, 5.0, 11.0, 2.0])


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def slopes(function, image, coords):
    """-> (..., c, axes): how each output moves with its own coordinates, in reverse mode."""

    def one(point):
        return jax.jacrev(lambda p: function(image, p[None])[0])(point)

    return jax.jit(jax.vmap(one))(coords)


def lattice(sizes, beyond=2):
    """Every integer point (x, y[, z]) in and around an image, as a list."""
    axes = [np.arange(-beyond, size + beyond) for size in sizes[::-1]]
    return np.stack(np.meshgrid(*axes), -1).reshape(-1, len(sizes)).astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("padding", PADDINGS)
def test_convention_the_derivative_at_integers_is_that_of_the_cell_to_the_right(x64, padding):
    image, coords = normal(3, 4, 2), lattice((3, 4))
    found = slopes(functools.partial(ops.sample, padding=padding), jnp.asarray(image), jnp.asarray(coords))
    expected = loops.right_derivatives(lambda at: loops.sample(image, at, padding=padding), coords)
    assert_allclose(found, expected, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("padding", PADDINGS)
def test_convention_the_derivative_of_a_volume_at_integers_is_to_the_right(x64, padding):
    volume, coords = normal(2, 3, 2, 1), lattice((2, 3, 2), beyond=1)
    found = slopes(functools.partial(ops.sample_volume, padding=padding), jnp.asarray(volume), jnp.asarray(coords))
    expected = loops.right_derivatives(lambda at: loops.sample(volume, at, padding=padding), coords)
    assert_allclose(found, expected, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("padding", PADDINGS)
def test_convention_the_derivative_of_channel_groups_at_integers_is_to_the_right(x64, padding):
    def function(image, coords):
        return ops.sample_channels(image, jnp.stack([coords, coords], -2), padding=padding)

    image, coords = normal(3, 4, 2), lattice((3, 4))
    expected = loops.right_derivatives(lambda at: loops.sample(image, at, padding=padding), coords)
    assert_allclose(slopes(function, jnp.asarray(image), jnp.asarray(coords)), expected, atol=1e-10)


@pytest.mark.parametrize("backend", ["lerp", "matmul"])
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.daily("zeros-matmul")
def test_convention_the_derivative_of_separable_sampling_at_integers_is_to_the_right(x64, padding, backend):
    def function(image, point):
        return ops.sample_separable(image, point[0, :1], point[0, 1:], padding=padding, backend=backend)[0]

    image, coords = normal(3, 4, 2), lattice((3, 4))
    expected = loops.right_derivatives(lambda at: loops.sample(image, at, padding=padding), coords)
    assert_allclose(slopes(function, jnp.asarray(image), jnp.asarray(coords)), expected, atol=1e-10)


def near_whole_numbers(size):
    """Single-precision coordinates on both sides of every whole number in and around an axis, and close to zero."""
    whole = np.arange(-2, size + 3, dtype=np.float32)
    beside = [np.nextafter(whole, np.float32(side)) for side in (-np.inf, np.inf)]
    tiny = np.array([-6e-8, -1e-8, -1e-12, -1e-30, 1e-30, 1e-12, 1e-8, 6e-8], np.float32)
    found = np.concatenate([whole, *beside, tiny])
    return found[(found == 0) | (np.abs(found) > 1e-37)]  # smaller ones count as 0


def cell_slopes(image, coords, **options):
    """-> (..., c, axes): the slopes of the cells that begin at or before the coordinates, which are linear inside."""
    found = []
    for axis in range(coords.shape[-1]):
        low, high = coords.astype(float), coords.astype(float)
        low[..., axis] = np.floor(low[..., axis])
        high[..., axis] = low[..., axis] + 1
        found.append(loops.sample(image, high, **options) - loops.sample(image, low, **options))
    return np.stack(found, -1)


SIDES = {
    "sample": ops.sample,
    "channels": lambda image, coords, **o: ops.sample_channels(image, jnp.stack([coords, coords], -2), **o),
    "rows": lambda image, coords, **o: ops.sample_channels(
        jnp.tile(image, (1, 1, 4)), jnp.stack([coords, coords], -2), **o
    )[..., :2],
    "lerp": lambda image, coords, **o: ops.sample_separable(image, coords[0, :1], coords[0, 1:], backend="lerp", **o)[
        0
    ],
    "matmul": lambda image, coords, **o: ops.sample_separable(
        image, coords[0, :1], coords[0, 1:], backend="matmul", **o
    )[0],
}


@pytest.mark.parametrize("name", SIDES)
@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.daily("zeros-sample", "reflection-matmul")
def test_convention_the_derivative_beside_a_pixel_is_that_of_the_cell_there(padding, name):
    image = normal(3, 4, 2).astype(np.float32)
    x, y = near_whole_numbers(4), near_whole_numbers(3)
    coords = np.concatenate([np.stack([x, np.full_like(x, 1.25)], -1), np.stack([np.full_like(y, 2.5), y], -1)])
    if padding in ("reflection", "wrap"):  # in the copies of the image coordinates are rounded
        coords = coords[((coords > -0.5) & (coords < np.array([3.5, 2.5]))).all(-1)]
    found = slopes(functools.partial(SIDES[name], padding=padding), jnp.asarray(image), jnp.asarray(coords))
    assert_allclose(found, cell_slopes(image.astype(float), coords, padding=padding), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("padding", PADDINGS)
def test_convention_the_derivative_of_a_volume_beside_a_voxel_is_that_of_the_cell_there(padding):
    volume, z = normal(2, 3, 4, 1).astype(np.float32), near_whole_numbers(2)
    coords = np.stack([np.full_like(z, 1.25), np.full_like(z, 0.5), z], -1)
    coords = np.concatenate([np.roll(coords, axis, -1) for axis in range(3)])
    if padding in ("reflection", "wrap"):
        coords = coords[((coords > -0.5) & (coords < np.array([3.5, 2.5, 1.5]))).all(-1)]
    found = slopes(functools.partial(ops.sample_volume, padding=padding), jnp.asarray(volume), jnp.asarray(coords))
    assert_allclose(found, cell_slopes(volume.astype(float), coords, padding=padding), atol=1e-5)


@pytest.mark.slow
def test_convention_reflection_about_edges_has_no_slope_just_outside_the_border_pixels():
    x = jnp.array([-1e-8, -0.25, 0.0, 1e-8, 2.9999998, 3.0, 3.25])
    grid = jnp.stack([x, jnp.zeros(7)], -1)  # in pixels: an image of two pixels, twice as wide as the grid's unit
    image = jnp.asarray(ROW, jnp.float32)[None, :, None]

    def function(image, points):
        return _linear.linear(image[:, :, None], points[:, None], EDGE_REFLECTION)[:, 0]

    assert_allclose(slopes(function, image, grid)[:, 0, 0], [0, 0, 2, 2, -9, 0, 0], atol=1e-5)


def torch_identity(size):
    """The pixels at which PyTorch's identity with align_corners=False reads an axis, in its arithmetic."""
    steps = np.linspace(-1, 1, size, dtype=np.float32) * np.float32(size - 1) / np.float32(size)
    return ((steps + np.float32(1)) * np.float32(size) - np.float32(1)) / np.float32(2)


# Sizes at which it begins just left of pixel 0.
LEFT_OF_ZERO = [size for size in range(2, 257) if torch_identity(size)[0] < 0]


def test_some_sizes_begin_left_of_pixel_0():
    assert 3 in LEFT_OF_ZERO
    assert len(LEFT_OF_ZERO) > 5


@pytest.mark.parametrize("size", [*LEFT_OF_ZERO[:3], 4, LEFT_OF_ZERO[-1]])
@pytest.mark.daily("3", "4")
def test_the_gradient_at_pytorchs_identity_of_unaligned_corners(size):
    image = normal(1, size, 1).astype(np.float32)
    coords = np.stack([torch_identity(size), np.zeros(size, np.float32)], -1)
    found = slopes(ops.sample, jnp.asarray(image), jnp.asarray(coords))
    assert_allclose(found, cell_slopes(image.astype(float), coords), atol=1e-5)


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        ("zeros", [0, 3, 2, 6, -9, -2, 0]),  # at x = -1 the taps are -1 and 0
        ("border", [0, 0, 2, 6, -9, 0, 0]),
        ("reflection", [-6, -2, 2, 6, -9, 9, -6]),
        ("wrap", [-9, 1, 2, 6, -9, 1, 2]),
    ],
)
@pytest.mark.daily("zeros-expected0")
def test_convention_border_derivatives_of_a_row(padding, expected):
    image, coords = jnp.asarray(ROW, jnp.float32)[None, :, None], jnp.stack([jnp.arange(-2.0, 5), jnp.zeros(7)], -1)
    found = slopes(functools.partial(ops.sample, padding=padding), image, coords)
    assert_allclose(found[:, 0, 0], expected, atol=1e-5)


def identity_gradient(sampler, image, weights):
    def loss(theta):
        return (weights * sampler(image, ops.affine_grid(theta, image.shape[:2]))).sum()

    return jax.jit(jax.grad(loss))(jnp.eye(2, 3))


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.daily("zeros")
def test_convention_a_transformer_at_the_identity_gets_a_gradient(x64, padding):
    image, weights = normal(3, 5, 2), normal(3, 5, 2, seed=1)  # sizes whose grid is exact in binary
    sampler = functools.partial(ops.grid_sample, padding=padding, align_corners=True)
    found = identity_gradient(sampler, jnp.asarray(image), jnp.asarray(weights))
    coords = lattice((3, 5), beyond=0)
    right = loops.right_derivatives(lambda at: loops.sample(image, at, padding=padding), coords).reshape(3, 5, 2, 2)
    points = np.append(loops.affine_grid(np.eye(2, 3), (3, 5)), np.ones((3, 5, 1)), -1)
    expected = np.einsum("hwc,hwca,a,hwb->ab", weights, right, [2.0, 1.0], points)
    assert_allclose(found, expected, atol=1e-9)
    assert np.abs(found).min() > 1e-3


@pytest.mark.parametrize("size", [28, 42, 60, 224])
@pytest.mark.daily("224")
def test_convention_the_identity_gradient_does_not_vanish_in_float32(size):
    image = jnp.tile(jnp.arange(size, dtype=jnp.float32)[None, :, None], (size, 1, 1))  # a ramp in x of slope 1
    sampler = functools.partial(ops.grid_sample, align_corners=True, padding="border")
    found = identity_gradient(sampler, image, jnp.full((size, size, 1), 1 / size**2))
    shift = found[0, 2] / ((size - 1) / 2)  # all columns but the last have slope 1
    assert (size - 2.5) / size < shift < 1.001


def test_convention_each_tap_outside_counts_zero():
    image = jnp.full((3, 4, 1), 10.0)
    outside = jnp.array([[-0.3, 1.0], [3.3, 1.0], [1.0, -0.3], [1.0, 2.3], [-0.5, -0.5], [-1.0, 1.0], [4.0, 1.0]])
    assert_allclose(operators.sample(image, outside)[:, 0], [7, 7, 7, 7, 2.5, 0, 0], atol=1e-5)


def test_border_reads_the_nearest_border_pixel_and_reflection_mirrors():
    image = jnp.asarray(ROW, jnp.float32)[None, :, None]
    x = jnp.array([-2.0, -1.0, -0.5, 3.5, 4.0, 5.0])
    coords = jnp.stack([x, jnp.zeros(6)], -1)
    assert_allclose(operators.sample(image, coords, padding="border")[:, 0], [3, 3, 3, 2, 2, 2], atol=1e-5)
    assert_allclose(operators.sample(image, coords, padding="reflection")[:, 0], [11, 5, 4, 6.5, 11, 5], atol=1e-5)


def test_convention_nearest_rounds_half_to_even():
    image = jnp.arange(6.0)[None, :, None]
    coords = jnp.stack([jnp.array([0.5, 1.5, 2.5, 3.5, 4.5, 1.49, 1.51, -0.5, 5.5]), jnp.zeros(9)], -1)
    found = operators.sample(image, coords, method="nearest")[:, 0]
    assert_array_equal(found, [0, 2, 2, 4, 4, 1, 2, 0, 0])  # -0.5 rounds to pixel 0, 5.5 to pixel 6, outside


def test_nearest_has_no_gradient_for_coordinates_and_a_one_for_its_pixel():
    image, coords = jnp.asarray(normal(3, 4, 1), jnp.float32), jnp.array([[1.2, 0.9], [1.0, 1.4], [2.0, 2.0]])
    loss = lambda i, p: ops.sample(i, p, method="nearest").sum()  # noqa: E731
    d_image, d_coords = jax.jit(jax.grad(loss, (0, 1)))(image, coords)
    assert_array_equal(d_coords, np.zeros((3, 2)))
    assert_array_equal(d_image[..., 0], [[0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0]])


@pytest.mark.parametrize(("method", "padding"), EVERY)
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1)])
@pytest.mark.daily("shape1-bilinear-zeros")
def test_images_of_size_one(method, padding, shape):
    image, coords = normal(*shape, 2), np.concatenate([lattice(shape), lattice(shape, 1) + np.array([0.3, 0.45])])
    found = operators.sample(
        jnp.asarray(image, jnp.float32), jnp.asarray(coords, jnp.float32), method=method, padding=padding
    )
    assert_allclose(found, loops.sample(image, coords, method=method, padding=padding), atol=1e-5)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.daily("zeros")
def test_volumes_of_size_one(padding):
    volume, coords = normal(1, 1, 1, 2), lattice((1, 1, 1), 1) + 0.25
    found = operators.sample_volume(jnp.asarray(volume, jnp.float32), jnp.asarray(coords, jnp.float32), padding=padding)
    assert_allclose(found, loops.sample(volume, coords, padding=padding), atol=1e-5)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.daily("True")
def test_grid_sample_of_one_pixel_with_reflection_reads_it(align_corners):
    found = operators.grid_sample(
        jnp.full((1, 1, 1), 3.0), jnp.array([[-2.0, 0.4]]), padding="reflection", align_corners=align_corners
    )
    assert_allclose(found, [[3.0]])


@pytest.mark.parametrize(("method", "padding"), EVERY)
@pytest.mark.daily("bilinear-zeros")
def test_empty_outputs(method, padding):
    image, coords, options = jnp.ones((3, 4, 2)), jnp.zeros((0, 5, 2)), {"method": method, "padding": padding}
    assert operators.sample(image, coords, **options).shape == (0, 5, 2)
    assert operators.sample_channels(image, jnp.zeros((2, 0, 2, 2)), **options).shape == (2, 0, 2)
    assert operators.grid_sample(image, coords, align_corners=True, **options).shape == (0, 5, 2)
    gradient = jax.jit(jax.grad(lambda i: ops.sample(i, coords, **options).sum()))(image)
    assert_array_equal(gradient, np.zeros((3, 4, 2)))


NO_CHANNELS = {
    **{str(every): functools.partial(ops.sample, method=every[0], padding=every[1]) for every in EVERY},
    "channels": lambda image, coords: ops.sample_channels(image, jnp.stack([coords] * 3, -2)),
    "volume": lambda image, coords: ops.sample_volume(image[None], jnp.pad(coords, ((0, 0), (0, 1)))),
    "nearest of a volume": lambda image, coords: ops.sample_volume(
        image[None], jnp.pad(coords, ((0, 0), (0, 1))), method="nearest"
    ),
    "grid_sample": functools.partial(ops.grid_sample, align_corners=True),
    **{
        backend: lambda image, coords, backend=backend: ops.sample_separable(
            image, coords[:, 0], coords[:, 1], backend=backend
        )
        for backend in ("lerp", "matmul", "auto")
    },
    "fill": functools.partial(ops.sample, fill=1.0),
}


@pytest.mark.parametrize("name", NO_CHANNELS)
@pytest.mark.daily("('nearest', 'border')", "lerp")
def test_images_without_channels(name):
    function, image, coords = NO_CHANNELS[name], jnp.zeros((3, 4, 0)), jnp.full((5, 2), 1.3)
    found = jax.jit(lambda *a: (function(*a), jax.grad(lambda i, c: function(i, c).sum(), (0, 1))(*a)))(image, coords)
    assert found[0].shape in ((5, 0), (5, 5, 0))
    assert found[1][0].shape == (3, 4, 0)
    assert_array_equal(found[1][1], np.zeros((5, 2)))


@pytest.mark.slow
def test_empty_outputs_of_volumes_and_separable_axes():
    assert operators.sample_volume(jnp.ones((2, 3, 4, 5)), jnp.zeros((0, 3))).shape == (0, 5)
    for backend in ("lerp", "matmul", "auto"):
        found = operators.sample_separable(jnp.ones((3, 4, 2)), jnp.zeros(0), jnp.zeros(3), backend=backend)
        assert found.shape == (3, 0, 2)
