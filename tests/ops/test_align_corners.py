"""PyTorch's default pair: grids whose -1 and 1 are the outer edges of the border pixels (`align_corners=False`)."""

import functools

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.interpolate import RBFInterpolator

from vtnjax import ops

CONTROL = np.array([(x, y) for y in np.linspace(-1, 1, 4) for x in np.linspace(-1, 1, 4)])


def edges(shape):
    """The pixels' centres with -1 and 1 at the outer edges."""
    return loops.mapped_grid(lambda point: point, shape, align_corners=False)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


IDENTITIES = {
    "affine": lambda shape: ops.affine_grid(jnp.eye(2, 3), shape, align_corners=False),
    "attention": lambda shape: ops.attention_grid(jnp.ones(()), jnp.zeros(2), shape, align_corners=False),
    "projective": lambda shape: ops.projective_grid(jnp.eye(3), shape, align_corners=False),
    "tps": lambda shape: ops.thin_plate_spline_grid(jnp.asarray(CONTROL, "float32"), shape, align_corners=False),
    "saliency": lambda shape: ops.saliency_grid(jnp.ones((3, 5)), shape, fwhm=2.0, pad=3, align_corners=False),
}


@pytest.mark.parametrize("name", IDENTITIES)
@pytest.mark.parametrize("shape", [(3, 3), (4, 4), (2, 7), (1, 5)])
@pytest.mark.daily("shape3-tps")
def test_an_identity_grid_reads_the_image_itself(name, shape):
    image = jnp.asarray(1 + np.arange(np.prod(shape)).reshape(*shape, 1), jnp.float32)

    @jax.jit
    def warp(image):
        grid = IDENTITIES[name](shape)
        return grid, ops.grid_sample(image, grid, align_corners=False)

    grid, found = warp(image)
    assert_allclose(grid, edges(shape), atol=1e-6)
    assert_allclose(found, image, rtol=1e-5)


def test_an_identity_grid_of_a_volume_reads_the_volume_itself():
    grid = ops.affine_grid(jnp.eye(3, 4), (2, 3, 4), align_corners=False)
    assert_allclose(grid, edges((2, 3, 4)), atol=1e-6)
    volume = jnp.asarray(1 + np.arange(24).reshape(2, 3, 4, 1), jnp.float32)
    assert_allclose(ops.grid_sample(volume, grid, align_corners=False), volume, rtol=1e-5)


@pytest.mark.parametrize("shape", [(4, 6), (1, 3), (2, 3, 4)])
def test_affine_grids_are_the_plain_loop(x64, shape):
    theta = normal(len(shape), len(shape) + 1)
    found = jax.jit(functools.partial(ops.affine_grid, shape=shape, align_corners=False))(jnp.asarray(theta))
    assert_allclose(found, loops.affine_grid(theta, shape, align_corners=False), atol=1e-12)


# torch.nn.functional.affine_grid(theta, (1, 1, 2, 3), align_corners=False)
def test_convention_the_affine_grid_is_torchs():
    theta = jnp.array([[0.5, 0.25, 0.125], [-1.0, 2.0, 0.5]])
    torch = [
        [[-1 / 3, 1 / 6], [0.0, -0.5], [1 / 3, -7 / 6]],
        [[-1 / 12, 13 / 6], [0.25, 1.5], [7 / 12, 5 / 6]],
    ]
    assert_allclose(ops.affine_grid(theta, (2, 3), align_corners=False), torch, atol=1e-6)


def test_attention_and_projective_grids_are_the_plain_loop(x64):
    shape, theta = (4, 6), np.eye(3) + 0.1 * normal(3, 3)
    found = ops.attention_grid(jnp.array([0.7, -1.3]), jnp.array([0.3, -0.2]), shape, align_corners=False)
    assert_allclose(found, edges(shape) * [0.7, -1.3] + [0.3, -0.2], atol=1e-12)
    x, y, w = np.moveaxis(np.append(edges(shape), np.ones((*shape, 1)), -1) @ theta.T, -1, 0)
    found = ops.projective_grid(jnp.asarray(theta), shape, align_corners=False)
    assert_allclose(found, np.stack([x / w, y / w], -1), atol=1e-12)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("control", [None, normal(7, 2, seed=3)], ids=["4x4", "scattered"])
def test_thin_plate_splines_are_scipys(x64, control, traced):
    where = CONTROL if control is None else control
    targets = where + 0.3 * normal(*where.shape)
    oracle = RBFInterpolator(where, targets, kernel="thin_plate_spline", degree=1)(edges((6, 5)).reshape(-1, 2))
    control = jnp.asarray(where) if traced else control

    def grid(control):
        return ops.thin_plate_spline_grid(jnp.asarray(targets), (6, 5), control=control, align_corners=False)

    found = jax.jit(grid)(control) if traced else jax.jit(lambda: grid(control))()
    assert_allclose(found, oracle.reshape(6, 5, 2), atol=1e-8)


@pytest.mark.parametrize(("size", "shape"), [((4, 5), (4, 5)), ((5, 3), (8, 7)), ((1, 4), (3, 4))])
@pytest.mark.daily("size2-shape2")
def test_saliency_grids_are_the_plain_loop(x64, size, shape):
    saliency = np.exp(normal(*size))
    grid = functools.partial(ops.saliency_grid, shape=shape, fwhm=2.5, pad=3, align_corners=False)
    found = jax.jit(grid)(jnp.asarray(saliency))
    cells = np.clip(loops.saliency_cells(saliency, fwhm=2.5, pad=3, align_corners=False), -1, 1)
    pull = loops.sample(cells - edges(size), loops.pixels(edges(shape), size, align_corners=False), padding="border")
    assert_allclose(found, edges(shape) + pull, atol=1e-12)


@pytest.mark.parametrize("size", [2, 3, 42, 49, 84, 1000, 4097])
@pytest.mark.daily("3")
def test_compiled_grids_end_exactly_at_the_border_pixels(size):
    grid = jax.jit(ops.affine_grid, static_argnums=1)(jnp.eye(2, 3), (size, size))
    assert_array_equal(grid[0, 0], [-1, -1])
    assert_array_equal(grid[-1, -1], [1, 1])
    assert_allclose(grid[0, :, 0], np.linspace(-1, 1, size), rtol=3e-7, atol=1e-12)


def normalised_rotation(angle, shape, align_corners):
    """The matrix that `affine_grid` documents for images that are not square."""
    (h, w), (cos, sin) = np.array(shape) - align_corners, (np.cos(angle), np.sin(angle))
    return jnp.array([[cos, -sin * h / w, 0], [sin * w / h, cos, 0]])


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.daily("False")
def test_the_documented_rotation_keeps_distances_in_pixels(x64, align_corners):
    shape = (5, 9)
    theta = normalised_rotation(0.5, shape, align_corners)
    grid = ops.affine_grid(theta, shape, align_corners=align_corners)
    coords = ops.to_pixels(grid, shape, align_corners=align_corners)
    cos, sin = np.cos(0.5), np.sin(0.5)
    assert_allclose(coords[0, 1] - coords[0, 0], [cos, sin], atol=1e-12)
    assert_allclose(coords[1, 0] - coords[0, 0], [-sin, cos], atol=1e-12)
