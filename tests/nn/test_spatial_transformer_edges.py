"""A transformer with `align_corners=False`, PyTorch's default: -1 and 1 are the outer edges of the border pixels."""

import warnings

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose

from vtnjax.nn import SpatialTransformer

SHAPE, SMALL = (6, 7), (4, 9)
THETA = np.array([[1.3, 0.2, 0.1], [-0.3, 1.4, 0.2]])
CONTROL = np.array([(x, y) for y in np.linspace(-1, 1, 4) for x in np.linspace(-1, 1, 4)])
FLAT = ("translation", "attention", "affine", "projective", "tps", "linear")


def features_of(image):
    return image.mean(tuple(range(1, image.ndim - 1)))


def images(*sizes, count=2, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, *(sizes or SHAPE), 3))
    return jnp.asarray(values, jnp.float32)


def make(warp, **options):
    if warp == "linear":
        x, y = np.moveaxis(loops.affine_grid(np.eye(2, 3), SHAPE, align_corners=False), -1, 0)
        options["basis"] = np.stack([x, y, np.ones_like(x)]).astype(np.float32)
    return SpatialTransformer(features_of, 3, warp=warp, align_corners=False, rngs=nnx.Rngs(0), **options)


def told(theta, warp="affine", **options):
    """A transformer that predicts `theta` for every image."""
    transformer = make(warp, **options)
    transformer.head.bias[...] = jnp.asarray(theta, jnp.float32).ravel()
    return transformer


def coords_of(theta, shape, sizes):
    return loops.pixels(loops.affine_grid(theta, shape, align_corners=False), sizes, align_corners=False)


@pytest.mark.slow
@pytest.mark.parametrize("warp", [*FLAT, "affine3d"])
def test_an_untrained_transformer_passes_its_input_on(warp):
    sizes = (3, 4, 5) if warp == "affine3d" else SHAPE
    image = images(*sizes)
    y, out = jax.jit(make(warp))(image)
    assert_allclose(y, image, atol=1e-5)
    assert_allclose(out["coords"][1], coords_of(np.eye(len(sizes), len(sizes) + 1), sizes, sizes), atol=1e-5)


@pytest.mark.parametrize("warp", ["translation", "attention", "affine", "projective", "tps"])
def test_every_warp_reads_where_the_plain_loop_says(warp):
    theta = {
        "translation": [0.3, -0.2],
        "attention": [0.5, 0.3, -0.2],
        "affine": THETA,
        "projective": [*THETA.ravel(), 0.0, 0.0],
        "tps": CONTROL @ THETA[:, :2].T + THETA[:, 2],
    }[warp]
    matrix = {
        "translation": np.array([[1, 0, 0.3], [0, 1, -0.2]]),
        "attention": np.array([[0.5, 0, 0.3], [0, 0.5, -0.2]]),
    }.get(warp, THETA)
    _, out = jax.jit(told(theta, warp, shape=SMALL))(images())
    assert_allclose(out["coords"][0], coords_of(matrix, SMALL, SHAPE), atol=1e-4)


@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.daily("zeros-bilinear", "reflection-bicubic")
def test_reflection_mirrors_about_the_outer_edges(method, padding):
    image = images()
    y, _ = jax.jit(told(THETA, method=method, padding=padding))(image)
    coords = coords_of(THETA, SHAPE, SHAPE)
    expected = loops.sample(np.asarray(image[0]), coords, method=method, padding=padding, edges=True)
    assert_allclose(y[0], expected, atol=1e-4)
    if padding == "reflection":
        assert np.abs(expected - loops.sample(np.asarray(image[0]), coords, method=method, padding=padding)).max() > 0.1


@pytest.mark.slow
def test_volumes_are_mirrored_about_their_outer_edges_too():
    volume, theta = images(3, 4, 5), 1.5 * np.eye(3, 4)
    y, out = jax.jit(told(theta, "affine3d", padding="reflection"))(volume)
    coords = coords_of(theta, (3, 4, 5), (3, 4, 5))
    assert_allclose(out["coords"][0], coords, atol=1e-5)
    assert_allclose(y[0], loops.sample(np.asarray(volume[0]), coords, padding="reflection", edges=True), atol=1e-4)


@pytest.mark.slow
def test_what_an_antialiased_transformer_averages_is_mirrored_about_the_outer_edges():
    image = images()
    y, _ = jax.jit(told(1.5 * THETA, padding="reflection", antialias=2))(image)
    points = loops.footprint(coords_of(1.5 * THETA, SHAPE, SHAPE), 2, 2)
    expected = loops.sample(np.asarray(image[0]), points, padding="reflection", edges=True).mean(2)
    assert_allclose(y[0], expected, atol=1e-3)


@pytest.mark.torch
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_a_spatial_transformer_of_pytorch_with_default_arguments_gives_the_same(torch, padding):
    functional = torch.nn.functional
    rng = np.random.default_rng(0)
    image, weight, bias = rng.normal(size=(2, *SHAPE, 3)), 0.3 * rng.normal(size=(6, 3)), THETA.ravel()
    ours = told(bias, padding=padding)
    ours.head.kernel[...] = jnp.asarray(weight.T, jnp.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch says that its defaults once were others
        x = torch.from_numpy(np.moveaxis(image, -1, 1).astype(np.float32).copy())
        linear = torch.nn.Linear(3, 6)
        linear.weight.data, linear.bias.data = (torch.from_numpy(a.astype(np.float32)) for a in (weight, bias))
        grid = functional.affine_grid(linear(x.mean((2, 3))).view(-1, 2, 3), x.shape)
        theirs = functional.grid_sample(x, grid, padding_mode=padding)
    y, _ = jax.jit(ours)(jnp.asarray(image, jnp.float32))
    assert_allclose(y, np.moveaxis(theirs.detach().numpy(), 1, -1), atol=1e-4)


@pytest.mark.slow
def test_nearest_with_a_localiser_says_once_that_it_never_learns():
    with pytest.warns(UserWarning, match="'nearest' has no gradient .* the localiser never learns") as found:
        transformer = make("affine", method="nearest")
    assert len(found) == 1
    transformer(images())  # a warning would be an error here
    SpatialTransformer(None, 3, method="nearest", rngs=nnx.Rngs(0))
