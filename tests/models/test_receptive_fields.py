"""Where the cells of a backbone's maps lie: in the middle of the pixels that reach them."""

import drawn_backbones
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose

from vtnjax.models import VGG, Inception, ResNet, SqueezeNet


def averaging(backbone, monkeypatch):
    """Every kernel a mean of its inputs, and means in the place of maxima: each pixel of a field reaches its cell."""
    monkeypatch.setattr(nnx, "max_pool", nnx.avg_pool)
    state = nnx.to_flat_state(nnx.state(backbone, nnx.Param))
    means = [
        (path, value.replace(jnp.full(value.shape, 1 / np.prod(value.shape[:-1]), jnp.float32)))
        for path, value in state
        if value.ndim == 4
    ]
    nnx.update(backbone, nnx.from_flat_state(means))
    backbone.eval()
    return backbone


def reach(backbone, name, width, cell):
    """How much each column of an image reaches a cell of one row of a map."""
    graphdef, state = nnx.split(backbone)

    def value(image):
        features = nnx.merge(graphdef, state, copy=True)(image)[name]
        return features[0, features.shape[1] // 2, cell].sum()

    # Flax divides by a whole number for a mean. Compiled as one program, XLA of JAX 0.10 puts a mean over 2 x 2 pixels
    # and the convolution behind it together on a CPU, and the result is wrong.
    with jax.numpy_dtype_promotion("standard"):
        return np.asarray(jax.grad(value)(jnp.ones((1, 33, width, 3))))[0].sum((0, 2))


TRUNKS = {
    "squeezenet": (lambda rngs: SqueezeNet(rngs=rngs), {"conv1": 70, "fire3": 40, "fire9": 10}, 352),
    "resnet18": (lambda rngs: ResNet("resnet18", rngs=rngs), {"stem": 60, "stage3": 10}, 336),
    "dilated": (
        lambda rngs: ResNet("resnet18", strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4), rngs=rngs),
        {"stage3": 24},
        400,
    ),
    "resnet50": (lambda rngs: ResNet("resnet50", rngs=rngs), {"stage3": 12}, 400),
    "vgg16": (lambda rngs: VGG("vgg16", rngs=rngs), {"conv1": 90, "conv3": 40, "conv5": 10}, 352),
    "inception": (lambda rngs: Inception(rngs=rngs), {"conv2": 60, "inception3b": 24, "inception5b": 14}, 900),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TRUNKS)
def test_a_cell_lies_in_the_middle_of_the_pixels_that_reach_it(name, monkeypatch):
    make, layers, width = TRUNKS[name]
    backbone = averaging(make(nnx.Rngs(0)), monkeypatch)
    for layer, cell in layers.items():
        stride, first = backbone.cells[layer]
        weights = reach(backbone, layer, width, cell)
        pixels = np.flatnonzero(weights > 0)
        assert pixels[0] > 0
        assert pixels[-1] < width - 1  # else the field would hang over the edge
        assert (pixels[0] + pixels[-1]) / 2 == stride * cell + first
        assert_allclose((weights * np.arange(width)).sum() / weights.sum(), stride * cell + first, rtol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "vgg16_bn", "googlenet"])
def test_every_map_of_a_backbone_has_its_cells(name):
    backbone = drawn_backbones.abstract(name, **({"classes": None} if name.startswith("squeeze") else {}))
    shapes = drawn_backbones.shapes(backbone, (1, 256, 320, 3))
    assert list(backbone.cells) == list(backbone.channels)
    assert set(backbone.cells) == set(shapes)
    for layer, shape in shapes.items():
        assert abs(320 / backbone.cells[layer].stride - shape[2]) <= 1


@pytest.mark.slow
def test_a_cut_resnet_makes_the_features_that_it_made_before():
    backbone = drawn_backbones.abstract("resnet18")
    before = drawn_backbones.shapes(backbone, (1, 64, 96, 3))
    backbone.cut("stage3")
    kept = ["stem", "stage1", "stage2", "stage3"]
    assert drawn_backbones.shapes(backbone, (1, 64, 96, 3)) == {name: before[name] for name in kept}
    assert list(backbone.channels) == list(backbone.cells) == kept
    with pytest.raises(ValueError, match="name must be one of 'stem', 'stage1', 'stage2', 'stage3', not 'stage4'"):
        backbone.cut("stage4")
