"""The backbones: parameters, shapes, strides and dilations, training and evaluation, NNX, and torchvision's answers."""

import drawn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run
from drawn_backbones import GOLDENS, abstract, build, shapes, statistics
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from vtnjax.models import VGG, ResNet, count_parameters
from vtnjax.models.backbones._layers import ConvNorm

SMALL = (2, 32, 32, 3)

# torchvision's counts, and those of its classifiers: a linear layer, fc6 to fc8 of VGG, a 1 x 1 convolution.
FC = {512: 512 * 1000 + 1000, 2048: 2048 * 1000 + 1000}
FC678 = (25088 * 4096 + 4096) + (4096 * 4096 + 4096) + (4096 * 1000 + 1000)
COUNTS = {
    "resnet18": 11_689_512 - FC[512],
    "resnet34": 21_797_672 - FC[512],
    "resnet50": 25_557_032 - FC[2048],
    "resnet101": 44_549_160 - FC[2048],
    "vgg16": 138_357_544 - FC678,
    "vgg16_bn": 138_365_992 - FC678,
    "vgg19": 143_667_240 - FC678,
    "vgg19_bn": 143_678_248 - FC678,
    "squeezenet1_1": 1_235_496,
    "googlenet": 6_624_904 - (1024 * 1000 + 1000),  # without its auxiliary classifiers
}


@pytest.fixture(scope="module")
def resnet18():
    return build("resnet18")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if "101" in n else ()) for n in COUNTS])
@pytest.mark.daily("vgg19")
def test_parameters_and_channels(name):
    backbone = abstract(name)
    assert count_parameters(backbone) == COUNTS[name]
    found = shapes(backbone, (1, 32, 32, 3))
    found.pop("logits", None)
    assert backbone.channels == {name: shape[-1] for name, shape in found.items()}


def test_a_squeezenet_without_classes_has_no_classifier():
    trunk = abstract("squeezenet1_1", classes=None)
    assert count_parameters(trunk) == 1_235_496 - (512 * 1000 + 1000)
    assert list(shapes(trunk, (2, 64, 64, 3))) == list(trunk.channels)


# ---- Shapes, strides and dilations


@pytest.mark.parametrize(
    ("name", "options", "sizes"),
    [
        ("resnet50", {}, {"stem": 112, "stage1": 56, "stage2": 28, "stage3": 14, "stage4": 7}),
        ("resnet18", {"strides": (1, 1, 2, 1)}, {"stem": 112, "stage1": 56, "stage2": 56, "stage3": 28, "stage4": 28}),
        ("resnet50", {"strides": (1, 2, 2, 1)}, {"stem": 112, "stage1": 56, "stage2": 28, "stage3": 14, "stage4": 14}),
        ("vgg19", {}, {"conv1": 224, "conv2": 112, "conv3": 56, "conv4": 28, "conv5": 14}),
        ("squeezenet1_1", {"classes": None}, {"conv1": 111, "fire3": 55, "fire5": 27, "fire9": 13}),
        pytest.param(
            "googlenet",
            {},
            {"conv1": 112, "conv3": 56, "inception3b": 28, "inception4a": 14, "inception4e": 14, "inception5b": 7},
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.daily("resnet50-options2-sizes2", "vgg19-options3-sizes3")
def test_features_of_a_224_pixel_image(name, options, sizes):
    found = shapes(abstract(name, **options), (2, 224, 224, 3))
    assert {stage: found[stage][:3] for stage in sizes} == {stage: (2, size, size) for stage, size in sizes.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "strides", "dilations", "step"),
    [
        ("resnet18", (1, 2, 1, 1), (1, 1, 2, 4), 4),
        pytest.param("resnet18", (1, 2, 2, 1), (1, 1, 1, 2), 2, marks=pytest.mark.slow),
        pytest.param("resnet50", (1, 2, 2, 1), (1, 1, 1, 2), 2, marks=pytest.mark.slow),
        pytest.param("resnet50", (1, 2, 1, 1), (1, 1, 2, 4), 4, marks=pytest.mark.slow),
    ],
)
def test_a_dilated_network_computes_the_original_at_more_positions(name, strides, dilations, step):
    image = drawn.image((1, 64, 96, 3))
    expected = run(build(name), image)["stage4"]
    dense = run(build(name, strides=strides, dilations=dilations), image)["stage4"]
    assert dense.shape == (1, 2 * step, 3 * step, expected.shape[-1])
    np.testing.assert_allclose(dense[:, ::step, ::step], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert np.abs(dense[:, 1::step, 1::step] - expected).max() > 0.1


# ---- Torchvision's answers

OPTIONS = {
    "resnet18": {},
    "resnet18_tasn": {"strides": (1, 1, 2, 1)},
    "resnet50_dilated": {"strides": (1, 2, 1, 1), "dilations": (1, 1, 2, 4)},
    "vgg16": {},
    "vgg16_bn": {},
    "squeezenet1_1": {},
    "googlenet": {},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    ["resnet18", "resnet18_tasn", "squeezenet1_1"]
    + [pytest.param(case, marks=pytest.mark.slow) for case in ("resnet50_dilated", "vgg16", "vgg16_bn", "googlenet")],
)
def test_every_feature_is_torchvisions(case):
    name = case.removesuffix("_tasn").removesuffix("_dilated")
    found = run(build(name, **OPTIONS[case]), drawn.image())
    assert {f"{case}/{feature}" for feature in found} == {
        key for key in GOLDENS if key.startswith(f"{case}/") and not key.endswith("/shape")
    }
    for feature, array in found.items():
        expected = GOLDENS[f"{case}/{feature}"]
        assert array.shape == tuple(GOLDENS[f"{case}/{feature}/shape"])
        tolerance = 1e-5 * np.abs(expected).max()
        np.testing.assert_allclose(drawn.sample(feature, np.asarray(array)), expected, rtol=0, atol=tolerance)


# ---- Training and evaluation


def state_and_features(backbone, image):
    graphdef, state = nnx.split(backbone)

    @jax.jit
    def call(state, image):
        copy = nnx.merge(graphdef, state, copy=True)
        features = copy(image)
        return nnx.state(copy), features

    state, features = call(state, image)
    nnx.update(backbone, state)
    return features


@pytest.mark.slow
def test_training_normalises_with_the_batchs_statistics_and_keeps_a_tenth_of_them():
    backbone, image = build("resnet18"), drawn.image(SMALL)
    before = statistics(backbone)
    backbone.train()
    features = state_and_features(backbone, image)
    after = statistics(backbone)
    kernel = np.asarray(backbone.stem.conv.kernel[...], np.float64)
    padded = np.pad(image, ((0, 0), (3, 3), (3, 3), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (7, 7), (1, 2))[:, ::2, ::2]
    x = np.einsum("nhwcij,ijco->nhwo", windows, kernel)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(after["stem.norm.mean"], 0.9 * before["stem.norm.mean"] + 0.1 * mean, atol=1e-5)
    np.testing.assert_allclose(after["stem.norm.var"], 0.9 * before["stem.norm.var"] + 0.1 * var, rtol=1e-4)
    scale, bias = (np.asarray(v[...]) for v in (backbone.stem.norm.scale, backbone.stem.norm.bias))
    expected = np.maximum((x - mean) / np.sqrt(var + 1e-5) * scale + bias, 0)
    np.testing.assert_allclose(features["stem"], expected, atol=1e-4)
    assert all(np.abs(after[name] - before[name]).max() > 1e-4 for name in before)


@pytest.mark.slow
def test_evaluation_leaves_the_statistics_and_treats_each_image_alone(resnet18):
    image, before = drawn.image(SMALL), statistics(resnet18)
    together = state_and_features(resnet18, image)
    alone = run(resnet18, image[:1])
    assert all(np.array_equal(before[name], after) for name, after in statistics(resnet18).items())
    np.testing.assert_allclose(together["stage4"][:1], alone["stage4"], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet18", *(pytest.param(n, marks=pytest.mark.slow) for n in ("vgg16_bn", "googlenet"))]
)
def test_frozen_statistics_are_used_and_left_in_training(name):
    frozen, image = build(name, frozen_statistics=True), drawn.image(SMALL)
    expected = run(build(name), image)
    frozen.train()
    before = statistics(frozen)
    found = state_and_features(frozen, image)
    for feature, array in expected.items():
        np.testing.assert_array_equal(found[feature], array)
    assert all(np.array_equal(before[name], after) for name, after in statistics(frozen).items())


@pytest.mark.slow
def test_frozen_statistics_leave_scale_and_bias_to_be_learned():
    backbone = build("resnet18", frozen_statistics=True)
    backbone.train()
    graphdef, params, rest = nnx.split(backbone, nnx.Param, ...)

    def loss(params, image):
        return nnx.merge(graphdef, params, rest, copy=True)(image)["stage4"].mean()

    gradients = jax.jit(jax.grad(loss))(params, drawn.image(SMALL))
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))
    assert len(jax.tree.leaves(gradients)) == 3 * 20  # 20 convolutions, each with a scale and a bias after it


# ---- Dtypes


@pytest.mark.slow
def test_bfloat16_computes_in_bfloat16_with_statistics_in_float32():
    half, image = build("resnet18", dtype=jnp.bfloat16), drawn.image(SMALL)
    half.train()
    found = state_and_features(half, jnp.asarray(image, jnp.bfloat16))
    assert {feature.dtype for feature in found.values()} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(half))} == {jnp.dtype(jnp.float32)}


@pytest.mark.slow
def test_bfloat16_reads_running_statistics_as_they_are():
    half, image = build("resnet18", dtype=jnp.bfloat16), drawn.image(SMALL)
    exact, shift = build("resnet18"), 1000.2  # A mean far from zero, which bfloat16 would round to 1000.
    for backbone in (half, exact):
        backbone.stem.norm.mean[...] += shift
        backbone.stem.norm.bias[...] += (
            shift * backbone.stem.norm.scale[...] / jnp.sqrt(backbone.stem.norm.var[...] + 1e-5)
        )
    found, expected = run(half, jnp.asarray(image, jnp.bfloat16))["stem"], run(exact, image)["stem"]
    np.testing.assert_allclose(found.astype(jnp.float32), expected, atol=0.05)


def test_param_dtype_is_that_of_the_parameters():
    backbone = abstract("resnet18", param_dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(backbone, nnx.Param))} == {jnp.dtype(jnp.bfloat16)}


# ---- NNX


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_graph_mode_on_and_off_agree(name):
    image = drawn.image(SMALL)
    expected = run(build(name), image)
    with nnx.set_graph_mode(False), nnx.set_graph_updates(False):
        found = run(build(name), image)
    for feature, array in expected.items():
        np.testing.assert_array_equal(found[feature], array)


def test_a_vgg_splits_and_merges_without_graph_mode():
    with nnx.set_graph_mode(False), nnx.set_graph_updates(False):
        assert shapes(abstract("vgg16_bn"), SMALL)["conv5"] == (2, 2, 2, 512)


@pytest.mark.slow
def test_a_linen_user_trains_and_evaluates_it():
    model, image = nnx.bridge.ToLinen(ResNet, args=("resnet18",)), drawn.image(SMALL)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    assert set(variables) >= {"params", "batch_stats"}
    variables = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 0.1, leaf.dtype), variables)
    features, changed = jax.jit(lambda v, x: model.apply(v, x, mutable=["batch_stats"]))(variables, image)
    assert features["stage4"].shape == (2, 1, 1, 512)
    assert np.abs(changed["batch_stats"]["stem"]["norm"]["mean"] - 0.1).max() > 1e-4


def test_random_weights_are_those_of_torchvision():
    kernel = ConvNorm(64, 256, 3, rngs=nnx.Rngs(0)).conv.kernel[...]
    assert kernel.shape == (3, 3, 64, 256)
    assert abs(kernel.std() - (2 / (9 * 256)) ** 0.5) < 0.01 * kernel.std()  # He's, over the outputs
    assert np.abs(kernel).max() > 3 * kernel.std()  # not truncated


@pytest.mark.slow
def test_a_batch_over_eight_devices_of_an_explicit_mesh_has_global_statistics(explicit_mesh):
    backbone, image = build("resnet18"), drawn.image((8, 32, 32, 3))
    backbone.train()
    graphdef, state = nnx.split(backbone)
    call = jax.jit(lambda state, image: nnx.merge(graphdef, state, copy=True)(image)["stage3"])
    alone = call(state, image)
    with jax.set_mesh(explicit_mesh):
        state = jax.device_put(state, NamedSharding(explicit_mesh, PartitionSpec()))
        spread = call(state, jax.device_put(image, NamedSharding(explicit_mesh, PartitionSpec("data"))))
    assert spread.sharding.spec[0] == "data"
    np.testing.assert_allclose(spread, alone, atol=1e-4 * np.abs(alone).max())


# ---- Errors


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((ResNet, "resnet51"), r"name must be one of 'resnet18', .*, not 'resnet51'; did you mean 'resnet50'"),
        ((VGG, "vgg-19"), r"name must be one of 'vgg16', .*, not 'vgg-19'; did you mean 'vgg19'"),
        ((ResNet, "resnet18", {"strides": (1, 2)}), r"strides must be four whole numbers of .*, not \(1, 2\)"),
        (
            (ResNet, "resnet18", {"strides": (1, 2, 0, 1)}),
            r"strides must be four .* at least 1, .*, not \(1, 2, 0, 1\)",
        ),
        ((ResNet, "resnet18", {"dilations": (1, 1, 1.5, 2)}), r"dilations must be four .*, not \(1, 1, 1\.5, 2\)"),
        ((ResNet, "resnet18", {"dilations": 2}), r"dilations must be four whole numbers .*, not 2"),
    ],
)
def test_bad_arguments_are_refused_when_it_is_built(arguments, sentence, untyped):
    cls, name, options = (*arguments, {})[:3]
    with pytest.raises(ValueError, match=sentence):
        cls(name, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize(
    ("name", "shape", "sentence"),
    [
        ("resnet18", (32, 32, 3), r"image must have the shape \(n, h, w, 3\), but it is \(32, 32, 3\)"),
        ("vgg16", (2, 32, 32, 1), r"image must have the shape \(n, h, w, 3\), but it is \(2, 32, 32, 1\)"),
        ("vgg16", (2, 32, 15, 3), r"image must be at least 16 x 16 pixels .*, not 32 x 15"),
        (
            "squeezenet1_1",
            (2, 16, 32, 3),
            r"image must be at least 17 x 17 pixels .*, not 16 x 32",
        ),
        ("googlenet", (2, 14, 32, 3), r"image must be at least 15 x 15 pixels .*, not 14 x 32"),
    ],
)
@pytest.mark.daily("resnet18*", "vgg16*", "squeezenet*")
def test_images_of_another_kind_are_refused(name, shape, sentence, untyped):
    with pytest.raises(ValueError, match=sentence):
        shapes(abstract(name), shape)


@pytest.mark.parametrize(
    ("name", "size"),
    [("resnet18", 1), ("vgg16", 16), ("squeezenet1_1", 17), pytest.param("googlenet", 15, marks=pytest.mark.slow)],
)
@pytest.mark.daily("vgg16-16")
def test_the_smallest_images_give_at_least_one_position(name, size):
    assert all(min(shape) >= 1 for shape in shapes(abstract(name), (1, size, size, 3)).values())
