"""Every sampler and its gradient lower for the accelerators too, from a machine that has none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import ops
from vtnjax.ops import _linear, _taps

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
@pytest.mark.daily("nearest-tpu", "trilinear-tpu", "inverse CDF-cuda", "spline-tpu")
def test_value_and_gradient_lower(name, platform):
    function, *shapes = CASES[name]
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    batched = jax.vmap(function)
    both = jax.value_and_grad(lambda *a: batched(*a).sum(), tuple(range(len(arguments))))
    exported = export.export(jax.jit(both), platforms=[platform])(*arguments)
    assert [leaf.shape for leaf in exported.out_avals[1:]] == shapes


def lowered(function, *shapes, platforms=("cpu", "cuda")):
    """The program of a function of float32 arrays, by platform."""
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return {each: export.export(jax.jit(function), platforms=[each])(*arguments).mlir_module() for each in platforms}


def test_a_tpu_gets_matrix_products_for_separable_warps():
    programs = lowered(jax.vmap(ops.sample_separable), IMAGE, (2, 5), (2, 4), platforms=("tpu", "cuda"))
    assert "dot_general" in programs["tpu"]
    assert "dot_general" not in programs["cuda"]


@pytest.mark.slow
def test_a_gpu_adds_single_corners_where_there_are_few_channels():
    def to_image(image, coords):
        return jax.grad(lambda image: jax.vmap(ops.sample_channels)(image, coords).sum())(image)

    programs = lowered(to_image, IMAGE, (2, 5, 5, 4, 2))
    assert "stablehlo.pad" in programs["cpu"]  # of rows of whole cells
    assert "stablehlo.pad" not in programs["cuda"]


def test_a_gpu_sums_over_channels_in_the_loop_that_reads_the_pixels():
    def to_coords(image, coords):
        return jax.grad(lambda coords: jax.vmap(ops.sample_channels)(image, coords).sum())(coords)

    programs = lowered(to_coords, IMAGE, (2, 5, 5, 2, 2))
    assert "dot_general" in programs["cpu"]
    assert "dot_general" not in programs["cuda"]


@pytest.mark.parametrize("channels", [1, 3, 20])
@pytest.mark.daily("20")
def test_slopes_meet_tangents_and_cotangents_alike_on_a_cpu_and_a_gpu(channels, x64):
    rng = np.random.default_rng(0)
    slopes = [rng.standard_normal((4, 2, channels)) for _ in range(3)]
    moves, cotangent = rng.standard_normal((4, 2, 3)), rng.standard_normal((4, 2, channels))
    tangent, to_moves = np.zeros((4, 2, channels)), np.zeros((4, 2, 3))
    for point, group, channel, axis in np.ndindex(4, 2, channels, 3):
        tangent[point, group, channel] += slopes[axis][point, group, channel] * moves[point, group, axis]
        to_moves[point, group, axis] += slopes[axis][point, group, channel] * cotangent[point, group, channel]
    arrays = [jnp.asarray(slope) for slope in slopes]
    for contract in (_taps._contract_stacked, _taps._contract_one_by_one):
        found, pull = jax.vjp(lambda moves, contract=contract: contract(moves, *arrays), jnp.asarray(moves))
        assert_allclose(found, tangent, atol=1e-12)
        assert_allclose(pull(jnp.asarray(cotangent))[0], to_moves, atol=1e-12)


@pytest.mark.slow
def test_corners_are_read_alike_by_themselves_and_as_cells():
    image = np.arange(5 * 6 * 2, dtype=np.float32).reshape(5, 6, 2, 1)
    base = jnp.array([[0, 1], [2 * 7, 2 * 7 + 1], [2 * 22, 2 * 22 + 1]], jnp.int32)  # (points, groups)
    offsets = tuple(offset for _, offset in _linear._corners(image.shape))
    cells = np.asarray(_linear._read_cells(jnp.asarray(image), base, offsets))
    assert cells.shape == (3, 2, 4, 1)
    assert_array_equal(cells, _linear._read_corners(jnp.asarray(image), base, offsets))
    row, column = divmod(22, 6)
    expected = [image[row + dy, column + dx, 1, 0] for dx in (0, 1) for dy in (0, 1)]
    assert cells[2, 1, :, 0].tolist() == [float(value) for value in expected]
