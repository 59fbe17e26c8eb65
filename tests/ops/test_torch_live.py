"""Larger random comparisons with PyTorch itself, in float64 and float32."""

import contextlib
import functools
import itertools

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from numpy.testing import assert_allclose

from vtnjax import ops

pytestmark = pytest.mark.torch

METHODS = ("nearest", "bilinear", "bicubic")
PADDINGS = ("zeros", "border", "reflection")
EVERY = list(itertools.product(METHODS, PADDINGS, (True, False)))
TOLERANCE = {"float64": 1e-10, "float32": 2e-3}
SIZES = [((16, 23), (19, 14)), ((1, 7), (6, 5)), ((33, 2), (40, 3))]


def away_from_kinks(rng, shape, sizes, align_corners):
    """Normalised points whose pixel coordinates are no integers and no halves, far outside too."""
    coords = loops.random_coords(rng, shape, sizes, beyond=9.0)
    sizes = np.array(sizes[::-1], float)
    return coords * 2 / np.maximum(sizes - 1, 1) - 1 if align_corners else (2 * coords + 1) / sizes - 1


def torch_grid_sample(torch, image, grid, cotangent, method, padding, align_corners):
    channels_first = [np.moveaxis(array, -1, 0)[None].copy() for array in (image, cotangent)]
    image, cotangent = map(torch.from_numpy, channels_first)
    grid = torch.from_numpy(grid[None].copy())
    image.requires_grad_()
    grid.requires_grad_()
    value = torch.nn.functional.grid_sample(image, grid, mode=method, padding_mode=padding, align_corners=align_corners)
    value.backward(cotangent)
    last = [np.moveaxis(tensor.detach().numpy()[0], 0, -1) for tensor in (value, image.grad)]
    return *last, grid.grad[0].numpy()


def jax_grid_sample(image, grid, cotangent, **options):
    value, vjp = jax.vjp(functools.partial(ops.grid_sample, **options), image, grid)
    return value, *vjp(cotangent)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(("method", "padding", "align_corners"), EVERY)
def test_grid_sample_and_gradients(torch, dtype, sizes, method, padding, align_corners):
    rng, (size, out) = np.random.default_rng(0), sizes
    image, cotangent = rng.normal(size=(*size, 3)), rng.normal(size=(*out, 3))
    grid = away_from_kinks(rng, out, size, align_corners)
    arrays = [array.astype(dtype) for array in (image, grid, cotangent)]
    oracle = torch_grid_sample(torch, *arrays, method, padding, align_corners)
    options = {"method": method, "padding": padding, "align_corners": align_corners}
    with jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext():
        found = jax_grid_sample(*map(jnp.asarray, arrays), **options)
    for array, truth, part in zip(found, oracle, ("value", "d_image", "d_grid"), strict=True):
        assert array.dtype == dtype
        tolerance = TOLERANCE[dtype] * max(1, np.abs(truth).max())
        assert_allclose(array, truth, rtol=0, atol=tolerance, err_msg=part)


@pytest.mark.parametrize(("method", "padding", "align_corners"), EVERY)
def test_the_loops_are_torchs_grid_sample(torch, method, padding, align_corners):
    rng = np.random.default_rng(1)
    image, grid = rng.normal(size=(6, 9, 2)), rng.uniform(-4, 4, (20, 20, 2))
    value, *_ = torch_grid_sample(torch, image, grid, np.zeros((20, 20, 2)), method, padding, align_corners)
    found = loops.grid_sample(image, grid, method=method, padding=padding, align_corners=align_corners)
    assert_allclose(found, value, atol=1e-12)


@pytest.mark.parametrize(
    ("padding", "align_corners"), [*itertools.product(PADDINGS[:2], (True, False)), ("reflection", True)]
)
def test_sample_volume_and_gradients(torch, x64, padding, align_corners):
    rng, size, out = np.random.default_rng(2), (4, 6, 7), (5, 3, 8)
    volume, cotangent = rng.normal(size=(*size, 3)), rng.normal(size=(*out, 3))
    grid = away_from_kinks(rng, out, size, align_corners)
    oracle = torch_grid_sample(torch, volume, grid, cotangent, "bilinear", padding, align_corners)

    def function(volume, grid):
        return ops.sample_volume(volume, ops.to_pixels(grid, size, align_corners=align_corners), padding=padding)

    value, vjp = jax.vjp(function, jnp.asarray(volume), jnp.asarray(grid))
    for array, truth in zip((value, *vjp(jnp.asarray(cotangent))), oracle, strict=True):
        assert_allclose(array, truth, atol=1e-10)


@pytest.mark.parametrize("shape", [(17, 30), (5, 9, 8)])
def test_affine_grid(torch, x64, shape):
    theta = np.random.default_rng(3).normal(size=(len(shape), len(shape) + 1))
    oracle = torch.nn.functional.affine_grid(torch.from_numpy(theta)[None], [1, 1, *shape], align_corners=True)[0]
    assert_allclose(ops.affine_grid(jnp.asarray(theta), shape), oracle.numpy(), atol=1e-12)


def test_channel_groups_are_torchs_grid_sample_group_by_group(torch, x64):
    rng = np.random.default_rng(4)
    image, coords = rng.normal(size=(6, 8, 4)), loops.random_coords(rng, (5, 3, 2), (6, 8))
    found = ops.sample_channels(jnp.asarray(image), jnp.asarray(coords))
    for group in range(2):
        part, grid = image[..., 2 * group : 2 * group + 2], coords[:, :, group] * 2 / np.array([7, 5]) - 1
        oracle, *_ = torch_grid_sample(torch, part, grid, np.zeros((5, 3, 2)), "bilinear", "zeros", True)
        assert_allclose(found[..., 2 * group : 2 * group + 2], oracle, atol=1e-12)


@pytest.mark.parametrize("size", [3, 5, 7, 28, 56, 255])
def test_the_gradient_at_the_identity_of_unaligned_corners(torch, size):
    """Where rounding leaves the first pixels of many sizes just left of pixel 0."""
    rng = np.random.default_rng(5)
    image, cotangent = (rng.normal(size=(size, size, 2)).astype(np.float32) for _ in range(2))
    grid = torch.nn.functional.affine_grid(torch.eye(2, 3)[None], [1, 1, size, size], align_corners=False)[0].numpy()
    *_, oracle = torch_grid_sample(torch, image, grid, cotangent, "bilinear", "zeros", False)
    *_, found = jax_grid_sample(*map(jnp.asarray, (image, grid, cotangent)), align_corners=False)
    assert_allclose(found, oracle, rtol=1e-4, atol=2e-4 * size)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("method", "padding"), list(itertools.product(METHODS, PADDINGS)))
def test_bad_pixels_show_in_the_same_samples(torch, x64, method, padding, value):
    rng = np.random.default_rng(6)
    image = rng.normal(size=(5, 6, 2))
    image[:, -1], image[2, 1], image[0, 3] = value, -value, value
    # whole numbers and halves too, save where reflection turns the cells round
    coords = np.concatenate(
        [rng.uniform(-9, 15, (200, 2)), rng.integers(-3 if padding != "reflection" else 0, 5, (60, 2))]
    )
    grid = coords[None] * 2 / np.array([5.0, 4.0]) - 1
    oracle, *_ = torch_grid_sample(torch, image, grid, np.zeros((1, 260, 2)), method, padding, True)
    found = ops.sample(
        jnp.asarray(image), jnp.asarray((grid + 1) / 2 * np.array([5.0, 4.0])), method=method, padding=padding
    )
    assert_allclose(found, oracle, atol=1e-9)
