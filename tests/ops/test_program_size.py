"""Grids are computed in the program: at no size does it hold them, or what they are made of, as constants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose
from scipy.interpolate import RBFInterpolator

from vtnjax import ops
from vtnjax.nn import AttentionSampler, SaliencySampler, SpatialTransformer

LARGE, VOLUME = (1024, 1024), (192, 192, 192)
CORNERS = np.array([[-1.0, -1], [1, -1], [-1, 1], [1, 1], [0.1, 0.2]])
# name: (the function, the shapes of its arguments)
PROGRAMS = {
    "identity": (lambda: ops.identity_coords(LARGE),),
    "identity of a volume": (lambda: ops.identity_coords(VOLUME),),
    "displace": (ops.displace, (*LARGE, 2)),
    "jacobian": (ops.jacobian, (*LARGE, 2)),
    "folds": (ops.folds, (*LARGE, 2)),
    "footprint": (lambda coords: ops.footprint_coords(coords, 4), (*LARGE, 2)),
    "affine": (lambda theta: ops.affine_grid(theta, LARGE), (2, 3)),
    "affine, edges": (lambda theta: ops.affine_grid(theta, LARGE, align_corners=False), (2, 3)),
    "affine of a volume": (lambda theta: ops.affine_grid(theta, VOLUME), (3, 4)),
    "attention": (lambda scale, shift: ops.attention_grid(scale, shift, LARGE), (), (2,)),
    "projective": (lambda theta: ops.projective_grid(theta, LARGE), (3, 3)),
    "tps": (lambda targets: ops.thin_plate_spline_grid(targets, LARGE), (16, 2)),
    "tps, known control": (lambda targets: ops.thin_plate_spline_grid(targets, LARGE, control=CORNERS), (5, 2)),
    "tps, traced control": (lambda t, c: ops.thin_plate_spline_grid(t, LARGE, control=c), (5, 2), (5, 2)),
    "saliency": (lambda saliency: ops.saliency_grid(saliency, LARGE, fwhm=100.0, pad=1000), LARGE),
    "saliency, edges": (lambda s: ops.saliency_grid(s, LARGE, fwhm=9.0, pad=30, align_corners=False), (31, 31)),
    "inverse CDF": (lambda attention: ops.attention_coords(attention, LARGE), LARGE),
    "to_pixels": (lambda grid: ops.to_pixels(grid, LARGE), (*LARGE, 2)),
    "to_normalised": (lambda coords: ops.to_normalised(coords, LARGE), (*LARGE, 2)),
}


def program_size(function, shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return len(jax.jit(function).lower(*arguments).as_text())


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.daily("identity of a volume")
def test_programs_of_large_grids_are_small(name):
    function, *shapes = PROGRAMS[name]
    assert program_size(function, shapes) < 100_000


@pytest.mark.parametrize("warp", ["translation", "attention", "affine", "projective", "tps"])
@pytest.mark.daily("tps")
def test_programs_of_large_spatial_transformers_are_small(warp):
    module = SpatialTransformer(lambda x: x.mean((1, 2)), 1, warp=warp, antialias=2, rngs=nnx.Rngs(0))
    assert program_size(module, [(1, *LARGE, 1)]) < 200_000


@pytest.mark.parametrize("module", [AttentionSampler(LARGE), SaliencySampler(LARGE)], ids=["attention", "saliency"])
@pytest.mark.daily("attention")
def test_programs_of_large_samplers_are_small(module):
    assert program_size(module, [(1, *LARGE, 1), (1, *LARGE)]) < 200_000


# Control points of growing trouble for float32, whose spacing near 1 is 6e-8.
@pytest.mark.parametrize("name", ["4 x 4", "scattered", "two 0.001 apart", "200 scattered"])
@pytest.mark.daily("scattered", "200 scattered")
def test_thin_plate_splines_in_float32_are_those_in_float64(name):
    rng = np.random.default_rng(0)
    line = np.linspace(-1, 1, 4)
    control = {
        "4 x 4": np.stack(np.meshgrid(line, line), -1).reshape(16, 2),
        "scattered": rng.uniform(-1, 1, (16, 2)),
        "two 0.001 apart": np.append(rng.uniform(-1, 1, (9, 2)), [[0.1, 0.1], [0.101, 0.1]], 0),
        "200 scattered": rng.uniform(-1, 1, (200, 2)),
    }[name]
    targets = control + 0.03 * rng.normal(size=control.shape)
    targets[-1] = targets[-2] + control[-1] - control[-2]  # that near points move alike
    where = np.stack(np.meshgrid(np.linspace(-1, 1, 31), np.linspace(-1, 1, 29)), -1).reshape(-1, 2)
    oracle = RBFInterpolator(control, targets, kernel="thin_plate_spline", degree=1)(where).reshape(29, 31, 2)

    def grid(targets):
        return ops.thin_plate_spline_grid(targets, (29, 31), control=control)

    found = jax.jit(grid)(jnp.asarray(targets, jnp.float32))
    assert found.dtype == jnp.float32
    assert_allclose(found, oracle, atol=2e-5)


def test_a_spline_at_rest_is_exactly_the_identity():
    control = jnp.asarray(np.stack(np.meshgrid(np.linspace(-1, 1, 4), np.linspace(-1, 1, 4)), -1), jnp.float32)
    grid = jax.jit(lambda targets: ops.thin_plate_spline_grid(targets, (57, 91)))(control.reshape(16, 2))
    np.testing.assert_array_equal(grid, jax.jit(lambda: ops.affine_grid(jnp.eye(2, 3), (57, 91)))())
