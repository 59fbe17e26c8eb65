import functools
import itertools

import jax
import jax.numpy as jnp
import loops
import numpy as np
import operators
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import ops

NAN, INF, HUGE = np.nan, np.inf, 1e30
EVERY = list(itertools.product(("nearest", "bilinear", "bicubic"), ("zeros", "border", "reflection", "wrap")))
GOOD = np.array([(1.2, 0.7), (-0.4, 3.6), (3.3, 2.1)], np.float32)
BAD = np.array(
    [
        *[(NAN, 1.2), (1.3, NAN), (NAN, NAN), (NAN, INF), (-INF, NAN)],
        *[(INF, 1.2), (-INF, 1.2), (1.3, INF), (1.3, -INF), (INF, -INF)],
        *[(HUGE, 1.2), (-HUGE, 1.2), (1.3, HUGE), (1.3, -HUGE), (-3e38, 3e38), (2.0**31, 1.2), (1e10, -1e10)],
    ],
    np.float32,
)
COORDS = np.concatenate([GOOD, BAD])
UNREADABLE = np.isnan(COORDS).any(-1)
HOPELESS = ~(np.abs(COORDS) < 1e9)  # NaN included


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def brought_to_the_border(coords, sizes):
    """What a coordinate at infinity must read: the last pixel or the first."""
    last = np.array(sizes[::-1], np.float32) - 1
    return np.where(np.abs(coords) < 1e9, coords, np.where(coords > 0, last, 0)).astype(np.float32)


def expected_values(image, coords, **options):
    safe = brought_to_the_border(coords, image.shape[:-1])
    bad = ~(np.abs(coords) < 1e9)
    lost = bad.any(-1) if options["padding"] == "zeros" else np.isnan(coords).any(-1)
    return np.where(lost[..., None], 0, loops.sample(image, safe, **options))


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradients(function, image, coords, cotangent):
    value, vjp = jax.vjp(function, image, coords)
    return value, *vjp(cotangent)


SAMPLERS = {every: functools.partial(ops.sample, method=every[0], padding=every[1]) for every in EVERY}


@pytest.mark.parametrize(("method", "padding"), EVERY)
@pytest.mark.daily("nearest-zeros", "bilinear-border", "bicubic-zeros", "bicubic-reflection")
def test_convention_bad_coordinates_read_zero_or_the_border(method, padding):
    image, cotangent = normal(4, 5, 2), jnp.asarray(normal(len(COORDS), 2))
    function = SAMPLERS[method, padding]
    found, _, _ = value_and_gradients(function, jnp.asarray(image), jnp.asarray(COORDS), cotangent)
    assert_allclose(found, expected_values(image, COORDS, method=method, padding=padding), atol=1e-5)


@pytest.mark.parametrize(("method", "padding"), EVERY)
@pytest.mark.daily("nearest-zeros", "nearest-reflection", "bilinear-*", "bicubic-zeros", "bicubic-reflection")
def test_convention_the_gradient_of_a_bad_coordinate_is_zero(method, padding):
    function = SAMPLERS[method, padding]
    cotangent = jnp.asarray(normal(len(COORDS), 2))
    _, _, d_coords = value_and_gradients(function, jnp.asarray(normal(4, 5, 2)), jnp.asarray(COORDS), cotangent)
    assert np.isfinite(d_coords).all()
    lost = HOPELESS.any(-1) if padding == "zeros" else UNREADABLE
    assert_array_equal(np.asarray(d_coords)[HOPELESS], 0)
    assert_array_equal(np.asarray(d_coords)[lost], 0)
    if method != "nearest":
        assert np.abs(d_coords[: len(GOOD)]).max() > 0


@pytest.mark.parametrize(("method", "padding"), EVERY)
@pytest.mark.daily("nearest-zeros", "nearest-reflection", "bilinear-*", "bicubic-zeros", "bicubic-reflection")
def test_convention_a_bad_coordinate_spoils_no_other_pixel(method, padding):
    function = SAMPLERS[method, padding]
    image, cotangent = jnp.asarray(normal(4, 5, 2)), normal(len(COORDS), 2)
    value, d_image, d_coords = value_and_gradients(function, image, jnp.asarray(COORDS), jnp.asarray(cotangent))
    lost = HOPELESS.any(-1) if padding == "zeros" else UNREADABLE
    silent = np.where(lost[:, None], 0, cotangent)
    safe = brought_to_the_border(COORDS, (4, 5))
    safe_value, safe_d_image, safe_d_coords = value_and_gradients(
        function, image, jnp.asarray(safe), jnp.asarray(silent)
    )
    good = slice(len(GOOD))
    assert_allclose(value[good], safe_value[good], atol=1e-6)
    assert_allclose(d_coords[good], safe_d_coords[good], atol=1e-6)
    assert_allclose(d_image, safe_d_image, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_forward_mode_and_second_order_stay_finite_at_bad_coordinates(padding):
    image, coords = jnp.asarray(normal(4, 5, 2)), jnp.asarray(COORDS)

    def loss(coords):
        return (ops.sample(image, coords, padding=padding) ** 2).sum()

    push = jnp.ones_like(coords)
    slope, curve = jax.jit(lambda c: [jax.jvp(f, (c,), (push,))[1] for f in (loss, jax.grad(loss))])(coords)
    assert np.isfinite(slope)
    assert np.isfinite(curve).all()


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_bad_coordinates_of_channel_groups(padding):
    image, coords = normal(4, 5, 4), np.stack([COORDS, COORDS[::-1]], -2)
    function = functools.partial(ops.sample_channels, padding=padding)
    found, d_image, d_coords = value_and_gradients(
        function, jnp.asarray(image), jnp.asarray(coords), jnp.ones((len(coords), 4))
    )
    for j, part in enumerate(np.split(image, 2, -1)):
        expected = expected_values(part, coords[:, j], padding=padding)
        assert_allclose(found[:, 2 * j : 2 * j + 2], expected, atol=1e-5)
    assert np.isfinite(d_image).all()
    assert np.isfinite(d_coords).all()


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_bad_coordinates_of_volumes(padding):
    volume = normal(3, 4, 5, 2)
    coords = np.concatenate([np.insert(COORDS, axis, 0.8, axis=-1) for axis in range(3)])
    function = functools.partial(ops.sample_volume, padding=padding)
    found, d_volume, d_coords = value_and_gradients(
        function, jnp.asarray(volume), jnp.asarray(coords), jnp.ones((len(coords), 2))
    )
    assert_allclose(found, expected_values(volume, coords, padding=padding), atol=1e-5)
    assert np.isfinite(d_volume).all()
    assert np.isfinite(d_coords).all()
    assert_array_equal(np.asarray(d_coords)[~(np.abs(coords) < 1e9)], 0)


@pytest.mark.parametrize("backend", ["lerp", "matmul"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.daily("zeros-matmul")
def test_bad_coordinates_of_separable_axes(padding, backend):
    image = normal(4, 5, 2)
    x, y = np.array([[1.2, NAN, INF, -INF, HUGE, -HUGE, 3.4], [0.6, NAN, -INF, INF, 2.0**31, -1e10, 2.2]], np.float32)

    def function(image, axes):
        return ops.sample_separable(image, axes[0], axes[1], padding=padding, backend=backend)

    found, d_image, d_axes = value_and_gradients(
        function, jnp.asarray(image), jnp.asarray(np.stack([x, y])), jnp.ones((7, 7, 2))
    )
    crossed = np.stack(np.meshgrid(x, y), -1)
    assert_allclose(found, expected_values(image, crossed, padding=padding), atol=1e-5)
    assert np.isfinite(d_image).all()
    assert_array_equal(np.asarray(d_axes)[:, 1:6], 0)
    assert (np.abs(d_axes[:, [0, 6]]) > 0).all()


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.daily("border-False")
def test_bad_grids(padding, align_corners):
    image, grid = normal(4, 5, 2), np.concatenate([GOOD / 4, BAD])
    grid[np.abs(grid - 1) < 0.5] = 0.1
    found = operators.grid_sample(jnp.asarray(image), jnp.asarray(grid), padding=padding, align_corners=align_corners)
    coords = loops.pixels(grid.astype(float), (4, 5), align_corners)
    expected = expected_values(image, coords, padding=padding, edges=not align_corners)
    assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_an_infinite_grid_reads_the_only_pixel_of_a_short_axis():
    grid = jnp.array([[INF, 0.0], [-INF, 0.0], [HUGE, 0.0], [0.0, 0.0]])
    for padding, align in itertools.product(("border", "reflection"), (True, False)):
        found = operators.grid_sample(jnp.full((3, 1, 1), 2.0), grid, padding=padding, align_corners=align)
        assert_allclose(found, np.full((4, 1), 2.0))


@pytest.mark.parametrize(("method", "padding"), EVERY)
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1)])
@pytest.mark.daily("shape1-bilinear-zeros")
def test_convention_nan_reads_nothing_also_along_an_axis_of_one_pixel(method, padding, shape):
    def total(image, coords):
        return ops.sample(image, coords, method=method, padding=padding).sum()

    image, coords = jnp.full((*shape, 1), 3.0), jnp.array([[NAN, 0.0], [0.0, NAN], [NAN, NAN]])
    value, gradients = jax.jit(jax.value_and_grad(total, (0, 1)))(image, coords)
    assert value == 0
    assert_array_equal(gradients[0], np.zeros((*shape, 1)))
    assert_array_equal(gradients[1], np.zeros((3, 2)))


def test_convention_beyond_one_over_eps_reflection_and_wrap_read_the_border():
    image = jnp.arange(1.0, 8.0)[None, :, None]
    coords = jnp.array([[1e7, 0.0], [-1e7, 0.0], [8e6, 0.0]])
    assert_array_equal(operators.sample(image, coords, padding="reflection")[:2, 0], [7, 1])
    assert_array_equal(operators.sample(image, coords, padding="wrap")[:, 0], [7, 1, 8_000_000 % 7 + 1])


def test_large_but_finite_coordinates_still_reflect():
    image = jnp.arange(7.0)[None, :, None]  # mirrors at 0 and 6: period 12
    coords = jnp.array([[1e6, 0.0], [-1e6, 0.0], [1200001.0, 0.0], [121.5, 0.0]])
    assert_allclose(operators.sample(image, coords, padding="reflection")[:, 0], [4, 4, 1, 1.5], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic"])
def test_beyond_32_bits_float64_coordinates_still_reflect_and_wrap(x64, method):
    image, coords = normal(4, 5, 2).astype(float), np.array([[5e9 + 0.3, 1.2], [-7e9 - 0.4, 2.3], [1.7, 3e12 + 0.25]])
    for options in ({"padding": "reflection"}, {"padding": "wrap"}):
        found = operators.sample(jnp.asarray(image), jnp.asarray(coords), method=method, **options)
        assert_allclose(found, loops.sample(image, coords, method=method, **options), atol=1e-9)
    grid = 2 * (coords + 0.5) / np.array([5.0, 4.0]) - 1
    options = {"method": method, "padding": "reflection", "align_corners": False}
    found = operators.grid_sample(jnp.asarray(image), jnp.asarray(grid), **options)
    assert_allclose(found, loops.grid_sample(image, grid, **options), atol=2e-3)  # of the grid 1e-3 of a pixel is left


@pytest.mark.slow
def test_bad_coordinates_in_float64(x64):
    image, coords = normal(4, 5, 2), BAD.astype(np.float64) * np.array([1e10, 1.0])
    for padding in ("zeros", "border", "reflection"):
        found = operators.sample(jnp.asarray(image), jnp.asarray(coords), padding=padding)
        assert np.isfinite(found).all()
        assert_array_equal(found[:5], np.zeros((5, 2)))
