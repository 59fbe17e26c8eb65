"""Warps of features: where they start, what they read, and trunks whose last convolution is deformable."""

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from compiled import run
from flax import nnx
from numpy.testing import assert_allclose
from small_trunk import Trunk

from vtnjax import models, ops
from vtnjax.models import AffineGroups, FeatureLocaliser
from vtnjax.recipes import FEATURE_WARPS

SHAPE = (5, 6, 8)
OPTIONS = {
    "stn": {"localised": 7},
    "affine_groups": {"groups": 4, "localised": 7},
    "ssn": {"size": 7, "fwhm": 3.0},
    "asn": {"dense": 2.0},
    "vtn": {"groups": 4, "window": (3, 3), "widths": (3,), "squeezed": (2,)},
}


FULL = {"stn": {}, "affine_groups": {"groups": 4}}


def features(count=3):
    return jnp.asarray(np.random.default_rng(0).normal(size=(count, *SHAPE)), jnp.float32)


@pytest.mark.parametrize("warp", ["stn", "affine_groups", "ssn"])
@pytest.mark.daily("ssn")
def test_these_start_at_the_identity(warp):
    y, out = run(FEATURE_WARPS[warp](None, SHAPE, dtype=None, rngs=nnx.Rngs(0), **OPTIONS[warp]), features())
    assert_allclose(y, features(), atol=1e-5)
    coords = out["coords"] if out["coords"].ndim == 5 else out["coords"][:, :, :, None]
    expected = np.broadcast_to(ops.identity_coords(SHAPE[:2])[:, :, None], coords.shape[1:])
    assert_allclose(coords, np.broadcast_to(expected, coords.shape), atol=1e-5)


def test_names_give_the_modules_and_options_reach_them():
    assert FEATURE_WARPS["none"](None, SHAPE, dtype=None, rngs=nnx.Rngs(0)) is None
    vtn = FEATURE_WARPS["vtn"](None, SHAPE, dtype=None, rngs=nnx.Rngs(0), **OPTIONS["vtn"])
    assert (vtn.groups, vtn.window) == (4, (3, 3))
    assert set(OPTIONS) == set(FEATURE_WARPS) - {"none", "deformable"}


@pytest.mark.parametrize(("given", "power"), [({}, 2), ({"squared": False}, 1)])
@pytest.mark.daily("given1-1")
def test_the_attention_sampler_alone_reads_by_the_sum_of_the_features_attention(given, power):
    read = jnp.abs(features())
    y, out = run(FEATURE_WARPS["asn"](None, SHAPE, dtype=None, rngs=nnx.Rngs(0), dense=2.0, **given), read)
    for x, warped, coords in zip(np.asarray(read), y, out["coords"], strict=True):
        attention = loops.trilinear_attention(x, ("spatial", "relation"), 7.0).sum(-1) ** power
        lines = loops.attention_coords(attention, SHAPE[:2], dense=2.0)
        assert_allclose(coords, np.stack(np.meshgrid(*lines), -1), atol=1e-3)
        assert_allclose(warped, loops.sample(x, np.asarray(coords)), atol=1e-3)


@pytest.mark.slow
def test_theta_is_computed_in_full_precision():
    # A TPU multiplies in bfloat16 unless it is told otherwise, and theta is multiplied by the size of the map.
    for name, options in FULL.items():
        module = FEATURE_WARPS[name](None, SHAPE, dtype=None, rngs=nnx.Rngs(0), **options)
        program = str(jax.make_jaxpr(module.head)(jnp.ones((2, module.head.in_features))))
        assert "HIGHEST" in program


def test_each_group_has_an_affine_warp_of_its_own():
    module = AffineGroups(FeatureLocaliser(SHAPE, 7, rngs=nnx.Rngs(0)), 7, 8, 4, rngs=nnx.Rngs(0))
    bias = np.tile(np.eye(2, 3).ravel(), 4).reshape(4, 2, 3)
    bias[1, 0, 2] = 2 / 5  # one pixel of six to the right
    bias[3, 1, 2] = -2 / 4  # one pixel of five up
    module.head.bias[...] = jnp.asarray(bias.ravel(), jnp.float32)
    x = np.asarray(features())
    y, out = run(module, features())
    assert out["theta"].shape == (3, 4, 2, 3)
    expected = x.copy()
    expected[:, :, :-1, 2:4], expected[:, :, -1, 2:4] = x[:, :, 1:, 2:4], 0
    expected[:, 1:, :, 6:8], expected[:, 0, :, 6:8] = x[:, :-1, :, 6:8], 0
    assert_allclose(y, expected, atol=1e-5)
    with pytest.raises(ValueError, match="groups must divide the 8 channels, not be 3"):
        AffineGroups(FeatureLocaliser(SHAPE, 7, rngs=nnx.Rngs(0)), 7, 8, 3, rngs=nnx.Rngs(0))


TRUNKS = {
    "resnet18": lambda: models.ResNet("resnet18", rngs=nnx.Rngs(0)),
    "vgg16": lambda: models.VGG("vgg16", rngs=nnx.Rngs(0)),
    "squeezenet": lambda: models.SqueezeNet(rngs=nnx.Rngs(0)),
    "own": lambda: Trunk(nnx.Rngs(0)),
}


def names_in_order(module, *arrays):
    """The names of what a module gives, in its own order: a compiled function sorts them."""
    found, (graphdef, state) = [], nnx.split(module)
    jax.eval_shape(lambda state: found.extend(nnx.merge(graphdef, state)(*arrays)), state)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", TRUNKS)
def test_a_deformed_trunk_starts_as_it_was_and_moves(name):
    image = jnp.asarray(np.random.default_rng(0).normal(size=(2, 33, 32, 3)), jnp.float32)
    trunk = TRUNKS[name]()
    before = run(trunk, image)
    models.deform_last_convolution(trunk, groups=2, rngs=nnx.Rngs(1))
    after = run(trunk, image)
    last = names_in_order(trunk, image)[-1]
    assert_allclose(after[last], before[last], atol=1e-4 * np.abs(before[last]).max())
    predictors = [m for _, m in nnx.iter_modules(trunk) if hasattr(m, "predictor")]
    assert len(predictors) == 1
    bias = predictors[0].predictor.bias
    bias[...] = jnp.full(bias.shape, 0.7)
    assert np.abs(run(trunk, image)[last] - before[last]).max() > 1e-3


def test_a_convolution_in_groups_stays_one():
    class Grouped(nnx.Module):
        def __init__(self):
            self.last = nnx.Conv(4, 6, (3, 3), feature_group_count=2, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.last(x)

    trunk, image = Grouped(), jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 6, 4)), jnp.float32)
    before = run(trunk, image)
    models.deform_last_convolution(trunk, rngs=nnx.Rngs(1))
    assert_allclose(run(trunk, image), before, atol=1e-5)


def test_an_unknown_trunk_is_refused():
    with pytest.raises(ValueError, match=r"backbone must be a ResNet, a VGG, a SqueezeNet or .* not a Linear"):
        models.deform_last_convolution(nnx.Linear(2, 2, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))
