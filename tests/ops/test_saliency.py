"""The saliency grid: the formula in plain loops, PyTorch's convolutions, and what a map must do to the grid."""

import functools

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from jax.test_util import check_grads
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import ops

saliency_grid = jax.jit(ops.saliency_grid, static_argnames=("shape", "fwhm", "pad"))

# map, output, fwhm, pad
CASES = {
    "square": ((6, 6), (9, 9), 3.0, 5),
    "wide, even": ((4, 7), (8, 10), 4.0, 6),
    "tall, shrunk": ((7, 3), (4, 2), 2.5, 3),
    "the map's own size": ((5, 6), (5, 6), 3.0, 4),
    "cut off early": ((6, 7), (11, 5), 6.0, 1),
    "wider than the map": ((3, 4), (6, 6), 13.0, 9),
    "one row": ((4, 5), (1, 6), 3.0, 4),
}


def random_map(size, *, contrast=2.0, seed=0):
    return np.exp(contrast * np.random.default_rng(seed).normal(size=size))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.daily("square", "cut off early", "one row")
def test_it_is_the_plain_loop(x64, name):
    size, shape, fwhm, pad = CASES[name]
    saliency = random_map(size)
    found = saliency_grid(jnp.asarray(saliency), shape, fwhm=fwhm, pad=pad)
    assert_allclose(found, loops.saliency_grid(saliency, shape, fwhm=fwhm, pad=pad), atol=1e-12)


def test_the_cases_reach_the_clamp():
    size, _, fwhm, pad = CASES["square"]
    assert np.abs(loops.saliency_cells(random_map(size), fwhm=fwhm, pad=pad)).max() > 1.01


@pytest.mark.parametrize("value", [0.0, 0.3, 1 / 961, 1e30])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("size", "shape", "pad"),
    [
        ((31, 31), (224, 224), 30),
        ((8, 13), (30, 17), 5),
        ((6, 4), (6, 4), 1),
        ((1, 5), (3, 4), 2),
        ((5, 5), (1, 7), 9),
        ((4, 4), (3, 3), 0),
    ],
)
@pytest.mark.daily("size1-*-0.001*")
def test_convention_a_uniform_map_is_exactly_the_identity(size, shape, pad, value, dtype):
    with jax.enable_x64(dtype == "float64"):
        found = saliency_grid(jnp.full(size, value, dtype), shape, fwhm=13.0, pad=pad)
        assert found.dtype == dtype
        assert_array_equal(found, ops.affine_grid(jnp.eye(2, 3, dtype=dtype), shape))


@pytest.mark.parametrize("factor", [1e-30, 3.0, 1e30])
@pytest.mark.daily("3.0")
def test_only_the_ratios_of_the_map_matter(factor):
    saliency = jnp.asarray(random_map((6, 7)), jnp.float32)
    found = saliency_grid(factor * saliency, (8, 9), fwhm=4.0, pad=5)
    assert_allclose(found, saliency_grid(saliency, (8, 9), fwhm=4.0, pad=5), atol=1e-6)


def test_a_peak_magnifies_its_place_and_the_rest_shrinks():
    y, x = np.mgrid[:31, :31]
    saliency = 0.05 + np.exp(-((x - 10) ** 2 + (y - 20) ** 2) / 8)
    grid = saliency_grid(jnp.asarray(saliency, jnp.float32), (31, 31), fwhm=13.0, pad=30)
    coords = np.asarray(ops.to_pixels(grid, (31, 31)))
    steps_x, steps_y = np.diff(coords[..., 0], axis=1), np.diff(coords[..., 1], axis=0)
    row, column = np.unravel_index(np.linalg.norm(coords - [10, 20], axis=-1).argmin(), (31, 31))
    assert steps_x[row, column - 1 : column + 1].max() < 0.5  # read at less than half the spacing: twice as large
    assert steps_y[row - 1 : row + 1, column].max() < 0.5
    assert steps_x[row, -3:].min() > 1.05
    assert steps_y[:3, column].min() > 1.05
    assert min(steps_x.min(), steps_y.min()) > 0  # and nothing folds


@pytest.mark.slow
def test_a_map_mirrors_and_turns_with_its_grid():
    saliency = jnp.asarray(random_map((5, 7)), jnp.float32)
    grid = saliency_grid(saliency, (6, 8), fwhm=4.0, pad=6)
    mirrored = saliency_grid(saliency[:, ::-1], (6, 8), fwhm=4.0, pad=6)
    assert_allclose(mirrored, np.asarray(grid)[:, ::-1] * [-1, 1], atol=1e-5)
    turned = saliency_grid(saliency.T, (8, 6), fwhm=4.0, pad=6)
    assert_allclose(turned, jnp.swapaxes(grid, 0, 1)[..., ::-1], atol=1e-5)


def test_the_grid_stays_on_the_image():
    saliency = jnp.ones((6, 6)).at[0].set(9.0)  # a border row that repeats beyond the border
    assert loops.saliency_cells(np.asarray(saliency), fwhm=3.0, pad=5).min() < -1.2
    grid = saliency_grid(saliency, (7, 7), fwhm=3.0, pad=5)
    assert_array_equal(grid[0, :, 1], -1)
    assert grid.min() == -1


def test_far_from_a_lone_peak_the_weights_are_small_and_the_grid_still_right():
    saliency = np.zeros((31, 31))
    saliency[0, 0] = 1.0
    found = saliency_grid(jnp.asarray(saliency, jnp.float32), (31, 31), fwhm=13.0, pad=30)
    assert_allclose(found[1:, 1:], np.full((30, 30, 2), -1.0), atol=1e-5)


@pytest.mark.slow
def test_where_no_saliency_is_in_reach_the_grid_stays_where_it_is():
    saliency = np.zeros((9, 9))
    saliency[4, 4] = 1.0
    grid = saliency_grid(jnp.asarray(saliency, jnp.float32), (9, 9), fwhm=2.0, pad=2)
    coords = ops.to_pixels(grid, (9, 9))
    here = ops.identity_coords((9, 9))
    near = (np.abs(here - 4) <= 2).all(-1, keepdims=True)
    assert_allclose(coords, np.where(near, 4.0, here), atol=1e-5)


@pytest.mark.parametrize("lone", [False, True])
def test_the_gradients_of_empty_maps_are_finite(lone):
    saliency = jnp.zeros((9, 9)).at[4, 4].set(float(lone))

    def loss(saliency):
        return (saliency_grid(saliency, (7, 7), fwhm=1.0, pad=8) ** 2).sum()

    gradient = jax.jit(jax.grad(loss))(saliency)
    assert np.isfinite(gradient).all()
    if not lone:
        assert_array_equal(gradient, 0)
    assert np.isfinite(jax.jit(lambda s: jax.jvp(loss, (s,), (jnp.ones_like(s),))[1])(saliency))


def test_a_uniform_map_has_a_gradient_that_draws_the_grid():
    saliency = jnp.ones((7, 7))
    # What moves the grid point of (row 3, column 2) to the right: more on its right, less on its left.
    columns = jax.jit(jax.jacrev(lambda s: saliency_grid(s, (7, 7), fwhm=4.0, pad=6)[3, ::2, 0]))(saliency)
    gradient, border = np.asarray(columns)[[1, 0]]
    assert (gradient[3, 3:] > 0).all()
    assert (gradient[3, :2] < 0).all()
    weights = 0.5 ** (4 * np.arange(-6, 7) ** 2 / 4.0**2)
    assert_allclose(border[3, 1], weights[7] / weights.sum() ** 2 * 2 / 6, rtol=1e-5)  # all of it, at the limit itself


@pytest.mark.parametrize("name", ["square", "cut off early"])
@pytest.mark.daily("square")
def test_gradients(x64, name):
    size, shape, fwhm, pad = CASES[name]
    function = functools.partial(saliency_grid, shape=shape, fwhm=fwhm, pad=pad)
    check_grads(function, (jnp.asarray(random_map(size)),), order=1, atol=1e-6, rtol=1e-6)


def test_bfloat16_maps_make_float32_grids():
    saliency = jnp.asarray(random_map((6, 7)), jnp.bfloat16)
    found = saliency_grid(saliency, (8, 9), fwhm=4.0, pad=5)
    assert found.dtype == jnp.float32
    assert_allclose(found, saliency_grid(saliency.astype(jnp.float32), (8, 9), fwhm=4.0, pad=5), atol=1e-6)


@pytest.mark.slow
def test_an_output_of_no_pixels():
    assert saliency_grid(jnp.ones((3, 4)), (0, 5), fwhm=2.0, pad=2).shape == (0, 5, 2)


def torch_saliency_grid(torch, saliency, shape, fwhm, pad):
    """Replicate padding and two-dimensional convolutions, coordinates from 0 to 1."""
    functional = torch.nn.functional
    h, w = saliency.shape
    steps = torch.arange(-pad, pad + 1, dtype=torch.float64)
    kernel = torch.exp(-4 * np.log(2) * (steps[:, None] ** 2 + steps[None] ** 2) / fwhm**2)[None, None]
    padded = functional.pad(saliency[None, None], (pad,) * 4, mode="replicate")
    total = functional.conv2d(padded, kernel)
    y, x = (torch.arange(-pad, n + pad, dtype=torch.float64) / (n - 1) for n in (h, w))
    means = [functional.conv2d(padded * line, kernel) / total for line in (x[None, :], y[:, None])]
    grid = torch.clamp(2 * torch.cat(means, 1) - 1, -1, 1)
    return functional.interpolate(grid, size=shape, mode="bilinear", align_corners=True)[0].permute(1, 2, 0)


@pytest.mark.torch
@pytest.mark.parametrize("contrast", [0.5, 5.0])
@pytest.mark.parametrize(
    ("size", "shape", "fwhm", "pad"), [((31, 31), (224, 224), 13.0, 30), ((9, 14), (20, 31), 4.0, 13)]
)
def test_values_and_gradients_are_torchs(torch, x64, size, shape, fwhm, pad, contrast):
    saliency, cotangent = random_map(size, contrast=contrast), np.random.default_rng(1).normal(size=(*shape, 2))
    leaf = torch.from_numpy(saliency.copy()).requires_grad_()
    oracle = torch_saliency_grid(torch, leaf, shape, fwhm, pad)
    oracle.backward(torch.from_numpy(cotangent))
    found, vjp = jax.vjp(lambda s: saliency_grid(s, shape, fwhm=fwhm, pad=pad), jnp.asarray(saliency))
    assert_allclose(found, oracle.detach().numpy(), atol=1e-12)
    gradient = leaf.grad.numpy()
    assert_allclose(vjp(jnp.asarray(cotangent))[0], gradient, rtol=1e-7, atol=1e-9 * np.abs(gradient).max())
