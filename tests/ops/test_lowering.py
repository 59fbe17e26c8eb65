"""Every sampler and its gradient lower for the accelerators too, from a machine that has none."""

import jax
import jax.numpy as jnp
import pytest
from jax import export

from vtnjax import ops

IMAGE, COORDS = (2, 8, 9, 4), (2, 5, 5, 2)
CASES = {
    "sample": (ops.sample, IMAGE, COORDS),
    "nearest": (lambda i, c: ops.sample(i, c, method="nearest"), IMAGE, COORDS),
    "bicubic": (lambda i, c: ops.sample(i, c, method="bicubic"), IMAGE, COORDS),
    "channels": (ops.sample_channels, IMAGE, (2, 5, 5, 2, 2)),
    "volume": (ops.sample_volume, (2, 3, 4, 5, 2), (2, 5, 3)),
    "separable": (ops.sample_separable, IMAGE, (2, 5), (2, 4)),
    "deformable": (lambda i, k, o: ops.deformable_conv(i, k, o), IMAGE, (2, 3, 3, 4, 5), (2, 8, 9, 2, 3, 3, 2)),
    "saliency": (lambda s: ops.saliency_grid(s, (8, 9), fwhm=3.0, pad=4), (2, 5, 6)),
    "trilinear": (ops.trilinear_attention, (2, 5, 6, 3)),
    "inverse CDF": (lambda a: jnp.concatenate(ops.attention_coords(a, (8, 9))), (2, 5, 6)),
    "spline": (lambda t: ops.thin_plate_spline_grid(t, (8, 9)), (2, 16, 2)),
}


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("name", CASES)
def test_value_and_gradient_lower(name, platform):
    function, *shapes = CASES[name]
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    batched = jax.vmap(function)
    both = jax.value_and_grad(lambda *a: batched(*a).sum(), tuple(range(len(arguments))))
    exported = export.export(jax.jit(both), platforms=[platform])(*arguments)
    assert [leaf.shape for leaf in exported.out_avals[1:]] == shapes


def test_a_tpu_gets_matrix_products_for_separable_warps():
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (IMAGE, (2, 5), (2, 4))]
    lowered = {
        platform: export.export(jax.jit(jax.vmap(ops.sample_separable)), platforms=[platform])(*arguments).mlir_module()
        for platform in ("tpu", "cuda")
    }
    assert "dot_general" in lowered["tpu"]
    assert "dot_general" not in lowered["cuda"]
