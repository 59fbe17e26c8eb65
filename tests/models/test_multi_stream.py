"""Windows on one photograph: where they begin, what the localiser reads, how streams are joined, and what learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax.models import Inception, MultiStreamSTN, SmallTrunk, WindowLocaliser
from vtnjax.models.multi_stream import tile_centres
from vtnjax.recipes import CrossEntropy
from vtnjax.recipes.networks import parameter_rates
from vtnjax.train import create_state, make_optimiser, make_train_step
from vtnjax.train.config import LATER

CLASSES = 5
IMAGES = np.random.default_rng(0).uniform(size=(2, 17, 25, 3)).astype(np.float32)


def make(count=2, shape=IMAGES.shape[1:], **options):
    rngs = nnx.Rngs(0)
    options = {"window": (9, 13), "width": 6, **options}
    return MultiStreamSTN(SmallTrunk(3, (4, 4, 8), rngs=rngs), shape, CLASSES, count=count, **options, rngs=rngs)


@functools.partial(jax.jit, static_argnums=0)
def _call(graphdef, state, images, key):
    return nnx.merge(graphdef, state, copy=True)(images, rngs=nnx.Rngs(key))


def call(model, images=IMAGES, *, training=False, key=0):
    model = nnx.clone(model)
    model.train() if training else model.eval()
    return _call(*nnx.split(model), jnp.asarray(images), jax.random.key(key))


def randomise(module):
    """Every parameter drawn, so that no kernel is zero and no two streams are alike."""
    rng = np.random.default_rng(1)
    state = nnx.state(module, nnx.Param)
    nnx.update(module, jax.tree.map(lambda x: jnp.asarray(0.3 * rng.standard_normal(x.shape), x.dtype), state))
    return module


# ---- Where the windows begin


@pytest.mark.parametrize(
    ("count", "centres"),
    [
        (2, [(-1 / 2, 0), (1 / 2, 0)]),
        (3, [(-2 / 3, 0), (0, 0), (2 / 3, 0)]),
        (4, [(-1 / 2, -1 / 2), (1 / 2, -1 / 2), (-1 / 2, 1 / 2), (1 / 2, 1 / 2)]),
        (6, [(-2 / 3, -1 / 2), (0, -1 / 2), (2 / 3, -1 / 2), (-2 / 3, 1 / 2), (0, 1 / 2), (2 / 3, 1 / 2)]),
    ],
)
def test_the_middles_of_equal_parts(count, centres):
    assert_allclose(tile_centres(count), centres, atol=1e-12)


# Of 17 x 25 pixels: half the sides from the first to the middle pixel, and on from there.
TILES = {
    2: [(slice(4, 13), slice(0, 13)), (slice(4, 13), slice(12, 25))],
    4: [(rows, columns) for rows in (slice(0, 9), slice(8, 17)) for columns in (slice(0, 13), slice(12, 25))],
}


@pytest.mark.slow
@pytest.mark.parametrize("count", TILES)
def test_convention_untrained_windows_read_exactly_the_tiles(count):
    _, out = call(make(count))
    assert_array_equal(out["theta"], np.broadcast_to(tile_centres(count), (2, count, 2)))
    assert out["coords"].shape == (2, count, 9, 13, 2)
    for i, (rows, columns) in enumerate(TILES[count]):
        assert_allclose(out["warped"][:, i], IMAGES[:, rows, columns], atol=1e-5)
        grid = np.stack(np.meshgrid(np.arange(25)[columns], np.arange(17)[rows]), -1)
        assert_allclose(out["coords"][0, i], grid, atol=1e-5)


def test_a_window_goes_where_theta_says():
    model = make()
    model.transformer.head.bias = nnx.Param(jnp.asarray([0.25, -0.5, 0.0, 0.5], jnp.float32))
    _, out = call(model)
    x, y = 12 + 0.25 * 12 + np.linspace(-6, 6, 13), 8 - 0.5 * 8 + np.linspace(-4, 4, 9)
    assert_allclose(out["coords"][1, 0], np.stack(np.meshgrid(x, y), -1), atol=1e-5)
    assert_allclose(out["coords"][1, 1, :, 0, 1], 8 + 0.5 * 8 + np.linspace(-4, 4, 9), atol=1e-5)


# ---- Streams, classifier, localiser


@pytest.mark.parametrize("count", [0, 2, 4])
@pytest.mark.daily("2")
def test_the_logits_are_of_the_streams_mean_features_side_by_side(count):
    model = randomise(make(count))
    logits, out = call(model)
    read = [np.asarray(out["warped"][:, i]) for i in range(count)] or [IMAGES]
    descriptors = []
    for i, (stream, image) in enumerate(zip(model.streams, read, strict=True)):
        stream.eval()
        features = run(stream, jnp.asarray(image))["conv3"]
        assert_allclose(out["features"][:, i], features, atol=1e-5)
        descriptors.append(np.asarray(features).mean((1, 2)))
    kernel, bias = (np.asarray(v[...]) for v in (model.classifier.kernel, model.classifier.bias))
    assert_allclose(logits, np.concatenate(descriptors, -1) @ kernel + bias, atol=1e-4)
    assert ("theta" in out) == (count > 0)


def test_streams_and_localiser_begin_alike_with_arrays_of_their_own():
    model = make(4)
    trunks = [*model.streams, model.transformer.localiser.trunk]
    first, *others = (jax.tree.leaves(nnx.state(trunk)) for trunk in trunks)
    for leaves in others:
        assert all(map(np.array_equal, first, leaves))
    pointers = {leaf.unsafe_buffer_pointer() for leaves in (first, *others) for leaf in leaves}
    assert len(pointers) == len(trunks) * len(first)


@pytest.mark.slow
def test_the_localiser_reads_means_of_squares():
    trunk = SmallTrunk(3, (4, 4, 8), rngs=nnx.Rngs(0))
    one, two = (
        WindowLocaliser(trunk, shape, width=6, downscale=scale, rngs=nnx.Rngs(1))
        for shape, scale in (((16, 24, 3), 1), ((32, 48, 3), 2))
    )
    image = np.random.default_rng(0).uniform(size=(2, 32, 48, 3)).astype(np.float32)
    one.eval()
    expected = one(jnp.asarray(image.reshape(2, 16, 2, 24, 2, 3).mean((2, 4))))
    assert expected.shape == (2, 6)
    assert_allclose(two(jnp.asarray(image)), expected, atol=1e-6)


@pytest.mark.slow
def test_the_papers_network_of_two_windows_at_448():
    def make():
        trunk = Inception(rngs=nnx.Rngs(0))
        return MultiStreamSTN(trunk, (448, 448, 3), 200, count=2, downscale=2, rngs=nnx.Rngs(0))

    model = nnx.eval_shape(make)
    layers = model.transformer.localiser.layers
    assert (layers.conv.kernel.shape, layers.hidden.kernel.shape) == ((1, 1, 1024, 128), (7 * 7 * 128, 128))
    assert model.transformer.head.kernel.shape == (128, 4)
    assert model.classifier.kernel.shape == (2 * 1024, 200)
    assert model.dropout.rate == 0.7
    graphdef, state = nnx.split(model)
    images = jax.ShapeDtypeStruct((1, 448, 448, 3), jnp.float32)
    _, out = jax.eval_shape(lambda s, x: nnx.merge(graphdef, s)(x, rngs=nnx.Rngs(0)), state, images)
    assert out["features"].shape == (1, 2, 7, 7, 1024)
    assert out["warped"].shape == (1, 2, 224, 224, 3)


@pytest.mark.slow
def test_each_stream_keeps_the_statistics_of_its_own_windows():
    model = randomise(make(dropout=0.0))
    graphdef, state = nnx.split(model)

    @jax.jit
    def run(state, images):
        model = nnx.merge(graphdef, state, copy=True)
        _, out = model(images, rngs=nnx.Rngs(0))
        return out["warped"], nnx.state(model.streams, nnx.BatchStat)

    warped, after = run(state, jnp.asarray(IMAGES))
    for i, stream in enumerate(model.streams):
        stream(warped[:, i])  # in training mode: its own statistics change
        for found, wanted in zip(*map(jax.tree.leaves, (after[i], nnx.state(stream, nnx.BatchStat))), strict=True):
            assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    first, second = (np.asarray(stream.norms[0].mean[...]) for stream in model.streams)
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.slow
def test_descriptors_are_dropped_in_training_only():
    model = make()
    assert_array_equal(call(model, key=0)[0], call(model, key=1)[0])
    first, again, other = (call(model, training=True, key=key)[0] for key in (0, 0, 1))
    assert_array_equal(first, again)
    assert jnp.abs(first - other).max() > 1e-4


# ---- Learning


def gradients(model):
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def loss(params):
        model = nnx.merge(graphdef, params, rest, copy=True)
        model.eval()
        return (model(jnp.asarray(IMAGES))[0] ** 2).sum()

    found = jax.jit(jax.grad(loss))(params)
    return {jax.tree_util.keystr(path): np.abs(leaf).max() for path, leaf in jax.tree.leaves_with_path(found)}


@pytest.mark.slow
def test_the_gradient_reaches_the_last_layer_first_and_then_all_of_the_localiser():
    model = make()
    first = {name: size for name, size in gradients(model).items() if "transformer" in name}
    assert {name for name, size in first.items() if size > 0} == {name for name in first if "head" in name}
    rng = np.random.default_rng(0)
    kernel = model.transformer.head.kernel
    kernel[...] = jnp.asarray(0.1 * rng.standard_normal(kernel.shape), jnp.float32)
    # Of rectified units the first images reach only some.
    hidden = model.transformer.localiser.layers
    hidden.conv.bias[...], hidden.hidden.bias[...] = jnp.ones(6), jnp.ones(6)
    then = gradients(model)
    assert all(size > 0 for name, size in then.items())


CONFIG = {"optimiser": "sgd", "learning_rate": 0.1, "schedule": "constant", "warmup_steps": 0, "steps": 9}
CONFIG |= {"weight_decay": 0.0, "clip_norm": 0.0, "batch_size": 2}


@pytest.mark.slow
def test_the_whole_localiser_and_nothing_else_has_the_multiplied_rate():
    model = make()
    config = ConfigDict({**CONFIG, "localiser_multiplier": 0.0, "network": {"name": "multi_stream"}} | LATER)
    optimiser = make_optimiser(config, parameter_rates(config))
    graphdef, state = create_state(randomise(model), optimiser, 0)
    before = jax.tree.map(np.array, state.params)
    batch = {"image": jnp.asarray(IMAGES), "label": jnp.asarray([0, 3], jnp.int32)}
    step = jax.jit(make_train_step(graphdef, optimiser, lambda key, images: images, CrossEntropy()), donate_argnums=0)
    after = jax.tree.map(np.array, step(state, batch)[0].params)
    assert all(map(np.array_equal, jax.tree.leaves(before["transformer"]), jax.tree.leaves(after["transformer"])))
    for name in ("streams", "classifier"):
        changed = jax.tree.map(lambda a, b: np.abs(a - b).max() > 0, before[name], after[name])
        assert any(jax.tree.leaves(changed))


# ---- NNX, meshes, errors


def test_graph_mode_on_and_off_agree():
    expected, _ = call(randomise(make()))
    with nnx.set_graph_mode(False), nnx.set_graph_updates(False):
        found, _ = call(randomise(make()))
    assert_array_equal(found, expected)


@pytest.mark.slow
def test_a_batch_over_eight_devices_of_an_explicit_mesh(explicit_mesh):
    images = jnp.asarray(np.random.default_rng(0).uniform(size=(8, 32, 48, 3)), jnp.float32)
    model = randomise(make(4, shape=(32, 48, 3), downscale=2))
    model.eval()
    graphdef, state = nnx.split(model)
    run = jax.jit(lambda state, images: nnx.merge(graphdef, state, copy=True)(images))
    alone, _ = run(state, images)
    with jax.set_mesh(explicit_mesh):
        state = jax.device_put(state, NamedSharding(explicit_mesh, PartitionSpec()))
        spread, out = run(state, jax.device_put(images, NamedSharding(explicit_mesh, PartitionSpec("data"))))
    assert out["coords"].sharding.spec[0] == "data"
    assert_allclose(spread, alone, atol=1e-4)


@pytest.mark.parametrize("count", [1, -1])
def test_a_single_window_is_refused(count):
    with pytest.raises(ValueError, match=f"count must be 0, without windows, or at least 2, not {count}"):
        make(count)
