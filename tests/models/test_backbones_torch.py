"""The backbones against torchvision's models live: every stage, gradients, training, and its own files."""

import drawn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run
from drawn_backbones import SHAPES, abstract, build, statistics
from flax import nnx

from vtnjax.models import load_pretrained

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def theirs(torch):
    """The module over torchvision, which only these tests may import."""
    pytest.importorskip("PIL")
    import torch_backbones

    return torch_backbones


def assert_close(found, expected, tolerance=1e-5):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, rtol=0, atol=tolerance * np.abs(array).max(), err_msg=name)


SLOW = ("resnet34", "resnet101", "vgg19", "vgg19_bn")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in SLOW else ()) for n in SHAPES])
def test_every_stage(theirs, name):
    image = drawn.image((2, 75, 94, 3))
    assert_close(run(build(name), image), theirs.features(theirs.build(name), image))


@pytest.mark.parametrize(
    ("name", "ours", "options"),
    [
        ("resnet18", {"strides": (1, 1, 2, 1)}, {"stride_1": (2, 4)}),
        ("resnet50", {"strides": (1, 2, 2, 1)}, {"stride_1": (4,)}),
        ("resnet50", {"strides": (1, 2, 2, 1), "dilations": (1, 1, 1, 2)}, {"dilated": (False, False, True)}),
        ("resnet50", {"strides": (1, 1, 1, 1), "dilations": (1, 2, 4, 8)}, {"dilated": (True, True, True)}),
    ],
)
def test_strides_and_dilations(theirs, name, ours, options):
    image = drawn.image((1, 75, 94, 3))
    assert_close(run(build(name, **ours), image), theirs.features(theirs.build(name, **options), image))


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vgg16", "squeezenet1_1"])
def test_gradients(torch, theirs, name):
    """Of a random function of the last feature, for the image and for the first kernel, in float64."""
    model, image = theirs.build(name).double(), drawn.image((1, 40, 51, 3)).astype(np.float64)
    pixels = torch.from_numpy(image).requires_grad_()
    value = list(theirs.tensors(model, pixels).values())[-1]
    cotangent = np.random.default_rng(1).standard_normal(value.shape)
    value.backward(torch.from_numpy(cotangent))
    kernel = next(model.parameters()).grad.numpy().transpose(2, 3, 1, 0)
    with jax.enable_x64(True):
        backbone = build(name, dtype=jnp.float64, param_dtype=jnp.float64)
        graphdef, params, rest = nnx.split(backbone, nnx.Param, ...)

        def loss(params, image):
            last = list(nnx.merge(graphdef, params, rest)(image).values())[-1]
            return (last * np.moveaxis(cotangent, 1, -1)).sum()

        d_params, d_image = jax.jit(jax.grad(loss, (0, 1)))(params, image)
    first = next(leaf for path, leaf in nnx.to_flat_state(d_params) if leaf.shape == kernel.shape)
    np.testing.assert_allclose(d_image, pixels.grad.numpy(), rtol=0, atol=1e-9 * np.abs(d_image).max())
    np.testing.assert_allclose(first[...], kernel, rtol=0, atol=1e-9 * np.abs(kernel).max())


def test_training_differs_only_in_the_unbiased_variance(torch, theirs):
    model, backbone, image = theirs.build("resnet18").train(), build("resnet18"), drawn.image((4, 64, 96, 3))
    before = statistics(backbone)
    expected = theirs.features(model, image)
    backbone.train()
    graphdef, state = nnx.split(backbone)

    @jax.jit
    def call(state, image):
        copy = nnx.merge(graphdef, state, copy=True)
        features = copy(image)
        return features, nnx.state(copy, nnx.BatchStat)

    features, changed = call(state, image)
    assert_close(features, expected, tolerance=1e-4)
    nnx.update(backbone, changed)
    after, norm = statistics(backbone), model.layer4[1].bn2
    count = 4 * 2 * 3
    name = "stages.3.1.layers.1.norm"
    np.testing.assert_allclose(after[f"{name}.mean"], norm.running_mean.numpy(), atol=1e-4)
    old = 0.9 * np.asarray(before[f"{name}.var"])
    unbiased = (norm.running_var.numpy() - old) * (count - 1) / count
    np.testing.assert_allclose(after[f"{name}.var"] - old, unbiased, rtol=1e-3, atol=1e-5)


# ---- PyTorch's files


@pytest.fixture
def model(theirs):
    return theirs.build("resnet18")


def test_a_pth_file(torch, model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "resnet18.pth")
    backbone, expected = abstract("resnet18"), build("resnet18")
    load_pretrained(backbone, tmp_path / "resnet18.pth")
    for (_, found), (_, leaf) in zip(
        *(nnx.to_flat_state(nnx.state(module)) for module in (backbone, expected)), strict=True
    ):
        np.testing.assert_array_equal(found[...], leaf[...])


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "vgg19", "vgg19_bn"])
def test_the_names_and_shapes_of_timms_model(theirs, name):
    timm = pytest.importorskip("timm")
    model = timm.create_model(name)
    trunk = abstract(name)
    load_pretrained(trunk, {key: tensor.numpy() for key, tensor in model.state_dict().items()})
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(nnx.state(trunk)))
