import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import ops

SHAPES = [(3, 5), (1, 4), (4, 1), (1, 1), (2, 3, 4), (1, 3, 1)]


def test_convention_the_last_axis_is_x_y():
    coords = np.asarray(ops.identity_coords((3, 5)))
    assert coords.shape == (3, 5, 2)
    assert_array_equal(coords[2, 4], [4, 2])
    assert_array_equal(coords[0, 3], [3, 0])
    assert_array_equal(coords[1, 0], [0, 1])


def test_convention_the_last_axis_of_a_volume_is_x_y_z():
    coords = np.asarray(ops.identity_coords((2, 3, 4)))
    assert coords.shape == (2, 3, 4, 3)
    assert_array_equal(coords[1, 2, 3], [3, 2, 1])
    assert_array_equal(coords[0, 2, 1], [1, 2, 0])


@pytest.mark.parametrize("shape", SHAPES)
def test_identity_coords_hold_every_index(shape):
    coords = np.asarray(ops.identity_coords(shape))
    for index in np.ndindex(*shape):
        assert_array_equal(coords[index], index[::-1])


def test_convention_pixel_zero_is_the_centre_of_the_first_pixel():
    image = jnp.arange(12.0).reshape(3, 4, 1)
    assert_array_equal(ops.sample(image, jnp.array([0.0, 0.0])), image[0, 0])
    assert_array_equal(ops.sample(image, jnp.array([3.0, 2.0])), image[2, 3])


def test_convention_normalised_ends_are_the_centres_of_the_border_pixels():
    ends = jnp.array([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0], [1.0, -1.0]])
    assert_allclose(ops.to_pixels(ends, (5, 9)), [[0, 0], [8, 4], [4, 2], [8, 0]], atol=1e-6)


def test_without_align_corners_the_ends_are_the_outer_edges():
    ends = jnp.array([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]])
    assert_allclose(ops.to_pixels(ends, (5, 9), align_corners=False), [[-0.5, -0.5], [8.5, 4.5], [4, 2]], atol=1e-6)


def test_a_volume_is_scaled_by_width_height_and_depth():
    corner = jnp.array([1.0, 1.0, 1.0])
    assert_allclose(ops.to_pixels(corner, (3, 5, 9)), [8, 4, 2], atol=1e-6)
    assert_allclose(ops.to_normalised(jnp.array([8.0, 4.0, 2.0]), (3, 5, 9)), [1, 1, 1], atol=1e-6)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("shape", [(3, 5), (2, 1), (2, 3, 4)])
def test_to_pixels_is_the_documented_formula(x64, shape, align_corners):
    coords = np.random.default_rng(0).uniform(-3, 3, (4, 2, len(shape)))
    found = ops.to_pixels(jnp.asarray(coords), shape, align_corners=align_corners)
    assert_allclose(found, loops.pixels(coords, shape, align_corners), atol=1e-12)


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 4)])
def test_to_normalised_undoes_to_pixels(x64, shape, align_corners):
    coords = np.random.default_rng(0).uniform(-3, 3, (4, 2, len(shape)))
    there = ops.to_pixels(jnp.asarray(coords), shape, align_corners=align_corners)
    assert_allclose(ops.to_normalised(there, shape, align_corners=align_corners), coords, atol=1e-12)


def test_convention_an_axis_of_size_one_maps_to_zero_and_back():
    coords = jnp.array([[-1.0, -1.0], [0.0, 0.5], [3.0, 1.0]])
    assert_allclose(ops.to_pixels(coords, (5, 1)), [[0, 0], [0, 3], [0, 4]], atol=1e-6)
    assert_allclose(ops.to_pixels(coords, (1, 1)), np.zeros((3, 2)))
    pixels = jnp.array([[0.0, 0.0], [0.0, 4.0], [2.0, 2.0]])
    assert_allclose(ops.to_normalised(pixels, (5, 1)), [[0, -1], [0, 1], [0, 0]], atol=1e-6)
    assert_allclose(ops.to_normalised(pixels, (1, 1)), np.zeros((3, 2)))


@pytest.mark.parametrize("convert", [ops.to_pixels, ops.to_normalised])
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("shape", [(5, 1), (1, 5), (1, 1), (2, 3)])
@pytest.mark.daily("shape2-False-to_normalised")
def test_what_is_no_number_stays_so_on_an_axis_of_any_size(shape, align_corners, convert):
    coords = jnp.array([[np.nan, 0.5], [0.5, np.nan]])
    found = jax.jit(lambda coords: convert(coords, shape, align_corners=align_corners))(coords)
    assert_array_equal(np.isnan(found), np.isnan(coords))


def test_what_is_no_number_sends_no_gradient_along_an_axis_of_one_pixel():
    for convert in (ops.to_pixels, ops.to_normalised):
        gradient = jax.grad(lambda coords, convert=convert: convert(coords, (1, 1)).sum())(jnp.array([np.nan, 0.5]))
        assert_array_equal(gradient, [0, 0])


def test_gradients_through_an_axis_of_size_one_are_finite():
    def total(convert):
        return jax.jit(jax.grad(lambda coords: convert(coords, (5, 1)).sum()))(jnp.ones((3, 2)))

    assert_allclose(total(ops.to_pixels), np.tile([0.0, 2.0], (3, 1)), atol=1e-6)
    assert_allclose(total(ops.to_normalised), np.tile([0.0, 0.5], (3, 1)), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_identity_coords_are_the_pixels_of_the_identity_grid(shape):
    axes = len(shape)

    @jax.jit
    def both(identity):
        return ops.to_pixels(ops.affine_grid(identity, shape), shape), ops.identity_coords(shape)

    assert_allclose(*both(np.eye(axes, axes + 1, dtype=np.float32)), atol=1e-6)


def test_displace_adds_the_pixel_to_its_displacement():
    displacement = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    coords = np.asarray(ops.displace(jnp.asarray(displacement)))
    for i, j in np.ndindex(3, 5):
        assert_allclose(coords[i, j], displacement[i, j] + [j, i], rtol=1e-6)


def test_displace_keeps_the_axes_between():
    displacement = np.random.default_rng(0).normal(size=(3, 5, 2, 4, 2)).astype(np.float32)
    coords = np.asarray(ops.displace(jnp.asarray(displacement)))
    assert coords.shape == (3, 5, 2, 4, 2)
    for index in np.ndindex(3, 5, 2, 4):
        i, j, *_ = index
        assert_allclose(coords[index], displacement[index] + [j, i], rtol=1e-6)


def test_no_displacement_is_the_identity():
    assert_array_equal(ops.displace(jnp.zeros((3, 5, 2))), ops.identity_coords((3, 5)))


def test_empty_coordinates_keep_their_shape():
    assert ops.identity_coords((0, 4)).shape == (0, 4, 2)
    assert ops.identity_coords((2, 0, 3)).shape == (2, 0, 3, 3)
    assert ops.to_pixels(jnp.zeros((0, 2)), (3, 4)).shape == (0, 2)
    assert ops.to_normalised(jnp.zeros((0, 3, 2)), (3, 4)).shape == (0, 3, 2)
    assert ops.displace(jnp.zeros((0, 4, 2))).shape == (0, 4, 2)


CONVERSIONS = {
    "to_pixels": lambda coords: ops.to_pixels(coords, (2, 2)),
    "to_normalised": lambda coords: ops.to_normalised(coords, (2, 2)),
    "displace": ops.displace,
    "jacobian": ops.jacobian,
}


@pytest.mark.parametrize("name", CONVERSIONS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@pytest.mark.daily("float16-jacobian")
def test_convention_coordinates_are_at_least_float32(name, dtype):
    assert CONVERSIONS[name](jnp.zeros((2, 2, 2), dtype)).dtype == jnp.float32


@pytest.mark.parametrize("name", CONVERSIONS)
@pytest.mark.daily("displace")
def test_convention_float64_coordinates_stay_float64(x64, name):
    coords = jnp.full((2, 2, 2), 1 / 3, jnp.float64)
    assert CONVERSIONS[name](coords).dtype == jnp.float64
    assert CONVERSIONS[name](coords.astype(jnp.float32)).dtype == jnp.float32


def test_identity_coords_are_float32_without_x64():
    assert ops.identity_coords((2, 3)).dtype == jnp.float32


def test_pixels_of_bfloat16_coordinates_are_computed_in_float32():
    coords = jnp.full((2,), 0.40625, jnp.bfloat16)  # exact in bfloat16; 703.125 - 0.5 is not
    assert_allclose(ops.to_pixels(coords, (1000, 1000), align_corners=False), [702.625] * 2)
