from pathlib import Path

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.interpolate import RBFInterpolator

from vtnjax import ops

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "affine_grid.npz")
SHAPES = {name: tuple(map(int, name.split("x"))) for name in ("4x7", "1x5", "6x1", "3x4x5", "2x1x3")}
CONTROL = np.array([(x, y) for y in np.linspace(-1, 1, 4) for x in np.linspace(-1, 1, 4)])


def rng_normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def points(shape):
    return np.stack([point for _, point in loops.targets(shape)])


@pytest.mark.parametrize("name", SHAPES)
def test_affine_grid_and_its_gradient_match_torch(x64, name):
    def golden(part):
        return jnp.asarray(GOLDEN[f"{name}_{part}"])

    @jax.jit
    def value_and_gradient(theta, cotangent):
        grid, vjp = jax.vjp(lambda theta: ops.affine_grid(theta, SHAPES[name]), theta)
        return grid, *vjp(cotangent)

    grid, gradient = value_and_gradient(golden("theta"), golden("cotangent"))
    assert_allclose(grid, golden("value"), atol=1e-12)
    assert_allclose(gradient, golden("d_theta"), atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES.values())
def test_affine_grid_is_equation_1_and_10(x64, shape):
    theta = rng_normal(len(shape), len(shape) + 1)
    assert_allclose(ops.affine_grid(jnp.asarray(theta), shape), loops.affine_grid(theta, shape), atol=1e-12)


def test_convention_grids_are_normalised_with_x_first():
    grid = ops.affine_grid(jnp.eye(2, 3), (3, 5))
    assert_allclose(grid[0, 0], [-1, -1], atol=1e-6)
    assert_allclose(grid[0, 4], [1, -1], atol=1e-6)
    assert_allclose(grid[2, 0], [-1, 1], atol=1e-6)
    assert_allclose(grid[1, 2], [0, 0], atol=1e-6)


def test_convention_direction_is_pull():
    image = jnp.arange(5.0)[None, :, None]  # one row
    right = jnp.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]])  # x + half the half-width: two pixels to the right
    out = ops.sample(image, ops.to_pixels(ops.affine_grid(right, (1, 5)), (1, 5)))
    assert_allclose(out[0, :, 0], [1, 2, 3, 4, 0], atol=1e-6)


def test_a_grid_may_have_another_shape_than_the_image():
    image = jnp.arange(12.0).reshape(3, 4, 1)
    grid = ops.affine_grid(jnp.eye(2, 3), (5, 7))
    out = ops.sample(image, ops.to_pixels(grid, (3, 4)))
    assert_allclose(out[..., 0], np.linspace(0, 8, 5)[:, None] + np.linspace(0, 3, 7), atol=1e-5)


@pytest.mark.parametrize("scale", [0.7, (0.7, -1.3)])
def test_attention_grid_is_equation_2(x64, scale):
    sx, sy = np.broadcast_to(scale, 2)
    theta = np.array([[sx, 0, 0.3], [0, sy, -0.2]])
    found = ops.attention_grid(jnp.asarray(scale), jnp.array([0.3, -0.2]), (4, 6))
    assert_allclose(found, loops.affine_grid(theta, (4, 6)), atol=1e-12)


def test_projective_grid_divides_by_the_third_row(x64):
    theta = np.eye(3) + 0.2 * rng_normal(3, 3)
    assert_allclose(
        ops.projective_grid(jnp.asarray(theta), (4, 6)), loops.projective_grid(theta, (4, 6)), rtol=1e-10, atol=1e-12
    )


def test_projective_grid_of_8_parameters_has_the_ninth_1(x64):
    theta = np.append((np.eye(3) + 0.1 * rng_normal(3, 3)).ravel()[:8], 1.0)
    found = ops.projective_grid(jnp.asarray(theta[:8]), (4, 6))
    assert_allclose(found, loops.projective_grid(theta.reshape(3, 3), (4, 6)), rtol=1e-10, atol=1e-12)


def test_projective_grid_ignores_the_scale_of_its_matrix(x64):
    theta = jnp.asarray(np.eye(3) + 0.1 * rng_normal(3, 3))
    assert_allclose(ops.projective_grid(-2 * theta, (4, 6)), ops.projective_grid(theta, (4, 6)), atol=1e-12)


@jax.jit
def grid_and_gradient(theta):
    """A projective grid, and the gradient of the sum of its squares."""
    grid, pull_back = jax.vjp(lambda theta: ops.projective_grid(theta, (4, 6)), theta)
    return grid, *pull_back(2 * grid)


@pytest.mark.parametrize("factor", [1e-30, 1e-7, -1e-7, 1e7, 1e30])
def test_the_smallest_and_largest_homographies_are_those_of_scale_one(factor):
    theta = (np.eye(3) + 0.1 * rng_normal(3, 3)).astype(np.float32)
    (found, gradient), (_, expected) = (grid_and_gradient(np.float32(scale) * theta) for scale in (factor, 1))
    assert_allclose(found, loops.projective_grid(theta.astype(np.float64), (4, 6)), rtol=1e-4, atol=1e-5)
    # A homography's gradient goes as one over its scale.
    assert_allclose(np.float32(factor) * gradient, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("factor", [1e-7, 1e7])
def test_the_second_derivative_of_a_scaled_homography_is_that_of_scale_one(factor):
    theta, push = (value.astype(np.float32) for value in (np.eye(3) + 0.1 * rng_normal(3, 3), rng_normal(3, 3)))
    pushed = jax.jit(lambda theta, push: jax.jvp(lambda t: grid_and_gradient(t)[1], (theta,), (push,))[1])

    def curvature(factor):
        scaled = np.float32(factor) * theta, np.float32(factor) * push
        return np.float32(factor) * pushed(*scaled)

    assert_allclose(curvature(factor), curvature(1.0), rtol=1e-3, atol=2e-3)


@pytest.mark.slow
def test_a_far_translation_is_finite_and_a_last_row_of_zeros_infinite(x64):
    theta = jnp.eye(3, dtype=jnp.float32).at[0, 2].set(1e9)
    assert_allclose(ops.projective_grid(theta, (1, 1))[0, 0], [1e9, 0])
    assert np.isinf(ops.projective_grid(theta.at[2, 2].set(0.0), (1, 1))).all()
    tiny = jnp.asarray(1e-200 * np.eye(3))
    assert_allclose(ops.projective_grid(tiny, (3, 3)), loops.affine_grid(np.eye(2, 3), (3, 3)), atol=1e-12)


def test_projective_grid_contains_the_affine_grids(x64):
    theta = np.vstack([rng_normal(2, 3), [0, 0, 1]])
    found = ops.projective_grid(jnp.asarray(theta), (4, 6))
    assert_allclose(found, ops.affine_grid(jnp.asarray(theta[:2]), (4, 6)), atol=1e-12)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.daily("zeros")
def test_a_vanishing_denominator_leaves_finite_values_and_gradients(padding):
    image = jnp.asarray(rng_normal(5, 5, 2), jnp.float32)
    horizon = jnp.array([[1.0, 0.2, 0.1], [0.1, 1.0, 0.2], [1.0, 0.0, 0.0]])  # w = x: zero on the middle column

    def loss(theta):
        coords = ops.to_pixels(ops.projective_grid(theta, (5, 5)), (5, 5))
        return (ops.sample(image, coords, padding=padding) ** 2).sum()

    value, gradient = jax.jit(jax.value_and_grad(loss))(horizon)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0  # the other columns still teach


def test_thin_plate_spline_at_rest_is_the_identity(x64):
    grid = ops.thin_plate_spline_grid(jnp.asarray(CONTROL), (5, 7))
    assert_allclose(grid, loops.affine_grid(np.eye(2, 3), (5, 7)), atol=1e-9)


def test_convention_output_control_point_k_reads_the_input_at_target_k(x64):
    targets = CONTROL + 0.3 * rng_normal(16, 2)
    grid = ops.thin_plate_spline_grid(jnp.asarray(targets), (4, 4))  # its points are the control points, row by row
    assert_allclose(grid.reshape(16, 2), targets, atol=1e-9)


@pytest.mark.parametrize("control", [None, rng_normal(7, 2, seed=3)], ids=["4x4", "scattered"])
def test_thin_plate_spline_is_scipys(x64, control):
    where = CONTROL if control is None else control
    targets = where + 0.3 * rng_normal(*where.shape)
    oracle = RBFInterpolator(where, targets, kernel="thin_plate_spline", degree=1)(points((6, 5))).reshape(6, 5, 2)
    chosen = None if control is None else jnp.asarray(control)
    assert_allclose(ops.thin_plate_spline_grid(jnp.asarray(targets), (6, 5), control=chosen), oracle, atol=1e-8)


def test_thin_plate_spline_of_an_affine_map_is_affine(x64):
    theta = rng_normal(2, 3)
    targets = CONTROL @ theta[:, :2].T + theta[:, 2]
    grid = ops.thin_plate_spline_grid(jnp.asarray(targets), (5, 7))
    assert_allclose(grid, loops.affine_grid(theta, (5, 7)), atol=1e-9)


def test_thin_plate_spline_gradient_is_that_of_a_linear_map(x64):
    grid = jax.jit(lambda targets: ops.thin_plate_spline_grid(targets, (3, 3)))
    rest, push = jnp.asarray(CONTROL), jnp.asarray(rng_normal(16, 2))
    value, slope = jax.jvp(grid, (rest,), (push,))
    assert_allclose(slope, grid(rest + push) - value, atol=1e-9)


def test_thin_plate_spline_is_accurate_in_float32():
    targets = CONTROL + 0.3 * rng_normal(16, 2)
    oracle = RBFInterpolator(CONTROL, targets, kernel="thin_plate_spline", degree=1)(points((9, 8))).reshape(9, 8, 2)
    found = ops.thin_plate_spline_grid(jnp.asarray(targets, jnp.float32), (9, 8))
    assert found.dtype == jnp.float32
    assert_allclose(found, oracle, atol=2e-5)


def test_linear_grid_multiplies_its_basis(x64):
    theta, basis = rng_normal(2, 4), rng_normal(4, 3, 5)
    expected = np.einsum("am,mhw->hwa", theta, basis)
    assert_allclose(ops.linear_grid(jnp.asarray(theta), jnp.asarray(basis)), expected, atol=1e-12)


def test_linear_grid_of_homogeneous_coordinates_is_affine(x64):
    theta = rng_normal(2, 3)
    basis = np.moveaxis(np.append(loops.affine_grid(np.eye(2, 3), (4, 6)), np.ones((4, 6, 1)), -1), -1, 0)
    found = ops.linear_grid(jnp.asarray(theta), jnp.asarray(basis))
    assert_allclose(found, loops.affine_grid(theta, (4, 6)), atol=1e-12)


IDENTITIES = {
    "affine": lambda shape, dtype: ops.affine_grid(jnp.eye(2, 3, dtype=dtype), shape),
    "attention": lambda shape, dtype: ops.attention_grid(jnp.ones((), dtype), jnp.zeros(2, dtype), shape),
    "projective": lambda shape, dtype: ops.projective_grid(jnp.eye(3, dtype=dtype), shape),
    "tps": lambda shape, dtype: ops.thin_plate_spline_grid(jnp.asarray(CONTROL, dtype), shape),
}


@pytest.mark.parametrize("name", IDENTITIES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (0, 3), (3, 0)])
@pytest.mark.daily("shape0-*", "shape2-*")
def test_grids_of_size_one_and_empty_grids(name, shape):
    grid = jax.jit(lambda: IDENTITIES[name](shape, jnp.float32))()
    assert grid.shape == (*shape, 2)
    assert_allclose(grid, loops.affine_grid(np.eye(2, 3), shape), atol=1e-4)


@pytest.mark.parametrize("name", IDENTITIES)
def test_convention_grids_are_at_least_float32(name):
    grid = jax.jit(lambda: IDENTITIES[name]((2, 5), jnp.bfloat16))()
    assert grid.dtype == jnp.float32
    assert_allclose(grid, loops.affine_grid(np.eye(2, 3), (2, 5)), atol=0.02)


def test_affine_grid_of_bfloat16_parameters_is_computed_in_float32():
    grid = ops.affine_grid(jnp.eye(2, 3, dtype=jnp.bfloat16), (2, 1001))
    assert_allclose(grid[0, :, 0], np.linspace(-1, 1, 1001), atol=1e-6)


def test_linear_grid_of_bfloat16_parameters_is_float32():
    assert ops.linear_grid(jnp.ones((2, 3), jnp.bfloat16), jnp.ones((3, 2, 2), jnp.bfloat16)).dtype == jnp.float32


def test_control_points_beyond_the_image_are_no_pixels():
    beyond = jnp.array([[-3.0, -3.0], [3.0, -3.0], [-3.0, 3.0], [3.0, 3.0]])
    grid = ops.thin_plate_spline_grid(0.5 * beyond, (2, 2), control=beyond)
    assert abs(grid[1, 1] - 0.5).max() < 1e-5
