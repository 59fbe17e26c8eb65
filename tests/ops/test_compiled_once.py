"""Called outside jit, every operator and module compiles what it needs once: a second call finds all of it."""

import jax
import jax.numpy as jnp
import operators
import pytest
from flax import nnx

from vtnjax import distort, ops
from vtnjax.nn import (
    AttentionSampler,
    DeformableConv,
    SaliencySampler,
    SpatialTransformer,
    TrilinearAttention,
    VolumetricTransformer,
)


def images(channels=4):
    return jnp.ones((2, 8, 8, channels))


def maps():
    return jnp.ones((2, 8, 8))


def digits():
    return jnp.ones((8, 28, 28, 1))


def transformer(warp, **options):
    return SpatialTransformer(lambda x: x.mean((1, 2)), 4, warp=warp, rngs=nnx.Rngs(0), **options)


def of_volumes():
    return SpatialTransformer(lambda x: x.mean((1, 2, 3)), 4, warp="affine3d", rngs=nnx.Rngs(0))


def volumetric(channels, **options):
    return VolumetricTransformer(channels, 2, window=(3, 3), widths=(2,), squeezed=(1,), rngs=nnx.Rngs(0), **options)


# What is called and its arguments, made when a test asks for them.
WARPS = ("translation", "attention", "affine", "projective", "tps")
MODULES = {
    **{warp: lambda warp=warp: (transformer(warp), images()) for warp in WARPS},
    "linear": lambda: (transformer("linear", basis=jnp.eye(3)[:, :2, None] * jnp.ones((1, 1, 8))), images()),
    "affine3d": lambda: (of_volumes(), images()[..., None, :]),
    "antialiased": lambda: (transformer("affine", antialias=2), images()),
    "attention sampler": lambda: (AttentionSampler((4, 4)), images(), maps()),
    "saliency sampler": lambda: (SaliencySampler((4, 4), size=5), images(), maps()),
    "trilinear attention": lambda: (TrilinearAttention(), images()),
    "volumetric": lambda: (volumetric(4), images()),
    "volumetric, a regression": lambda: (volumetric(4, probabilistic=False), images()),
    "volumetric, rows of channels": lambda: (volumetric(8), images(8)),
    "deformable": lambda: (DeformableConv(4, 4, (3, 3), rngs=nnx.Rngs(0)), images()),
}


def placed(key, image):
    return distort.place_in_volume(key, image, depth=2, shape=(4, 4, 4))


FUNCTIONS = {
    "separable, any platform": lambda: (ops.sample_separable, images()[0], maps()[0, 0], maps()[0, 0]),
    "volume": lambda: (placed, jax.random.key(0), digits()[0]),
}
for kind in sorted(set(distort.DISTORTIONS) - {"none", "VOLUME"}):
    FUNCTIONS[f"distortion {kind}"] = lambda kind=kind: (
        lambda key, batch: distort.distort_batch(kind, key, batch),
        jax.random.key(0),
        digits(),
    )
OPERATORS = {
    name: lambda name=name, call=call: (call, *operators.arguments(name, jnp.float32))
    for name, (call, _) in operators.OPERATORS.items()
}
LOSSES = {
    name: lambda call=call, arrays=arrays: (call, *map(jnp.asarray, arrays))
    for name, (call, arrays) in operators.LOSSES.items()
}
EVERY = OPERATORS | LOSSES | MODULES | FUNCTIONS


@pytest.fixture
def compilations():
    """A list that grows by one at every compilation."""
    found = []

    def note(event, _, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(details)

    jax.monitoring.register_event_duration_secs_listener(note)
    yield found
    jax.monitoring.unregister_event_duration_listener(note)


def test_compilations_are_noticed(compilations):
    jax.jit(lambda x: x + 1)(1.0)
    assert compilations


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.daily("bilinear")
def test_a_second_call_compiles_nothing(name, compilations):
    call, *arguments = EVERY[name]()
    jax.block_until_ready(call(*arguments))
    compilations.clear()
    jax.block_until_ready(call(*arguments))
    assert not compilations
