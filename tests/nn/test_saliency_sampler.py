"""What the sampler makes of a map, what it refuses, and the sampler inside other people's networks."""

import functools

import chex
import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from vtnjax import ops
from vtnjax.nn import SaliencySampler

SMALL = {"size": (5, 6), "fwhm": 3.0}


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def softmax(logits):
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


@jax.jit
def reference(image, saliency):
    """The defaults: 31 x 31 cells, 13 wide, 30 far."""
    return SaliencySampler((12, 14))(image, saliency)


@pytest.mark.slow
def test_it_resizes_the_map_makes_a_density_of_it_and_reads_the_grid():
    image, saliency = normal(2, 9, 11, 3), 2 * normal(2, 4, 7, seed=1)
    y, out = jax.jit(SaliencySampler((8, 10), **SMALL))(image, saliency)
    assert out["coords"].shape == (2, 8, 10, 2)
    whole = np.stack(np.meshgrid(np.linspace(0, 6, 6), np.linspace(0, 3, 5)), -1)
    for i in range(2):
        logits = loops.sample(np.asarray(saliency[i])[..., None], whole, padding="border")[..., 0]
        np.testing.assert_allclose(out["attention"][i], softmax(logits), rtol=1e-4)
        grid = loops.saliency_grid(softmax(logits), (8, 10), fwhm=3.0, pad=5)
        np.testing.assert_allclose(out["coords"][i], loops.pixels(grid, (9, 11)), atol=1e-4)
        read = loops.sample(np.asarray(image[i]), np.asarray(out["coords"][i]), padding="border")
        np.testing.assert_allclose(y[i], read, atol=1e-4)


def test_the_defaults_are_those_of_the_reference():
    image, saliency = normal(1, 16, 16, 1), 3 * normal(1, 31, 31, seed=1)
    _, out = reference(image, saliency)
    density = jax.nn.softmax(saliency[0], axis=(0, 1))
    np.testing.assert_allclose(out["attention"][0], density, rtol=1e-4)
    grid = jax.jit(lambda density: ops.saliency_grid(density, (12, 14), fwhm=13.0, pad=30))(density)
    np.testing.assert_allclose(out["coords"][0], loops.pixels(np.asarray(grid), (16, 16)), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("value", [0.0, -3.7])
def test_a_constant_map_resizes_the_image(value):
    image = normal(2, 12, 14, 3)
    y, _ = reference(image, jnp.full((2, 31, 31), value))
    np.testing.assert_allclose(y, image, atol=1e-5)
    y, _ = reference(image, jnp.full((2, 7, 9, 1), value))
    np.testing.assert_allclose(y, image, atol=1e-4)


@pytest.mark.slow
def test_a_map_with_a_channel_is_a_map():
    image, saliency = normal(2, 9, 11, 3), normal(2, 4, 7, seed=1)
    sampler = jax.jit(SaliencySampler((8, 10), **SMALL))
    chex.assert_trees_all_equal(sampler(image, saliency), sampler(image, saliency[..., None]))


@pytest.mark.slow
def test_each_image_is_magnified_where_its_own_map_is_high():
    y, x = np.mgrid[:31, :31]
    peaks = np.array([(8, 8), (20, 24)])  # (row, column)
    logits = np.stack([4 * np.exp(-((y - row) ** 2 + (x - column) ** 2) / 18) for row, column in peaks])
    _, out = reference(jnp.zeros((2, 31, 31, 1)), jnp.asarray(logits, jnp.float32))
    for coords, (row, column) in zip(np.asarray(out["coords"]), peaks, strict=True):
        near = np.linalg.norm(coords - [column, row], axis=-1) < 5
        assert near.mean() > 2 * np.pi * 5**2 / 31**2  # over twice as many samples as an even grid has there


@pytest.mark.slow
def test_the_gradient_reaches_the_map_from_the_start():
    image = jnp.asarray(loops.affine_grid(np.eye(2, 3), (16, 16)), jnp.float32)[None] ** 2

    def loss(saliency):
        return (reference(image, saliency)[0][0, 3:6, 3:6] ** 2).sum()

    gradient = jax.jit(jax.grad(loss))(jnp.zeros((1, 31, 31)))
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 1e-5


@pytest.mark.slow
def test_the_last_row_and_column_of_an_even_grid_are_not_drawn_to_what_is_beyond():
    total = lambda saliency: reference(jnp.ones((1, 16, 16, 1)), saliency)[0].sum()  # noqa: E731
    gradient = jax.jit(jax.grad(total))(jnp.zeros((1, 31, 31)))
    np.testing.assert_allclose(gradient, 0, atol=1e-6)  # a constant image looks the same everywhere


@pytest.mark.slow
def test_bfloat16_images_keep_float32_coordinates():
    image, saliency = normal(2, 9, 11, 3).astype(jnp.bfloat16), normal(2, 4, 7, seed=1).astype(jnp.bfloat16)
    sampler = jax.jit(SaliencySampler((8, 10), **SMALL))
    y, out = sampler(image, saliency)
    assert (y.dtype, out["coords"].dtype, out["attention"].dtype) == (jnp.bfloat16, jnp.float32, jnp.float32)
    exact, _ = sampler(image.astype(jnp.float32), saliency.astype(jnp.float32))
    np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=0.02)


# ---- What it refuses


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"shape": (8,)}, r"shape must be \(height, width\) in pixels, not \(8,\)"),
        ({"size": 0}, "size must be a whole number of at least 1, or two .*, not 0"),
        ({"size": (5, 6, 7)}, r"size must be a whole number of at least 1, or two .*, not \(5, 6, 7\)"),
        ({"fwhm": -1.0}, "fwhm must be a positive number of map cells, not -1.0"),
        ({"pad": -1}, "pad must be a whole number of map cells, at least 0, not -1"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_bad_arguments_are_refused_when_it_is_built(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        SaliencySampler(**{"shape": (8, 10), **options})


@pytest.mark.parametrize(
    ("image", "saliency", "sentence"),
    [
        ((9, 11, 3), (1, 4, 7), r"image must have the shape \(n, h, w, c\), but it is \(9, 11, 3\)"),
        ((2, 9, 11, 3), (1, 4, 7), r"saliency must have the shape \(2, h, w\) or .*, but it is \(1, 4, 7\)"),
        ((2, 9, 11, 3), (2, 4, 7, 3), r"saliency must have the shape \(2, h, w\) or .*, but it is \(2, 4, 7, 3\)"),
        ((2, 9, 11, 3), (4, 7), r"saliency must have the shape \(2, h, w\) or .*, but it is \(4, 7\)"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_bad_input_is_refused(image, saliency, sentence):
    with pytest.raises(ValueError, match=sentence):
        SaliencySampler((8, 10), **SMALL)(jnp.zeros(image), jnp.zeros(saliency))


# ---- Inside other people's networks


class Network(nnx.Module):
    """A user's own saliency network before a classifier."""

    def __init__(self, channels=2, *, rngs):
        self.saliency = nnx.Conv(channels, 1, (3, 3), strides=2, rngs=rngs)
        self.sampler = SaliencySampler((8, 8), **SMALL)
        self.classifier = nnx.Linear(channels * 64, 3, rngs=rngs)

    def __call__(self, image):
        y, out = self.sampler(image, 3 * self.saliency(image))
        return self.classifier(y.reshape(len(y), -1)), out


def make_step():
    graphdef, params, rest = nnx.split(Network(rngs=nnx.Rngs(0)), nnx.Param, ...)

    def step(params, rest, image):
        def loss(params):
            logits, out = nnx.merge(graphdef, params, rest, copy=True)(image)
            return (jax.nn.log_softmax(logits)[:, 0]).mean(), (logits, out)

        return jax.grad(loss, has_aux=True)(params)

    return step, (params, rest)


@functools.cache
def trained(graph=True):
    """Gradients and outputs, by whether NNX is in graph mode."""
    with nnx.set_graph_mode(graph), nnx.set_graph_updates(graph):
        step, state = make_step()
        return jax.jit(step)(*state, normal(8, 12, 12, 2))


@pytest.mark.slow
def test_a_users_network_trains_in_both_modes_of_nnx_alike():
    assert np.abs(trained(graph=False)[0]["saliency"]["kernel"][...]).max() > 1e-6
    for graph, tree in zip(jax.tree.leaves(trained()), jax.tree.leaves(trained(graph=False)), strict=True):
        np.testing.assert_array_equal(graph, tree)


@pytest.mark.slow
def test_linen_users_may_wrap_it():
    model = nnx.bridge.ToLinen(SaliencySampler, args=((8, 10),), kwargs={"size": 5}, skip_rng=True)
    image, saliency = normal(2, 9, 11, 3), normal(2, 4, 7, seed=1)
    variables = model.init(jax.random.key(0), image, saliency)
    y, out = model.apply(variables, image, saliency)
    assert y.shape == (2, 8, 10, 3)
    assert out["attention"].shape == (2, 5, 5)


@pytest.mark.parametrize("mesh_name", ["auto_mesh", "explicit_mesh"])
@pytest.mark.slow
def test_a_batch_over_eight_devices_trains_as_on_one(mesh_name, request):
    mesh = request.getfixturevalue(mesh_name)
    step, state = make_step()
    with jax.set_mesh(mesh):
        whole = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
        image = jax.device_put(normal(8, 12, 12, 2), NamedSharding(mesh, PartitionSpec("data")))
        spread = jax.jit(step)(*whole, image)
    assert spread[1][1]["coords"].sharding.spec[0] == "data"
    for one, many in zip(jax.tree.leaves(trained()), jax.tree.leaves(spread), strict=True):
        np.testing.assert_allclose(one, many, atol=2e-5)
