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

RNGS = nnx.Rngs(0)
IMAGES, MAPS, DIGITS = jnp.ones((2, 8, 8, 4)), jnp.ones((2, 8, 8)), jnp.ones((8, 28, 28, 1))


def transformer(warp, **options):
    return SpatialTransformer(lambda x: x.mean((1, 2)), 4, warp=warp, rngs=RNGS, **options)


def volumetric(channels, **options):
    return VolumetricTransformer(channels, 2, window=(3, 3), widths=(2,), squeezed=(1,), rngs=RNGS, **options)


MODULES = {
    **{warp: (transformer(warp), IMAGES) for warp in ("translation", "attention", "affine", "projective", "tps")},
    "linear": (transformer("linear", basis=jnp.eye(3)[:, :2, None] * jnp.ones((1, 1, 8))), IMAGES),
    "affine3d": (SpatialTransformer(lambda x: x.mean((1, 2, 3)), 4, warp="affine3d", rngs=RNGS), IMAGES[..., None, :]),
    "antialiased": (transformer("affine", antialias=2), IMAGES),
    "attention sampler": (AttentionSampler((4, 4)), IMAGES, MAPS),
    "saliency sampler": (SaliencySampler((4, 4), size=5), IMAGES, MAPS),
    "trilinear attention": (TrilinearAttention(), IMAGES),
    "volumetric": (volumetric(4), IMAGES),
    "volumetric, a regression": (volumetric(4, probabilistic=False), IMAGES),
    "volumetric, rows of channels": (volumetric(8), jnp.ones((2, 8, 8, 8))),
    "deformable": (DeformableConv(4, 4, (3, 3), rngs=RNGS), IMAGES),
}
FUNCTIONS = {
    "separable, any platform": (ops.sample_separable, IMAGES[0], MAPS[0, 0], MAPS[0, 0]),
    "volume": (lambda k, x: distort.place_in_volume(k, x, depth=2, shape=(4, 4, 4)), jax.random.key(0), DIGITS[0]),
}
for kind in sorted(set(distort.DISTORTIONS) - {"none", "VOLUME"}):
    FUNCTIONS[f"distortion {kind}"] = (
        lambda k, x, kind=kind: distort.distort_batch(kind, k, x),
        jax.random.key(0),
        DIGITS,
    )
OPERATORS = {name: (call, *operators.arguments(name, jnp.float32)) for name, (call, _) in operators.OPERATORS.items()}
LOSSES = {name: (call, *map(jnp.asarray, arrays)) for name, (call, arrays) in operators.LOSSES.items()}
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
@pytest.mark.daily("bilinear", "tps", "consistency_loss", "translation")
def test_a_second_call_compiles_nothing(name, compilations):
    call, *arguments = EVERY[name]
    jax.block_until_ready(call(*arguments))
    compilations.clear()
    jax.block_until_ready(call(*arguments))
    assert not compilations
