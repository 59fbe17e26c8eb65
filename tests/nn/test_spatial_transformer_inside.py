"""The module inside other people's networks: NNX in both modes, Linen, jit and device meshes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from vtnjax.nn import SpatialTransformer


class Localiser(nnx.Module):
    def __init__(self, channels, features, *, rngs):
        self.conv = nnx.Conv(channels, 4, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.linear = nnx.Linear(4, features, rngs=rngs)

    def __call__(self, image):
        x = nnx.relu(self.norm(self.conv(image)))
        return nnx.tanh(self.linear(x.mean((1, 2))))


class Network(nnx.Module):
    """A user's own: two transformers in series on the image, and two at once on its features, sharing a layer."""

    def __init__(self, channels=2, *, rngs):
        def transformer(channels, **options):
            return SpatialTransformer(Localiser(channels, 6, rngs=rngs), 6, rngs=rngs, **options)

        self.first = transformer(channels, warp="affine")
        self.second = transformer(channels, warp="tps", shape=(10, 10))
        self.conv = nnx.Conv(channels, 6, (3, 3), rngs=rngs)
        self.deep = SpatialTransformer(None, 6, warp="attention", shape=(4, 4), count=2, rngs=rngs)
        self.classifier = nnx.Linear(2 * 4 * 4 * 6, 3, rngs=rngs)

    def __call__(self, image):
        x, first = self.first(image)
        x, second = self.second(x)
        x = nnx.relu(self.conv(x))
        parts, deep = self.deep(x, features=x.mean((1, 2)))
        logits = self.classifier(jnp.concatenate([part.reshape(len(part), -1) for part in parts], axis=-1))
        return logits, {"first": first, "second": second, "deep": deep}


HEADS = ("first", "second", "deep")


def images(count=8):
    return jnp.asarray(np.random.default_rng(0).normal(size=(count, 12, 12, 2)), jnp.float32)


def labels(count=8):
    return jnp.arange(count) % 3


def stirred(network):
    for number, name in enumerate(HEADS):
        kernel = getattr(network, name).head.kernel
        kernel[...] = 0.1 * jax.random.normal(jax.random.key(number), kernel.shape)
    return network


def loss_of(logits, labels):
    return -jnp.mean(jnp.sum(jax.nn.log_softmax(logits) * jax.nn.one_hot(labels, 3), axis=-1))


def make_step(network):
    """A training step as a pure function of state, and its state."""
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)

    def step(params, rest, image, labels):
        def loss(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            logits, out = model(image)
            return loss_of(logits, labels), (logits, out, nnx.state(model, nnx.Not(nnx.Param)))

        (_, (logits, out, rest_after)), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients)
        return params, rest_after, logits, out, gradients

    return step, (params, rest)


@functools.cache
def trained(graph=True):
    """State before a step, and what the step gives, by whether NNX is in graph mode; the same for every test."""
    with nnx.set_graph_mode(graph), nnx.set_graph_updates(graph):
        step, state = make_step(stirred(Network(rngs=nnx.Rngs(0))))
        return state, jax.jit(step)(*state, images(), labels())


@pytest.mark.slow
@pytest.mark.parametrize("graph", [True, False])
def test_a_users_network_trains_in_both_modes_of_nnx(graph):
    (params, rest), (params_after, rest_after, logits, _, gradients) = trained(graph)
    assert logits.shape == (8, 3)
    for name in HEADS:
        assert np.abs(gradients[name]["head"]["kernel"][...]).max() > 1e-6
        assert np.abs(params_after[name]["head"]["kernel"][...] - params[name]["head"]["kernel"][...]).max() > 1e-7
    for name in ("first", "second"):
        assert np.abs(gradients[name]["localiser"]["conv"]["kernel"][...]).max() > 1e-8
        before, after = (state[name]["localiser"]["norm"]["mean"][...] for state in (rest, rest_after))
        assert np.abs(after - before).max() > 1e-4


@pytest.mark.slow
def test_both_modes_of_nnx_compute_the_same():
    np.testing.assert_array_equal(trained()[1][2], trained(graph=False)[1][2])


@pytest.mark.slow
def test_a_users_network_starts_at_the_identity_at_every_depth():
    _, out = run(Network(rngs=nnx.Rngs(0)), images())
    np.testing.assert_allclose(out["first"]["coords"][0, 3, 5], [5, 3], atol=1e-5)
    np.testing.assert_allclose(out["second"]["coords"][0, -1, -1], [11, 11], atol=1e-5)
    np.testing.assert_allclose(out["deep"]["coords"][0, 1, -1, -1], [9, 9], atol=1e-5)
    assert out["deep"]["theta"].shape == (8, 2, 3)


@pytest.mark.slow
def test_transformers_in_series_and_in_evaluation_mode():
    network = stirred(Network(rngs=nnx.Rngs(0)))
    network.eval()
    _, out = run(network, images())
    _, of_some = run(network, images()[:3])
    x, _ = run(network.first, images())
    _, inner = run(network.second, x)
    np.testing.assert_allclose(out["second"]["theta"], inner["theta"], atol=1e-6)
    np.testing.assert_allclose(out["second"]["theta"][:3], of_some["second"]["theta"], atol=1e-5)


# ---- Linen


@pytest.mark.slow
def test_linen_users_train_it_through_the_bridge():
    model = nnx.bridge.ToLinen(Network, kwargs={"channels": 2})
    variables = jax.jit(model.init)(jax.random.key(0), images())
    assert set(variables) >= {"params", "batch_stats"}

    def loss(params):
        (logits, out), changed = model.apply({**variables, "params": params}, images(), mutable=["batch_stats"])
        return loss_of(logits, labels()), (out, changed)

    gradients, (out, changed) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    np.testing.assert_allclose(out["first"]["theta"], np.stack([np.eye(2, 3)] * 8), atol=1e-6)
    for name in HEADS:
        assert np.abs(jax.tree.leaves(gradients[name]["head"]["bias"])[0]).max() > 1e-7
    means = [
        jax.tree.leaves(stats["first"]["localiser"]["norm"]["mean"])[0]
        for stats in (variables["batch_stats"], changed["batch_stats"])
    ]
    assert np.abs(means[1] - means[0]).max() > 1e-4


@pytest.mark.slow
def test_linen_users_may_wrap_the_transformer_alone():
    model = nnx.bridge.ToLinen(SpatialTransformer, args=(None, 6), kwargs={"warp": "projective", "shape": (5, 5)})
    features = jnp.ones((8, 6))
    variables = model.init(jax.random.key(0), images(), features)
    (y, out), _ = model.apply(variables, images(), features=features, mutable=["batch_stats"])
    assert y.shape == (8, 5, 5, 2)
    np.testing.assert_allclose(out["coords"][0, -1, -1], [11, 11], atol=1e-5)
    assert set(variables["params"]) == {"head"}


# ---- Devices


@pytest.mark.slow
@pytest.mark.parametrize("mesh_name", ["auto_mesh", "explicit_mesh"])
def test_a_batch_over_eight_devices_trains_as_on_one(mesh_name, request):
    mesh = request.getfixturevalue(mesh_name)
    step, state = make_step(stirred(Network(rngs=nnx.Rngs(0))))
    _, alone = trained()
    with jax.set_mesh(mesh):
        whole = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
        batch = jax.device_put((images(), labels()), NamedSharding(mesh, PartitionSpec("data")))
        spread = jax.jit(step)(*whole, *batch)
    assert len(spread[3]["first"]["coords"].sharding.device_set) == 8
    assert spread[3]["first"]["coords"].sharding.spec[0] == "data"
    for one, many in zip(jax.tree.leaves(alone), jax.tree.leaves(spread), strict=True):
        np.testing.assert_allclose(one, many, atol=2e-5)
