"""The attention sampler and trilinear attention as modules: what they read, what they refuse, and where they fit in."""

import functools

import chex
import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax.nn import AttentionSampler, TrilinearAttention


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def positive(*shape, seed=1):
    return jnp.exp(normal(*shape, seed=seed))


@pytest.mark.parametrize(("size", "dense"), [((4, 7), 4.0), ((9, 11), None), ((1, 5), 2.0)])
@pytest.mark.daily("size1-None")
def test_it_reads_the_image_where_the_marginals_integrals_say(size, dense):
    image, attention = normal(2, 9, 11, 3), positive(2, *size)
    y, out = jax.jit(AttentionSampler((8, 10), dense=dense))(image, attention)
    for i in range(2):
        cells = np.asarray(attention[i])
        if size[0] == 1:
            cells = np.repeat(cells, 2, 0)  # a lone row of cells says nothing of y
        x_line, y_line = loops.attention_coords(cells, (8, 10), dense=dense)
        xs, ys = x_line * 10 / (cells.shape[1] - 1), y_line * 8 / (cells.shape[0] - 1)
        coords = np.stack(np.meshgrid(xs, ys), -1)
        assert_allclose(out["coords"][i], coords, atol=1e-4)
        assert_allclose(y[i], loops.sample(np.asarray(image[i]), coords), atol=2e-4)


def test_with_first_1_it_reads_as_the_references_mxnet_operator():
    _, out = jax.jit(AttentionSampler((224, 224), first=1.0))(jnp.zeros((1, 512, 512, 1)), jnp.ones((1, 512, 512)))
    for line in (out["coords"][0, 0, :, 0], out["coords"][0, :, 0, 1]):
        assert_allclose(np.asarray(line)[[0, 1, 56, 112]], [-1, 0.0057, 126.04, 254.36], atol=5e-3)


@pytest.mark.slow
def test_without_attention_it_resizes_the_image():
    image = normal(1, 8, 8, 2)
    y, _ = jax.jit(AttentionSampler((4, 4)))(image, jnp.zeros((1, 5, 6)))
    lines = np.arange(4) * 7 / 4
    assert_allclose(y[0], loops.sample(np.asarray(image[0]), np.stack(np.meshgrid(lines, lines), -1)), atol=1e-5)


@pytest.mark.slow
def test_a_map_with_a_channel_is_a_map():
    image, attention = normal(2, 9, 11, 3), positive(2, 4, 7)
    sampler = jax.jit(AttentionSampler((8, 10)))
    chex.assert_trees_all_equal(sampler(image, attention), sampler(image, attention[..., None]))


@pytest.mark.slow
def test_no_gradient_reaches_the_map_unless_asked_for():
    image, attention = normal(1, 9, 9, 1), positive(1, 5, 5)

    @jax.jit
    def gradients(image, attention):
        samplers = AttentionSampler((8, 8)), AttentionSampler((8, 8), stop_gradient=False)
        return [jax.grad(lambda *a, s=s: (s(*a)[0] ** 2).sum(), (0, 1))(image, attention) for s in samplers]

    stopped, flowing = gradients(image, attention)
    assert_array_equal(stopped[1], 0)
    assert np.abs(flowing[1]).max() > 1e-4
    assert_allclose(stopped[0], flowing[0], atol=1e-6)
    assert np.abs(stopped[0]).max() > 0.1


def test_bfloat16_images_keep_float32_coordinates():
    half = [array.astype(jnp.bfloat16) for array in (normal(1, 9, 9, 2), positive(1, 4, 4))]
    y, out = jax.eval_shape(AttentionSampler((8, 8)), *half)
    assert (y.dtype, out["coords"].dtype) == (jnp.bfloat16, jnp.float32)


# ---- What it refuses


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: AttentionSampler((8,)), r"shape must be \(height, width\) in pixels, not \(8,\)"),
        (lambda: AttentionSampler((8, 8), dense=0.9), "dense must be at least 1, or None for no clipping, not 0.9"),
        (lambda: AttentionSampler((8, 8), first=-1.0), "first must be a finite number of at least 0, not -1.0"),
        (lambda: AttentionSampler((8, 8), iterations=1.5), "iterations must be a whole number of at least 0, not 1.5"),
        (
            lambda: AttentionSampler((8, 8))(jnp.zeros((9, 9, 1)), jnp.zeros((1, 4, 4))),
            r"image must have the shape \(n, h, w, c\), but it is \(9, 9, 1\)",
        ),
        (
            lambda: AttentionSampler((8, 8))(jnp.zeros((2, 9, 9, 1)), jnp.zeros((1, 4, 4))),
            r"attention must have the shape \(2, h, w\) or .*, but it is \(1, 4, 4\)",
        ),
        (
            lambda: AttentionSampler((8, 8))(jnp.zeros((2, 9, 9, 1)), jnp.zeros((2, 4, 4, 3))),
            r"attention must have the shape \(2, h, w\) or .*, but it is \(2, 4, 4, 3\)",
        ),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_bad_input_is_refused(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


# ---- Inside other people's networks


class Network(nnx.Module):
    """A user's own features, attention, sampling and classifier."""

    def __init__(self, *, rngs):
        self.conv = nnx.Conv(2, 4, (3, 3), strides=2, rngs=rngs)
        self.attention = TrilinearAttention()
        self.sampler = AttentionSampler((6, 6), stop_gradient=False)
        self.classifier = nnx.Linear(72, 3, rngs=rngs)

    def __call__(self, image):
        maps = self.attention(nnx.relu(self.conv(image)))
        y, out = self.sampler(image, maps.sum(-1))
        return self.classifier(y.reshape(len(y), -1)), out


def make_step():
    graphdef, params = nnx.split(Network(rngs=nnx.Rngs(0)))

    def step(params, image):
        def loss(params):
            logits, out = nnx.merge(graphdef, params, copy=True)(image)
            return (jax.nn.log_softmax(logits)[:, 0]).mean(), (logits, out)

        return jax.grad(loss, has_aux=True)(params)

    return step, params


@functools.cache
def trained(graph=True):
    """Gradients and outputs, by whether NNX is in graph mode."""
    with nnx.set_graph_mode(graph), nnx.set_graph_updates(graph):
        step, params = make_step()
        return jax.jit(step)(params, normal(8, 12, 12, 2))


@pytest.mark.slow
def test_a_users_network_trains_in_both_modes_of_nnx_alike():
    assert np.abs(trained(graph=False)[0]["conv"]["kernel"][...]).max() > 1e-6
    for graph, tree in zip(jax.tree.leaves(trained()), jax.tree.leaves(trained(graph=False)), strict=True):
        assert_array_equal(graph, tree)


@pytest.mark.slow
def test_linen_users_may_wrap_it():
    model = nnx.bridge.ToLinen(AttentionSampler, args=((8, 10),), kwargs={"dense": None}, skip_rng=True)
    image, attention = normal(2, 9, 11, 3), positive(2, 4, 7)
    y, _ = model.apply(model.init(jax.random.key(0), image, attention), image, attention)
    assert y.shape == (2, 8, 10, 3)


@pytest.mark.parametrize("mesh_name", ["auto_mesh", "explicit_mesh"])
@pytest.mark.slow
def test_a_batch_over_eight_devices_trains_as_on_one(mesh_name, request):
    mesh = request.getfixturevalue(mesh_name)
    step, params = make_step()
    with jax.set_mesh(mesh):
        whole = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
        image = jax.device_put(normal(8, 12, 12, 2), NamedSharding(mesh, PartitionSpec("data")))
        spread = jax.jit(step)(whole, image)
    assert spread[1][1]["coords"].sharding.spec[0] == "data"
    for one, many in zip(jax.tree.leaves(trained()), jax.tree.leaves(spread), strict=True):
        assert_allclose(one, many, atol=2e-5)
