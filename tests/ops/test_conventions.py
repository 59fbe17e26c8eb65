"""Every public op says in three lines which way it goes, where its coordinates begin, and what lies outside."""

import functools
import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import ops

SECTION = re.compile(r"^Convention:\n((?:    .*\n)+)", re.MULTILINE)
LINES = re.compile(r"    Direction: \S.*\.\n    Origin and order: \S.*\.\n    Outside: \S.*\.\n")
# These make maps of maps, or one vector of all positions, and neither read nor make places.
WITHOUT_PLACES = {"attention_marginals", "self_attention", "trilinear_attention"} | {
    *("bilinear_pool", "compact_bilinear_pool", "covariance", "isqrt_covariance", "kernel_pool"),
    *("matrix_power_covariance", "mac", "spoc", "gem", "crow", "rmac"),
}


@pytest.mark.parametrize("name", ops.__all__)
def test_help_says_the_convention_in_three_lines(name):
    sections = SECTION.findall(inspect.getdoc(getattr(ops, name)) + "\n")
    if name in WITHOUT_PLACES:
        assert sections == []
    else:
        assert len(sections) == 1
        assert LINES.fullmatch(sections[0]), sections[0]


# ---- Where the lines claim what no other test of an op shows.


@pytest.mark.parametrize(("padding", "fill"), [("zeros", 0.0), ("zeros", 7.0), ("border", 0), ("wrap", 0)])
@pytest.mark.daily("zeros-7.0")
def test_a_coordinate_that_is_no_number_reads_0_of_every_sampler(padding, fill):
    options = {"padding": padding, "fill": fill}
    image, nowhere = jnp.ones((3, 4, 2)), jnp.array([jnp.nan, 1.0])
    line = jnp.array([jnp.nan])

    @jax.jit
    def by_every_sampler():
        return [
            ops.sample(image, nowhere, **options),
            ops.sample_channels(image, jnp.stack([nowhere, nowhere]), **options),
            ops.sample_volume(image[None], jnp.array([1.0, jnp.nan, 0.0]), **options),
            ops.grid_sample(image, nowhere, align_corners=True, **options),
            ops.sample_separable(image, line, jnp.ones(1), **options)[0, 0],
            ops.sample_separable(image, jnp.ones(1), line, **options)[0, 0],
        ]

    assert_array_equal(by_every_sampler(), np.zeros((6, 2)))


def test_what_converts_coordinates_goes_on_beyond_the_map():
    assert_array_equal(ops.to_pixels(jnp.array([-3.0, 3.0]), (3, 5)), [-4, 4])
    assert_array_equal(ops.to_normalised(jnp.array([-4.0, 4.0]), (3, 5)), [-3, 3])


def test_a_warp_off_the_map_has_a_jacobian_and_folds_as_any_other():
    coords = 100 + 2 * ops.identity_coords((3, 4))
    assert_array_equal(ops.jacobian(coords), np.broadcast_to(2 * np.eye(2, dtype=np.float32), (3, 4, 2, 2)))
    assert not ops.folds(coords).any()
    assert ops.folds(coords[:, ::-1]).all()


def test_displacements_and_footprints_may_lead_off_the_map():
    assert_array_equal(ops.displace(jnp.full((2, 2, 2), 5.0))[1, 0], [5, 6])
    points = ops.footprint_coords(3 * ops.identity_coords((3, 3)), 3)
    assert_allclose([points.min(), points.max()], [-8 / 9, 6 + 8 / 9], rtol=1e-6)


@pytest.mark.parametrize(("border", "corner"), [("mask", [0.5, 0.5]), ("zero", [0, 0])])
@pytest.mark.daily("zero-corner1")
def test_the_border_decides_where_a_uniform_softmax_leads(border, corner):
    response = jnp.full((3, 4, 1), 0.0)
    found = ops.candidate_probabilities(jnp.zeros((3, 4, 1, 9)), response, window=(3, 3), border=border)
    assert_allclose(ops.expected_displacement(found, window=(3, 3))[0, 0, 0], corner, atol=1e-6)


@pytest.mark.parametrize(("align_corners", "inside"), [(True, True), (False, False)])
@pytest.mark.daily("False-False")
def test_the_saliency_grid_of_a_peak_in_the_corner(align_corners, inside):
    saliency = np.full((4, 4), 1e-6, np.float32)
    saliency[3, 3] = 1
    zoom = jax.jit(functools.partial(ops.saliency_grid, fwhm=2.0, pad=3, align_corners=align_corners), static_argnums=1)
    assert (np.max(zoom(saliency, (16, 16))) <= 1) == inside
    assert np.max(zoom(saliency, (4, 4))) <= 1


@pytest.mark.parametrize(("first", "least"), [(0.0, 0.0), (1.0, -1.0), (3.0, -1.0)])
@pytest.mark.daily("3.0--1.0")
def test_inverse_cdf_stays_on_the_map_but_for_one_cell_before_it(first, least):
    attention = np.exp(2 * np.random.default_rng(0).normal(size=(5, 6))).astype(np.float32)
    lines = jax.jit(lambda attention: ops.attention_coords(attention, (40, 50), first=first))(attention)
    for line, size in zip(lines, (6, 5), strict=True):
        assert line[0] == least
        assert least <= line.min() <= line.max() < size - 1


@pytest.mark.parametrize("align_corners", [True, False])
def test_resizing_reads_no_further_than_half_a_pixel_beyond_the_border(align_corners):
    image = jnp.arange(4.0)[None, :, None]
    row = ops.resize(image, (1, 8), align_corners=align_corners)[0, :, 0]
    places = np.linspace(0, 3, 8) if align_corners else np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3)
    assert_allclose(row, places, rtol=1e-6)
