"""Inception against a PyTorch model of its own, with torchvision's names: every stage, gradients and training."""

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
    """The module over PyTorch, which only these tests may import."""
    import torch_googlenet

    return torch_googlenet


def as_arrays(tensors):
    return {name: np.moveaxis(tensor.detach().numpy(), 1, -1) for name, tensor in tensors.items()}


def test_the_names_are_those_of_torchvision_without_its_classifiers(theirs):
    found = {key: tuple(tensor.shape) for key, tensor in theirs.Trunk().state_dict().items()}
    heads = ("fc.", "aux1.", "aux2.")
    assert found == {k: tuple(v) for k, v in SHAPES["googlenet"].items() if not k.startswith(heads)}


@pytest.mark.parametrize("shape", [(2, 75, 94, 3), (1, 224, 224, 3), (3, 15, 18, 3)])
def test_every_stage(torch, theirs, shape):
    image = drawn.image(shape)
    expected = as_arrays(theirs.build().tensors(torch.from_numpy(image)))
    found = run(build("googlenet"), image)
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-5 * np.abs(array).max(), err_msg=name)


def test_a_pth_file(torch, theirs, tmp_path):
    torch.save(theirs.build().state_dict(), tmp_path / "googlenet.pth")
    backbone, expected = abstract("googlenet"), build("googlenet")
    load_pretrained(backbone, tmp_path / "googlenet.pth")
    for (path, found), (_, leaf) in zip(
        *(nnx.to_flat_state(nnx.state(module)) for module in (backbone, expected)), strict=True
    ):
        np.testing.assert_array_equal(found[...], leaf[...], err_msg=str(path))


def test_gradients(torch, theirs):
    """Of a random function of the last feature, for the image and for the first kernel, in float64."""
    model, image = theirs.build().double(), drawn.image((1, 40, 51, 3)).astype(np.float64)
    pixels = torch.from_numpy(image).requires_grad_()
    value = model.tensors(pixels)["inception5b"]
    cotangent = np.random.default_rng(1).standard_normal(value.shape)
    value.backward(torch.from_numpy(cotangent))
    kernel = model.conv1.conv.weight.grad.numpy().transpose(2, 3, 1, 0)
    with jax.enable_x64(True):
        backbone = build("googlenet", dtype=jnp.float64, param_dtype=jnp.float64)
        graphdef, params, rest = nnx.split(backbone, nnx.Param, ...)

        def loss(params, image):
            return (nnx.merge(graphdef, params, rest)(image)["inception5b"] * np.moveaxis(cotangent, 1, -1)).sum()

        d_params, d_image = jax.jit(jax.grad(loss, (0, 1)))(params, image)
    scale = np.abs(d_image).max()
    # PyTorch holds ImageNet's statistics in float32.
    np.testing.assert_allclose(d_image, pixels.grad.numpy(), rtol=0, atol=1e-6 * scale)
    np.testing.assert_allclose(d_params.conv1.conv.kernel[...], kernel, rtol=0, atol=1e-6 * np.abs(kernel).max())


def test_training_normalises_with_the_batchs_statistics(torch, theirs):
    model, backbone, image = theirs.build().train(), build("googlenet"), drawn.image((4, 64, 96, 3))
    before = statistics(backbone)
    expected = as_arrays(model.tensors(torch.from_numpy(image)))
    backbone.train()
    graphdef, state = nnx.split(backbone)

    @jax.jit
    def call(state, image):
        copy = nnx.merge(graphdef, state, copy=True)
        features = copy(image)
        return features, nnx.state(copy, nnx.BatchStat)

    features, changed = call(state, image)
    for name, array in expected.items():
        np.testing.assert_allclose(features[name], array, rtol=0, atol=1e-4 * np.abs(array).max(), err_msg=name)
    nnx.update(backbone, changed)
    name, norm = "blocks.8.pairs.0.1.norm.mean", model.inception5b.branch2[1].bn
    np.testing.assert_allclose(statistics(backbone)[name], norm.running_mean.numpy(), atol=1e-4)
    assert np.abs(statistics(backbone)[name] - before[name]).max() > 1e-3
