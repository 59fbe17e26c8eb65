import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from operators import sample

from vtnjax import ops

footprint_coords = jax.jit(ops.footprint_coords, static_argnums=1)


def shrunk(times, shape, start):
    """Coordinates of an output whose pixels lie `times` input pixels apart."""
    return times * np.moveaxis(np.indices(shape)[::-1], 0, -1) + start


@pytest.mark.parametrize("samples", [1, 3, (2, 4)])
@pytest.mark.parametrize("shape", [(4, 5), (1, 3), (3, 1), (1, 1)])
def test_the_footprint_is_that_of_plain_loops(x64, shape, samples):
    coords = 2 * np.random.default_rng(0).normal(size=(*shape, 2))
    rows, columns = samples if isinstance(samples, tuple) else (samples, samples)
    found = footprint_coords(jnp.asarray(coords), samples)
    assert_allclose(found, loops.footprint(coords, rows, columns), atol=1e-12)


@pytest.mark.parametrize("times", [-1.0, 0.3, 1.0])
def test_a_warp_that_does_not_shrink_reads_each_point_itself(times):
    coords = jnp.asarray(shrunk(times, (3, 4), 0.25))
    found = footprint_coords(coords, 2)
    assert_array_equal(found, np.repeat(np.asarray(coords)[:, :, None], 4, axis=2))


@pytest.mark.slow
def test_a_shrunk_image_is_the_mean_of_what_its_pixels_cover(x64):
    """Bands as fine as the output: one point a pixel makes coarse bands of them, their mean is all but grey."""
    rows = np.arange(64.0)
    image = np.stack(np.broadcast_arrays(0.5 + 0.5 * np.cos(2 * np.pi * rows / 9)[:, None], np.zeros((64, 64))), -1)
    coords = shrunk(8.0, (8, 8), 3.5)
    points = footprint_coords(jnp.asarray(coords), 16)
    one, many = (np.asarray(sample(jnp.asarray(image), jnp.asarray(at))) for at in (coords, points))
    one, many = one[1:-1, 1:-1, 0], many.mean(-2)[1:-1, 1:-1, 0]
    covered = image[:, :, 0].reshape(8, 8, 8, 8).mean((1, 3))[1:-1, 1:-1]
    assert np.abs(one - covered).max() > 0.35
    assert np.abs(many - covered).max() < 0.03


@jax.jit
def means_and_gradient(coords):
    image = jnp.asarray(np.random.default_rng(0).normal(size=(15, 15, 1)), jnp.float32)
    means, pull_back = jax.vjp(lambda at: ops.sample(image, ops.footprint_coords(at, 2)).mean((-2, -1)), coords)
    return means, *pull_back(jnp.ones_like(means))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
@pytest.mark.daily("inf")
def test_convention_one_bad_coordinate_spoils_no_other_pixel(bad):
    coords = shrunk(3.0, (5, 5), 1.0)
    spoilt = coords.copy()
    spoilt[2, 2, 0] = bad
    (found, gradient), (good, _) = (map(np.asarray, means_and_gradient(jnp.asarray(at))) for at in (spoilt, coords))
    far = np.ones((5, 5), bool)
    far[[1, 2, 2, 2, 3], [2, 1, 2, 3, 2]] = False
    assert_array_equal(found[far], good[far])
    assert found[2, 2] == 0
    assert np.isfinite(found).all()
    assert np.isfinite(gradient).all()
