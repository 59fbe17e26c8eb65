"""Every module, network, loss and batch of distortions as a StableHLO program for a batch of any size."""

import inspect
import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vtnjax import distort, losses, models, nn, ops
from vtnjax.models.layers import FCNLocaliser
from vtnjax.recipes import FEATURE_WARPS

PLATFORMS = ("cpu", "cuda", "tpu")


def rngs():
    return nnx.Rngs(0)


def trunk():
    return models.SmallTrunk(3, (4, 6, 8), rngs=rngs())


def transformer(warp, image=(8, 8, 2), **options):
    localiser = FCNLocaliser(image, rngs=rngs())
    return nn.SpatialTransformer(localiser, localiser.features, warp=warp, rngs=rngs(), **options)


def volumetric(channels, groups, **options):
    options |= {"window": (3, 3), "widths": (4, 4), "squeezed": (2, 1)}
    return nn.VolumetricTransformer(channels, groups, **options, rngs=rngs())


def placed(mode):
    layers = [models.ConvPool(1, 4, 5, rngs=rngs()), models.ConvPool(4, 4, 3, rngs=rngs())]
    options = {"placements": (0, 1), "mode": mode, "rngs": rngs()}
    return models.PlacedSTN(layers, lambda cells: nnx.Linear(cells, 3, rngs=rngs()), (20, 20, 1), **options)


def warped(warp, **options):
    warp = FEATURE_WARPS[warp](trunk(), (4, 4, 8), dtype=None, rngs=rngs(), **options)
    return models.WarpedFeatures(trunk(), warp, models.FlatClassifier(128, 3, width=4, rngs=rngs()))


def deformed():
    backbone = trunk()
    models.deform_last_convolution(backbone, rngs=rngs())
    return models.WarpedFeatures(backbone, None, models.PooledClassifier(8, 3, rngs=rngs()))


def tasn(sampler, **options):
    network = None if sampler == "none" else models.AttentionNetwork(trunk(), 8, 4, size=(16, 16), rngs=rngs())
    return models.TASN(network, trunk(), 8, 4, shape=(12, 12), sampler=sampler, rngs=rngs(), **options)


def retrieval(pool, **options):
    return models.RetrievalNet(trunk(), pool, rngs=rngs(), **options)


MAC = jax.vmap(ops.mac)
BASIS = np.random.default_rng(0).normal(size=(4, 8, 8)).astype(np.float32)

# name: (makes the module, the shapes of one example of each input)
MODULES = {
    "AttentionSampler": (lambda: nn.AttentionSampler((4, 5)), (8, 8, 2), (4, 4)),
    "DeformableConv": (lambda: nn.DeformableConv(4, 6, mask=True, groups=2, rngs=rngs()), (6, 5, 4)),
    "SaliencySampler": (lambda: nn.SaliencySampler((4, 5), size=7, fwhm=3.0), (8, 8, 2), (4, 4, 1)),
    "SpatialTransformer": (lambda: transformer("affine"), (8, 8, 2)),
    "SpatialTransformer attention": (lambda: transformer("attention"), (8, 8, 2)),
    "SpatialTransformer bicubic": (lambda: transformer("affine", method="bicubic"), (8, 8, 2)),
    "SpatialTransformer of two": (lambda: transformer("translation", count=2, shape=(4, 4), antialias=2), (8, 8, 2)),
    "SpatialTransformer linear": (lambda: transformer("linear", basis=BASIS), (8, 8, 2)),
    "SpatialTransformer projective": (lambda: transformer("projective"), (8, 8, 2)),
    "SpatialTransformer spline": (lambda: transformer("tps"), (8, 8, 2)),
    "SpatialTransformer volume": (lambda: transformer("affine3d", (4, 4, 4, 2)), (4, 4, 4, 2)),
    "SpatialTransformer without localiser": (lambda: nn.SpatialTransformer(None, 5, rngs=rngs()), (8, 8, 2), (5,)),
    "TrilinearAttention": (lambda: nn.TrilinearAttention(), (4, 5, 6)),
    "TrilinearAttention self": (lambda: nn.TrilinearAttention("self"), (4, 5, 6)),
    "VolumetricTransformer": (lambda: volumetric(8, 4), (6, 5, 8)),
    "VolumetricTransformer by regression": (lambda: volumetric(4, 4, probabilistic=False), (6, 5, 4)),
    "ColocalisationLocaliser": (lambda: models.ColocalisationLocaliser((12, 12, 1), rngs=rngs()), (12, 12, 1)),
    "MultiStreamSTN": (
        lambda: models.MultiStreamSTN(trunk(), (16, 16, 3), 4, window=(8, 8), width=8, rngs=rngs()),
        (16, 16, 3),
    ),
    **{f"PlacedSTN {mode}": (lambda mode=mode: placed(mode), (20, 20, 1)) for mode in ("features", "shared", "deep")},
    "house numbers": (
        lambda: models.house_number_network("single", (16, 16, 3), widths=(4,) * 8, units=8, rngs=rngs()),
        (16, 16, 3),
    ),
    **{
        f"STN {name}": (lambda name=name: models.STN(name, (28, 28, 1), parameters=60_000, rngs=rngs()), (28, 28, 1))
        for name in ("fcn", "cnn", "st_fcn", "st_cnn")
    },
    "BilinearPool": (lambda: nn.BilinearPool(6, rngs=rngs()), (5, 4, 6)),
    "CompactBilinearPool": (lambda: nn.CompactBilinearPool(6, 16, rngs=rngs()), (5, 4, 6)),
    "DCL": (
        lambda: models.DCL(models.SmallTrunk(3, (4, 6, 8), rngs=rngs()), 3, regions=2, predict="all", rngs=rngs()),
        (16, 16, 3),
    ),
    "DELF": (lambda: models.DELF(trunk(), 3, transformer=volumetric(8, 4), rngs=rngs()), (16, 16, 3)),
    "DELF features": (lambda: models.DELF(trunk(), 3, stage="features", rngs=rngs()), (16, 16, 3)),
    "DescriptorClassifier": (
        lambda: models.DescriptorClassifier(nn.MPNCOV(6, reduced=4, rngs=rngs()), 3, rngs=rngs()),
        (5, 4, 6),
    ),
    "ISQRTCOV": (lambda: nn.ISQRTCOV(6, reduced=4, rngs=rngs()), (5, 4, 6)),
    "KernelPool": (lambda: nn.KernelPool(6, 16, rngs=rngs()), (5, 4, 6)),
    "GeM": (lambda: nn.GeM(6, rngs=rngs()), (5, 4, 6)),
    "RMAC": (lambda: nn.RMAC(6, rngs=rngs()), (5, 4, 6)),
    "RMAC whitened": (lambda: nn.RMAC(6, whitening=4, rngs=rngs()), (5, 4, 6)),
    "MPNCOV": (lambda: nn.MPNCOV(6, reduced=4, rngs=rngs()), (5, 4, 6)),
    "RetrievalNet": (lambda: retrieval(nn.GeM(8, rngs=rngs())), (16, 16, 3)),
    "RetrievalNet whitened": (
        lambda: retrieval(MAC, transformer=volumetric(8, 4), whitening=nnx.Linear(8, 5, rngs=rngs())),
        (16, 16, 3),
    ),
    "TASN": (lambda: tasn("inverse_cdf"), (24, 24, 3)),
    "TASN ssn": (lambda: tasn("ssn", predict="part"), (24, 24, 3)),
    "TASN uniform": (lambda: tasn("uniform"), (24, 24, 3)),
    "TASN none": (lambda: tasn("none", parts=0), (24, 24, 3)),
    **{
        f"TwoDigitNetwork {name}": (
            lambda name=name: models.TwoDigitNetwork(name, (42, 42, 2), classes=100, rngs=rngs()),
            (42, 42, 2),
        )
        for name in ("fcn", "2xst_fcn", "affine_channels")
    },
    "VolumeNetwork": (lambda: models.VolumeNetwork("st_fcn", (8, 8, 8, 1), parameters=9000, rngs=rngs()), (8, 8, 8, 1)),
    "WarpedFeatures affine groups": (lambda: warped("affine_groups", groups=2), (16, 16, 3)),
    "WarpedFeatures asn": (lambda: warped("asn"), (16, 16, 3)),
    "WarpedFeatures deformable": (deformed, (16, 16, 3)),
    "WarpedFeatures ssn": (lambda: warped("ssn", size=5, fwhm=3.0), (16, 16, 3)),
    "WarpedFeatures stn": (lambda: warped("stn"), (16, 16, 3)),
    "WarpedFeatures vtn": (lambda: warped("vtn", groups=4, window=(3, 3)), (16, 16, 3)),
    "Inception": (lambda: models.Inception(rngs=rngs()), (32, 32, 3)),
    "ResNet": (lambda: models.ResNet("resnet18", rngs=rngs()), (32, 32, 3)),
    "SqueezeNet": (lambda: models.SqueezeNet(classes=10, rngs=rngs()), (32, 32, 3)),
    "VGG": (lambda: models.VGG("vgg16", rngs=rngs()), (16, 16, 3)),
}
INSIDE = {"AffineGroups", "AttentionNetwork", "AttentionWarp", "ConvPool", "FeatureLocaliser", "FlatClassifier"}
INSIDE |= {"PooledClassifier", "SaliencyWarp", "SmallTrunk", "WindowLocaliser"}


def test_every_module_is_in_the_table():
    named = {name.split()[0] for name in MODULES}
    for room in (nn, models):
        found = {name for name in room.__all__ if inspect.isclass(getattr(room, name))}
        assert found - INSIDE <= named


def export(function, *batches, fixed=(), platforms=PLATFORMS):
    """The program of a function of batches, whose first axes are as long as one another, and of what is fixed."""
    (count,) = jax.export.symbolic_shape("n", constraints=["n >= 7"])
    shapes = [jax.ShapeDtypeStruct((count, *array.shape[1:]), array.dtype) for array in batches]
    return jax.export.export(jax.jit(function), platforms=platforms)(*fixed, *shapes)


def batch(*shapes, count=8):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.random((count, *shape)), jnp.float32) for shape in shapes]


def assert_alike(found, expected):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.daily("TrilinearAttention self", "VolumetricTransformer")
def test_it_is_a_program_for_three_platforms(name):
    make, *shapes = MODULES[name]
    module = nnx.eval_shape(make)
    module.eval()
    graphdef, state = nnx.split(module)
    program = export(lambda state, *inputs: nnx.merge(graphdef, state)(*inputs), *batch(*shapes), fixed=[state])
    assert program.platforms == PLATFORMS


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_one_program_takes_batches_of_every_size(name):
    make, *shapes = MODULES[name]
    module = make()
    module.eval()
    graphdef, state = nnx.split(module)

    def call(*inputs):
        return nnx.merge(graphdef, state, copy=True)(*inputs)

    inputs = batch(*shapes)
    program, whole = export(call, *inputs, platforms=("cpu",)), jax.jit(call)(*inputs)
    assert_alike(program.call(*inputs), whole)
    # In evaluation mode no image knows of the others.
    assert_alike(program.call(*(x[:7] for x in inputs)), jax.tree.map(lambda x: x[:7], whole))


def gradient_of(name):
    graphdef, state = nnx.split(MODULES[name][0]())
    return jax.grad(lambda *inputs: jnp.sum(nnx.merge(graphdef, state, copy=True)(*inputs)[0] ** 2))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SpatialTransformer", pytest.param("VolumetricTransformer", marks=pytest.mark.slow)])
def test_its_gradient_is_such_a_program_too(name):
    gradient, inputs = gradient_of(name), batch(*MODULES[name][1:])
    assert_alike(export(gradient, *inputs).call(*inputs), jax.jit(gradient)(*inputs))


@pytest.mark.slow
def test_candidates_of_an_unknown_number_are_computed_again_in_the_backward_pass():
    gradient, inputs = gradient_of("VolumetricTransformer"), batch((6, 5, 8))
    # Barriers of one truth value are those of samplers that are compiled apart.
    again = re.compile(r"optimization_barrier [^:]*: (?!tensor<i1>(?: loc|$))", re.MULTILINE)
    assert again.search(export(gradient, *inputs).mlir_module())
    assert not again.search(jax.jit(gradient).lower(*inputs).as_text())


# ---- Losses and distortions

LABELS = jnp.arange(8, dtype=jnp.int32) % 3
LOSSES = {
    "consistency_loss": (lambda *maps: losses.consistency_loss(*maps, margin=1.0), batch(*[(3, 3, 2)] * 3)),
    "colocalisation_loss": (lambda *pair: losses.colocalisation_loss(*pair, reduction="mean"), batch((3,), (3,))),
    "contrastive_loss": (losses.contrastive_loss, batch((5,), (5,), (2, 5))),
    "triplet_loss": (losses.triplet_loss, batch((5,), (5,), (2, 5))),
    "soft_cross_entropy": (losses.soft_cross_entropy, batch((5,), (5,))),
    "draw_triplets": (lambda labels: losses.draw_triplets(jax.random.key(0), labels), [LABELS]),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.daily("soft_cross_entropy")
def test_a_loss_is_a_program_for_batches_of_every_size(name):
    function, inputs = LOSSES[name]
    program = export(function, *inputs)
    for count in (7, 8):
        some = [x[:count] for x in inputs]
        assert_alike(program.call(*some), jax.jit(function)(*some))


@pytest.mark.slow
@pytest.mark.parametrize("name", distort.DISTORTIONS)
def test_a_distortion_is_a_program_for_batches_of_every_size(name):
    def function(images):
        return distort.distort_batch(name, jax.random.key(0), images)

    (images,) = batch((12, 12, 1))
    program = export(function, images)
    if name in ("R", "TC"):  # The others take as long to compile and say no more.
        assert_alike(program.call(images), jax.jit(function)(images))


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.daily("AttentionSampler")
def test_a_structure_can_be_a_static_argument(name):
    graphdefs = [nnx.split(nnx.eval_shape(MODULES[name][0]))[0] for _ in range(2)]
    assert len({*graphdefs}) == 1
