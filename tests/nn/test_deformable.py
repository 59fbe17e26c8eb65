"""Where the layer starts, what it predicts, what it refuses, and the layer inside other people's networks."""

import contextlib

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from compiled import run
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from vtnjax.nn import DeformableConv


def features(*sizes, count=2, channels=4, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, *(sizes or (6, 7)), channels))
    return jnp.asarray(values, jnp.float32)


def make(features_in=4, features_out=5, *args, **options):
    return DeformableConv(features_in, features_out, *args, rngs=nnx.Rngs(0), **options)


def ordinary(layer, **options):
    """Flax's own convolution with the layer's kernel and bias."""
    conv = nnx.Conv(layer.features_in, layer.kernel.shape[-1], layer.kernel_size, rngs=nnx.Rngs(1), **options)
    conv.kernel[...] = layer.kernel[...]
    conv.bias[...] = layer.bias[...]
    return conv


def stir(layer, amount=0.3):
    """Make the layer predict other offsets everywhere, and a bias."""
    for number, parameter in enumerate((layer.predictor.kernel, layer.predictor.bias, layer.bias)):
        parameter[...] = amount * jax.random.normal(jax.random.key(number), parameter.shape)
    return layer


# ---- Where it starts


@pytest.mark.parametrize(
    ("kernel_size", "options", "plain"),
    [
        ((3, 3), {}, {}),
        ((3, 3), {"stride": 2, "groups": 2}, {"strides": 2}),
        ((2, 3), {"dilation": (2, 1), "padding": "VALID"}, {"kernel_dilation": (2, 1), "padding": "VALID"}),
        ((3, 3), {"stride": 2, "padding": ((1, 1), (1, 1))}, {"strides": 2, "padding": ((1, 1), (1, 1))}),
        ((3, 3), {"mask": True, "mask_scale": 2.0, "groups": 4}, {}),
        ((3, 3), {"features_out": 6, "feature_group_count": 2, "groups": 4}, {"feature_group_count": 2}),
        ((3, 3), {"features_out": 8, "feature_group_count": 4}, {"feature_group_count": 4}),
    ],
)
@pytest.mark.daily("kernel_size5-options5-plain5")
def test_an_untrained_layer_is_the_ordinary_convolution(kernel_size, options, plain):
    layer = make(**{"features_in": 4, "features_out": 5, "kernel_size": kernel_size, **options})
    layer.bias[...] = jnp.arange(float(layer.bias.size))
    y, out = run(layer, features())
    np.testing.assert_allclose(y, run(ordinary(layer, **plain), features()), atol=1e-5)
    np.testing.assert_array_equal(out["offsets"], 0)


def test_an_untrained_mask_halves_it_as_in_the_paper():
    layer = make(mask=True)
    y, out = run(layer, features())
    np.testing.assert_array_equal(out["mask"], 0.5)
    np.testing.assert_allclose(y, 0.5 * run(ordinary(layer), features()), atol=1e-5)


@pytest.mark.parametrize("mask", [False, True])
def test_every_parameter_has_a_gradient_from_the_start(mask):
    layer = make(mask=mask, groups=2)
    graphdef, params, rest = nnx.split(layer, nnx.Param, ...)
    target = jax.random.normal(jax.random.key(2), (2, 6, 7, 5))

    def loss(params):
        y, _ = nnx.merge(graphdef, params, rest, copy=True)(features())
        return ((y - target) ** 2).mean()

    gradients = jax.jit(jax.grad(loss))(params)
    for gradient in (gradients["kernel"], gradients["bias"], gradients["predictor"]["bias"]):
        assert np.abs(gradient[...]).min() > 1e-7
    assert (np.abs(gradients["predictor"]["kernel"][...]).max((0, 1, 2)) > 1e-6).all()


# ---- What it predicts


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.daily("True")
def test_out_tells_what_was_read(mask):
    layer = stir(make(mask=mask, groups=2, stride=2))
    x = features()
    y, out = run(layer, x)
    assert out["offsets"].shape == out["coords"].shape == (2, 3, 4, 2, 3, 3, 2)
    assert np.abs(out["offsets"]).max() > 0.5
    assert ("mask" in out) == mask
    for i in range(2):
        offsets = np.asarray(out["offsets"][i], np.float64)
        weights = np.asarray(out["mask"][i]) if mask else None
        options = {"stride": (2, 2), "pads": ((0, 1), (1, 1))}  # of 6 x 7 pixels
        expected = loops.deformable_conv(np.asarray(x[i]), np.asarray(layer.kernel[...]), offsets, weights, **options)
        np.testing.assert_allclose(y[i], expected + np.asarray(layer.bias[...]), atol=1e-4)
    coords, offsets = (np.asarray(out[name])[:, 1, 2, :, 0, 2] for name in ("coords", "offsets"))
    np.testing.assert_allclose(
        coords - offsets, np.broadcast_to([5.0, 2.0], offsets.shape), atol=1e-5
    )  # column 2 x 2 - 1 + 2, row 1 x 2 + 0


@pytest.mark.slow
def test_convention_the_predictor_says_x_and_y_of_each_cell_of_each_group_and_then_the_masks():
    layer = make(4, 5, (2, 3), mask=True, groups=2)
    layer.predictor.bias[...] = jnp.arange(36.0) / 10
    _, out = run(layer, features())
    expected = np.arange(24).reshape(2, 2, 3, 2) / 10
    np.testing.assert_allclose(out["offsets"][1, 3, 4], expected, rtol=1e-6)
    logits = np.arange(24, 36).reshape(2, 2, 3) / 10
    np.testing.assert_allclose(out["mask"][1, 3, 4], 1 / (1 + np.exp(-logits)), rtol=1e-5)


def test_mask_scale_doubles_what_the_mask_multiplies():
    single, double = stir(make(mask=True)), stir(make(mask=True, mask_scale=2.0))
    np.testing.assert_allclose(run(double, features())[1]["mask"], 2 * run(single, features())[1]["mask"], rtol=1e-6)


def test_without_a_bias():
    layer = make(use_bias=False)
    assert layer.bias is None
    np.testing.assert_array_equal(run(layer, jnp.zeros((1, 4, 4, 4)))[0], 0)


@pytest.mark.parametrize(("dtype", "expected"), [(jnp.bfloat16, jnp.bfloat16), (None, jnp.float32)])
@pytest.mark.daily("None-float32")
def test_bfloat16_features_keep_float32_offsets(dtype, expected):
    layer = stir(make(dtype=dtype, mask=True))
    x = features().astype(jnp.bfloat16)
    y, out = run(layer, x)
    assert y.dtype == expected
    assert {value.dtype for value in out.values()} == {jnp.dtype(jnp.float32)}
    layer.dtype = None
    exact, _ = run(layer, x.astype(jnp.float32))
    np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=0.1)


# ---- What it refuses


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"features_in": 0}, "features_in and features_out must be at least 1, not 0 and 5"),
        ({"groups": 3}, "groups must be a whole number that divides the 4 features in, not 3"),
        ({"groups": 0}, "groups must be a whole number that divides the 4 features in, not 0"),
        ({"feature_group_count": 2}, "feature_group_count must .* the 4 channels .* and the 5 that go out, not 2"),
        ({"feature_group_count": 0}, "feature_group_count must be a whole number that divides .*, not 0"),
        ({"mask_scale": 2.0}, "mask_scale must be 1.0 without a mask, not 2.0"),
        ({"kernel_size": (3, 0)}, r"kernel_size must be a whole number of at least 1, or two .*, not \(3, 0\)"),
        ({"stride": 0}, "stride must be a whole number of at least 1, or two .*, not 0"),
        ({"dilation": (1, 2, 3)}, r"dilation must be a whole number of at least 1, or two .*, not \(1, 2, 3\)"),
        ({"padding": "CIRCULAR"}, "padding must be 'SAME', 'VALID' or .* in pixels, not 'CIRCULAR'"),
    ],
)
@pytest.mark.usefixtures("untyped")
def test_bad_arguments_are_refused_when_it_is_built(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**options)


@pytest.mark.usefixtures("untyped")
def test_bad_features_are_refused():
    with pytest.raises(ValueError, match=r"x must have the shape \(n, h, w, 4\), but it is \(6, 7, 4\)"):
        make()(jnp.zeros((6, 7, 4)))
    with pytest.raises(ValueError, match=r"x must have the shape \(n, h, w, 4\), but it is \(2, 6, 7, 3\)"):
        make()(jnp.zeros((2, 6, 7, 3)))
    with pytest.raises(ValueError, match="x must be floating point, but its dtype is uint8"):
        make()(jnp.zeros((2, 6, 7, 4), jnp.uint8))


# ---- Inside other people's networks


class Network(nnx.Module):
    """A user's own, with a layer of each version."""

    def __init__(self, channels=2, *, rngs):
        self.first = DeformableConv(channels, 6, stride=2, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.second = DeformableConv(6, 8, groups=3, mask=True, rngs=rngs)
        self.classifier = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        x, first = self.first(x)
        x, second = self.second(nnx.relu(self.norm(x)))
        return self.classifier(x.mean((1, 2))), {"first": first, "second": second}


def make_step(network):
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)

    def step(params, rest, x, labels):
        def loss(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            logits, out = model(x)
            chosen = jax.nn.log_softmax(logits) * jax.nn.one_hot(labels, 3)
            return -jnp.mean(jnp.sum(chosen, axis=-1)), (logits, out)

        (_, (logits, out)), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients), logits, out, gradients

    return step, (params, rest)


def stirred_network():
    network = Network(rngs=nnx.Rngs(0))
    stir(network.first)
    stir(network.second)
    return network


def batch():
    return features(10, 10, count=8, channels=2), jnp.arange(8) % 3


@pytest.fixture(scope="module")
def trained():
    """What a step gives, by whether NNX is in graph mode."""
    found = {}
    for graph in (True, False):
        with contextlib.ExitStack() as stack:
            if not graph:
                stack.enter_context(nnx.set_graph_mode(False))
                stack.enter_context(nnx.set_graph_updates(False))
            step, state = make_step(stirred_network())
            found[graph] = jax.jit(step)(*state, *batch())
    return found


@pytest.mark.slow
def test_a_users_network_trains_in_both_modes_of_nnx_alike(trained):
    gradients = trained[False][3]
    for name in ("first", "second"):
        for leaf in (gradients[name]["kernel"], gradients[name]["predictor"]["kernel"]):
            assert np.abs(leaf[...]).max() > 1e-6
    for graph, tree in zip(jax.tree.leaves(trained[True]), jax.tree.leaves(trained[False]), strict=True):
        np.testing.assert_array_equal(graph, tree)


@pytest.mark.slow
def test_linen_users_train_it_through_the_bridge():
    model = nnx.bridge.ToLinen(DeformableConv, args=(2, 4), kwargs={"mask": True})
    x, _ = batch()
    variables = jax.jit(model.init)(jax.random.key(0), x)
    assert set(variables["params"]) == {"kernel", "bias", "predictor"}

    def loss(params):
        (y, out), _ = model.apply({"params": params}, x, mutable=["batch_stats"])
        return (y**2).sum(), out

    gradients, out = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    assert out["coords"].shape == (8, 10, 10, 1, 3, 3, 2)
    assert np.abs(jax.tree.leaves(gradients["predictor"])[0]).max() > 1e-6


@pytest.mark.parametrize("mesh_name", ["auto_mesh", "explicit_mesh"])
@pytest.mark.slow
def test_a_batch_over_eight_devices_trains_as_on_one(mesh_name, request, trained):
    mesh = request.getfixturevalue(mesh_name)
    step, state = make_step(stirred_network())
    with jax.set_mesh(mesh):
        whole = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
        spread = jax.jit(step)(*whole, *jax.device_put(batch(), NamedSharding(mesh, PartitionSpec("data"))))
    assert spread[2]["second"]["coords"].sharding.spec[0] == "data"
    for one, many in zip(jax.tree.leaves(trained[True]), jax.tree.leaves(spread), strict=True):
        np.testing.assert_allclose(one, many, atol=2e-5)
