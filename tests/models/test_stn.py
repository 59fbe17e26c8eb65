"""The networks of the STN paper: sizes, layers, where they start, and their errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from numpy.testing import assert_allclose

from vtnjax.models import STN, count_parameters, layers, stn

WARPS = ("translation", "attention", "affine", "projective", "tps", "linear")
THETA = {
    "translation": (2,),
    "attention": (3,),
    "affine": (2, 3),
    "projective": (8,),
    "tps": (16, 2),
    "linear": (2, 16),
}
IMAGES = {28: 1, 42: 2, 60: 2}  # sizes of A.4, and the pooling after the transformer

NETWORKS = [
    (model, warp, size, pool)
    for model in layers.MODELS
    for warp in (WARPS if model.startswith("st_") else WARPS[:1])
    for size, pool in IMAGES.items()
]


def make(model, size=28, **options):
    return STN(model, (size, size, 1), rngs=nnx.Rngs(0), **options)


def abstract(model, size=28, **options):
    return nnx.eval_shape(lambda: make(model, size, **options))


def images(size, count=2, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(0).random((count, size, size, 1)), dtype)


def weights(module):
    """The shapes of the kernels by name."""
    flat = nnx.to_flat_state(nnx.state(module, nnx.Param))
    return {".".join(map(str, path[:-1])): leaf.shape for path, leaf in flat if path[-1] == "kernel"}


@pytest.mark.parametrize(("model", "warp", "size", "pool"), NETWORKS)
@pytest.mark.daily("st_fcn-affine-28-1", "st_cnn-affine-60-2")
def test_every_network_has_400k_parameters_within_5_percent(model, warp, size, pool):
    network = abstract(model, size, warp=warp, pool=pool)
    assert abs(count_parameters(network) - 400_000) <= 20_000
    graphdef, state = nnx.split(network)
    batch = jax.ShapeDtypeStruct((2, size, size, 1), jnp.float32)
    logits, out = jax.eval_shape(lambda state, image: nnx.merge(graphdef, state)(image), state, batch)
    assert logits.shape == (2, 10)
    if model.startswith("st_"):
        assert out["theta"].shape == (2, *THETA[warp])
        assert out["warped"].shape == (2, size, size, 1)
        assert out["coords"].shape == (2, size, size, 2)
    else:
        assert set(out) == {"features"}


def test_other_counts_and_classes_may_be_asked_for():
    network = abstract("st_fcn", parameters=100_000, classes=200)
    assert abs(count_parameters(network) - 100_000) <= 5_000
    assert network.classifier.classifier.out_features == 200


@pytest.mark.parametrize("model", layers.MODELS)
def test_the_classifier_has_three_weight_layers(model):
    kernels = list(weights(abstract(model).classifier).values())
    assert len(kernels) == 3
    width = kernels[-2][-1]
    if model.endswith("cnn"):
        by_name = weights(abstract(model).classifier)
        assert by_name["conv1"] == (9, 9, 1, width)
        assert by_name["conv2"] == (7, 7, width, width)
    else:
        assert set(weights(abstract(model).classifier).values()) == {(784, width), (width, width), (width, 10)}


def test_the_fcn_localiser_is_that_of_the_paper():
    network = abstract("st_fcn")
    assert sorted(weights(network.transformer.localiser).values()) == [(32, 32), (32, 32), (784, 32)]
    assert network.transformer.head.kernel.shape == (32, 6)


def test_the_cnn_localiser_is_that_of_the_paper():
    network = abstract("st_cnn", 42, pool=2)
    cells = 4 * 4  # 42 at half size 21, convolved 17, pooled 8, convolved 4
    assert weights(network.transformer.localiser) == {
        "conv1": (5, 5, 1, 20),
        "conv2": (5, 5, 20, 20),
        "hidden": (cells * 20, 20),
    }
    assert network.transformer.head.kernel.shape == (20, 6)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["st_fcn", "st_cnn"])
def test_the_transformer_starts_at_the_identity_and_learns(model):
    network, image = make(model), images(28)
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)

    def loss(params):
        logits, out = nnx.merge(graphdef, params, rest, copy=True)(image)
        return -jax.nn.log_softmax(logits)[:, 3].mean(), out

    gradients, out = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert_allclose(out["warped"], image, atol=1e-5)
    np.testing.assert_array_equal(network.transformer.head.kernel[...], 0)
    assert np.abs(gradients["transformer"]["head"]["kernel"][...]).max() > 1e-6


def average_pooled(image, size):
    n, h, w, c = image.shape
    h, w = h // size, w // size
    return np.asarray(image)[:, : h * size, : w * size].reshape(n, h, size, w, size, c).mean((2, 4))


@pytest.mark.slow
@pytest.mark.parametrize("size", [42, 43])
def test_the_classifier_sees_the_warped_image_pooled_by_2(size):
    network, image = make("st_fcn", size, pool=2), images(size)
    network.transformer.head.bias[...] = jnp.array([0.8, 0.2, 0.1, -0.2, 0.8, 0.0])
    logits, out = run(network, image)
    expected, _ = run(network.classifier, jnp.asarray(average_pooled(out["warped"], 2)))
    assert np.abs(out["warped"] - image).max() > 0.1
    assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["fcn", "cnn"])
def test_without_a_transformer_the_image_is_pooled(model):
    network, image = make(model, 42, pool=2), images(42)
    logits, out = run(network, image)
    assert set(out) == {"features"}
    assert_allclose(logits, run(network.classifier, jnp.asarray(average_pooled(image, 2)))[0], atol=1e-5)


@pytest.mark.parametrize("size", [21, 22, 28])
@pytest.mark.daily("21")
def test_the_cnn_keeps_the_last_odd_row_and_column(size):
    network, image = make("cnn", size), images(size)
    with_corner = image.at[:, -1, -1].add(5.0)
    assert np.abs(run(network, image)[0] - run(network, with_corner)[0]).max() > 1e-5


@pytest.mark.parametrize("model", layers.MODELS)
@pytest.mark.daily("cnn")
def test_bfloat16_computes_in_bfloat16_and_gives_float32_logits(model):
    network = make(model, dtype=jnp.bfloat16)
    logits, out = run(network, images(28, dtype=jnp.bfloat16))
    exact, _ = run(make(model), images(28))
    assert logits.dtype == jnp.float32
    assert out["features"].dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(network, nnx.Param)))
    if model.startswith("st_"):
        assert {out["theta"].dtype, out["coords"].dtype} == {jnp.dtype(jnp.float32)}
        assert out["warped"].dtype == jnp.bfloat16
    assert 0 < np.abs(logits - exact).max() < 0.05


def test_the_seed_decides_the_weights():
    one, same, other = (
        jax.tree.leaves(nnx.state(STN("st_fcn", (28, 28, 1), rngs=nnx.Rngs(s)), nnx.Param)) for s in (0, 0, 1)
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("model", ["st_fcn", "st_cnn"])
def test_a_batch_over_eight_devices_of_an_explicit_mesh(model, explicit_mesh):
    network = make(model, 42, pool=2)
    graphdef, state = nnx.split(network)
    call = jax.jit(lambda state, image: nnx.merge(graphdef, state)(image)[0])
    alone = call(state, images(42, 8))
    with jax.set_mesh(explicit_mesh):
        state = jax.device_put(state, NamedSharding(explicit_mesh, PartitionSpec()))
        spread = call(state, jax.device_put(images(42, 8), NamedSharding(explicit_mesh, PartitionSpec("data"))))
    assert spread.sharding.spec[0] == "data"
    assert_allclose(spread, alone, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"model": "stcnn"}, "model must be one of .*'st_cnn'.*, not 'stcnn'; did you mean 'st_cnn'"),
        ({"model": "cnn", "size": 20}, "shape must leave a CNN at least 21 x 21 pixels after pooling, not 20 x 20"),
        ({"model": "st_cnn", "size": 40, "pool": 2}, "at least 21 x 21 pixels after pooling, not 20 x 20"),
        ({"model": "st_cnn", "size": 27}, "shape must be at least 28 x 28 pixels for the localiser .*, not 27 x 27"),
        ({"model": "st_fcn", "parameters": 20_000}, "parameters must exceed what the transformer alone has"),
        ({"model": "st_fcn", "warp": "afine"}, "warp must be one of .*; did you mean 'affine'"),
    ],
)
def test_bad_arguments_are_refused_when_it_is_built(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**arguments)


@pytest.mark.slow
def test_a_learned_basis_starts_at_the_identity_and_learns():
    network = make("st_fcn", warp="linear")
    pixels = images(28)
    _, out = run(network, pixels)
    assert_allclose(out["coords"][0], np.stack(np.meshgrid(np.arange(28), np.arange(28)), -1), atol=1e-3)
    assert_allclose(out["warped"], pixels, atol=1e-3)
    network.transformer.head.bias[...] += 0.05  # theta, not the basis alone, moves the grid
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)
    slopes = jax.jit(jax.grad(lambda params: (nnx.merge(graphdef, params, rest, copy=True)(pixels)[0] ** 2).sum()))(
        params
    )
    assert jnp.abs(slopes["transformer"]["basis"][...]).max() > 0
    assert jnp.abs(slopes["transformer"]["head"]["bias"][...]).max() > 0


def test_the_basis_says_any_affine_warp_but_only_smooth_ones():
    basis = np.asarray(stn.linear_basis((20, 30)), np.float64)
    assert basis.shape == (16, 20, 30)
    y, x = np.meshgrid(np.linspace(-1, 1, 20), np.linspace(-1, 1, 30), indexing="ij")

    def residual(wanted):
        flat = basis.reshape(16, -1).T
        return np.abs(flat @ np.linalg.lstsq(flat, wanted.ravel(), rcond=None)[0] - wanted.ravel()).max()

    assert residual(0.3 * x - 0.7 * y + 0.2) < 1e-5
    assert residual(np.cos(np.pi * (x + 1) / 2) * np.cos(np.pi * (y + 1) / 2)) < 1e-5
    assert residual(np.sin(20 * x)) > 0.5


@pytest.mark.parametrize("pool", [0, 29])
def test_pooling_that_leaves_nothing_is_refused(pool):
    with pytest.raises(
        ValueError, match=f"pool must be from 1 to the 28 pixels of the image's shorter side, not {pool}"
    ):
        abstract("st_fcn", 28, pool=pool)
