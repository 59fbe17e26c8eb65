"""Transformers at any depth: where they start, what they warp, whose layers they read, and what no warp undoes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import ops
from vtnjax.models import ConvPool, PlacedSTN, count_parameters
from vtnjax.models.placed import compose

IMAGES = jnp.asarray(np.random.default_rng(0).uniform(size=(3, 20, 18, 1)), jnp.float32)
TURN = np.array([[0.8, 0.3, 0.2], [-0.2, 0.9, -0.1]], np.float32)
SHIFT = np.array([[1.0, 0.1, -0.3], [0.0, 1.1, 0.2]], np.float32)


def make(**options):
    rngs = nnx.Rngs(0)
    layers = [ConvPool(1, 4, 3, rngs=rngs), ConvPool(4, 5, 3, rngs=rngs)]
    shape = options.pop("shape", (20, 18, 1))
    return PlacedSTN(layers, lambda cells: nnx.Linear(cells, 6, rngs=nnx.Rngs(1)), shape, **options, rngs=rngs)


def predict(network, *thetas):
    """Let each transformer predict a matrix whatever it sees."""
    for transformer, theta in zip(network.transformer, thetas, strict=True):
        transformer.transformer.head.bias[...] = jnp.asarray(theta).ravel()
    return network


@jax.jit
def warped(images, theta):
    coords = ops.to_pixels(ops.affine_grid(theta, images.shape[1:3]), images.shape[1:3])
    return jax.vmap(lambda image: ops.sample(image, coords))(images), coords


def through(layers, x):
    for layer in layers:
        x = run(layer, x)
    return x


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["features", "shared", "deep"])
@pytest.mark.parametrize("placements", [(0,), (1,), (2,), (0, 1)])
def test_all_start_as_the_network_without_a_transformer(mode, placements):
    plain, out = run(make(placements=()), IMAGES)
    assert set(out) == {"features"}
    assert_allclose(run(make(mode=mode, placements=placements), IMAGES)[0], plain, atol=1e-5)


@pytest.mark.slow
def test_features_are_warped_behind_their_layer():
    network = predict(make(placements=(1,)), TURN)
    _, out = run(network, IMAGES)
    wanted, coords = warped(run(network.layers[0], IMAGES), TURN)
    assert_allclose(out["warped"], wanted, atol=1e-5)
    assert_allclose(out["coords"][0], coords, atol=1e-5)
    assert_allclose(out["features"], run(network.layers[1], wanted), atol=1e-5)


@pytest.mark.parametrize("mode", ["shared", "deep"])
@pytest.mark.daily("deep")
def test_the_input_is_warped_by_what_later_features_say(mode):
    network = predict(make(mode=mode, placements=(1,)), TURN)
    _, out = run(network, IMAGES)
    wanted, _ = warped(IMAGES, TURN)
    assert_allclose(out["warped"], wanted, atol=1e-5)
    assert_allclose(out["features"], through(network.layers, wanted), atol=1e-5)


@pytest.mark.parametrize("mode", ["shared", "deep"])
@pytest.mark.daily("deep")
def test_several_matrices_are_multiplied_and_the_input_sampled_once(mode):
    network = predict(make(mode=mode, placements=(0, 2)), TURN, SHIFT)
    _, out = run(network, IMAGES)
    # The second warp reads its points in the first one's output, and those in the input.
    point = np.stack([*np.random.default_rng(1).uniform(-1, 1, (2, 5)), np.ones(5)])
    between = np.concatenate([np.asarray(SHIFT) @ point, np.ones((1, 5))])
    assert_allclose(np.asarray(out["theta"][0]) @ point, np.asarray(TURN) @ between, atol=1e-5)
    assert_allclose(out["warped"], warped(IMAGES, out["theta"][0])[0], atol=1e-5)
    assert_array_equal(compose(jnp.asarray([TURN]), jnp.asarray([np.eye(2, 3)]))[0], jnp.asarray(TURN))


def test_the_second_localiser_sees_what_the_first_has_warped():
    network = predict(make(mode="shared", placements=(0, 1)), TURN, SHIFT)
    head = network.transformer[1].transformer.head
    head.kernel[...] = 0.01 * jax.random.normal(jax.random.key(0), head.kernel.shape)
    _, out = run(network, IMAGES)
    seen = run(network.layers[0], warped(IMAGES, TURN)[0])
    theta = head(network.transformer[1].localiser(seen)).reshape(-1, 2, 3)
    assert_allclose(out["theta"], compose(jnp.tile(jnp.asarray([TURN]), (3, 1, 1)), theta), atol=1e-5)


def gathers(network):
    lowered = jax.jit(lambda images: network(images)[1]["warped"]).lower(IMAGES)
    return lowered.compile().as_text().count(" gather(")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["shared", "deep"])
def test_each_transformer_warps_the_input_once(mode):
    once = gathers(make(mode="features", placements=(0,)))
    assert once > 0
    assert gathers(make(mode=mode, placements=(0,))) == once
    assert gathers(make(mode=mode, placements=(0, 2))) == 2 * once


def slopes(network):
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)

    def loss(params):
        return (nnx.merge(graphdef, params, rest, copy=True)(IMAGES)[1]["theta"] ** 2).sum()

    return jax.jit(jax.grad(loss))(params)


@pytest.mark.parametrize("mode", ["shared", "deep"])
@pytest.mark.daily("deep")
def test_whose_layers_learn_from_the_localiser(mode):
    network = make(mode=mode, placements=(1,))
    head = network.transformer[0].transformer.head
    head.kernel[...] = 0.1 * jax.random.normal(jax.random.key(0), head.kernel.shape)
    found = slopes(network)
    own = found["transformer"][0]["layers"] if mode == "deep" else found["layers"]
    others = found["layers"] if mode == "deep" else {}
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(own[0]["conv"]))
    assert all(jnp.abs(leaf).max() == 0 for leaf in jax.tree.leaves(others))


def test_a_deep_localiser_has_as_many_parameters_more_as_its_layers():
    deep, shared = (count_parameters(make(mode=mode, placements=(2,))) for mode in ("deep", "shared"))
    assert deep - shared == (9 * 4 + 4) + (9 * 4 * 5 + 5)


def test_a_deep_localisers_arrays_are_its_own():
    # A training step that takes over its state's arrays may not be given one twice.
    network = make(mode="deep", placements=(2,))
    own, others = (jax.tree.leaves(nnx.state(each.layers)) for each in (network.transformer[0], network))
    assert len({leaf.unsafe_buffer_pointer() for leaf in (*own, *others)}) == len(own) + len(others) == 8


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "placement"), [("features", 0), ("features", 1), ("shared", 1), ("deep", 1)])
def test_what_was_warped_may_be_pooled(mode, placement):
    network = make(mode=mode, placements=(placement,), pool=2, shape=(30, 30, 1))
    images = jnp.asarray(np.random.default_rng(3).uniform(size=(2, 30, 30, 1)), jnp.float32)
    logits, out = run(network, images)
    assert logits.shape == (2, 6)
    layers = network.layers[1:] if mode == "features" else network.layers
    layers = network.layers if placement == 0 else layers
    x = np.asarray(out["warped"])
    pooled = jnp.asarray((x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4)
    assert_allclose(out["features"], through(layers, pooled), atol=1e-5)


@pytest.mark.parametrize("mode", ["features", "shared"])
def test_without_a_warp_the_image_is_pooled(mode):
    network = make(mode=mode, placements=(), pool=2, shape=(30, 30, 1))
    x = np.random.default_rng(3).uniform(size=(2, 30, 30, 1)).astype(np.float32)
    _, out = run(network, jnp.asarray(x))
    pooled = jnp.asarray((x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4)
    assert_allclose(out["features"], through(network.layers, pooled), atol=1e-5)


@pytest.mark.slow
def test_a_warp_of_features_cannot_undo_a_turn_and_one_of_the_input_does():
    """Eq. 1, with a quarter turn, which reads pixels exactly, and one filter that answers to edges of one side."""
    image = jnp.asarray(np.random.default_rng(2).normal(size=(9, 9, 1)), jnp.float32)
    kernel = jnp.asarray([[0.0, 0, 0], [-1, 0, 1], [0, 0, 0]]).reshape(3, 3, 1, 1)

    @jax.jit
    def features(image):
        dimensions = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(image[None], kernel, (1, 1), "SAME", dimension_numbers=dimensions)[0]

    def turn(image, theta):
        return warped(image[None], np.array(theta, np.float32))[0][0]

    there, back = [[0.0, -1, 0], [1, 0, 0]], [[0.0, 1, 0], [-1, 0, 0]]
    assert_allclose(turn(image, there), jnp.rot90(image), atol=1e-5)
    turned, wanted = turn(image, there), features(image)
    assert_allclose(features(turn(turned, back)), wanted, atol=1e-5)
    answers = features(turned)
    for _ in range(4):  # whichever quarter turn the features of the turned image are warped by
        answers = turn(answers, back)
        assert jnp.abs(answers - wanted).mean() > 0.5 * jnp.abs(wanted).mean()


@pytest.mark.parametrize("placements", [(1, 0), (0, 0), (3,), (-1,)])
def test_placements_rise(placements):
    with pytest.raises(ValueError, match="placements must rise from 0 to at most the 2 layers"):
        make(placements=placements)


def test_modes_have_names():
    with pytest.raises(ValueError, match="mode must be one of"):
        make(mode="loop")
