"""Wrapping, a fill value outside, and the nearest voxel: against SciPy and plain loops."""

import functools
import itertools

import jax
import jax.numpy as jnp
import loops
import numpy as np
import operators
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import map_coordinates

from vtnjax import ops

METHODS = ("nearest", "bilinear", "bicubic")
ORDER = {"nearest": 0, "bilinear": 1}
NAN, INF = np.nan, np.inf
pytestmark = pytest.mark.usefixtures("x64_module")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def scattered(*shape, sizes=(4, 5), seed=1):
    """Points up to two images away on every side."""
    return loops.random_coords(np.random.default_rng(seed), shape, sizes, beyond=8.5)


def by_scipy(image, coords, method, **options):
    channels = [
        map_coordinates(image[..., k], np.moveaxis(coords[..., ::-1], -1, 0), order=ORDER[method], **options)
        for k in range(image.shape[-1])
    ]
    return np.stack(channels, -1)


@pytest.mark.parametrize(("method", "kind"), list(itertools.product(ORDER, ("wrap", "fill"))))
def test_wrap_and_fill_are_scipys(method, kind):
    ours, theirs = {
        "wrap": ({"padding": "wrap"}, {"mode": "grid-wrap"}),
        "fill": ({"fill": 2.5}, {"mode": "grid-constant", "cval": 2.5}),
    }[kind]
    image, coords = normal(4, 5, 2), scattered(30)
    found = jax.jit(functools.partial(ops.sample, method=method, **ours))(jnp.asarray(image), jnp.asarray(coords))
    assert_allclose(found, by_scipy(image, coords, method, **theirs), atol=1e-12)
    volume, coords = normal(2, 3, 4, 2), scattered(30, sizes=(2, 3, 4))
    sample_volume = jax.jit(functools.partial(ops.sample_volume, method=method, **ours))
    found = sample_volume(jnp.asarray(volume), jnp.asarray(coords))
    assert_allclose(found, by_scipy(volume, coords, method, **theirs), atol=1e-12)


@pytest.mark.parametrize("shape", [(4, 5), (1, 3), (3, 1), (1, 1)])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.daily("nearest-shape0", "bilinear-shape0", "bilinear-shape3", "bicubic-shape1")
def test_wrap_and_fill_are_the_plain_loop(method, shape):
    image, coords, fill = normal(*shape, 2), scattered(20, sizes=shape), normal(2, seed=2)
    coords = np.concatenate([coords, np.round(coords[:8])])
    for options in ({"padding": "wrap"}, {"fill": fill}):
        found = jax.jit(functools.partial(ops.sample, method=method, **options))(
            jnp.asarray(image), jnp.asarray(coords)
        )
        assert_allclose(found, loops.sample(image, coords, method=method, **options), atol=1e-12)


def paired(image, coords, **options):
    """Both groups of channels read at the same points."""
    return ops.sample_channels(image, jnp.stack([coords, coords], -2), **options)


def crossed(backend):
    def function(image, coords, **options):
        rows = [ops.sample_separable(image, point[:1], point[1:], backend=backend, **options)[0, 0] for point in coords]
        return jnp.stack(rows)

    return function


SAMPLERS = {
    "sample": ops.sample,
    "channels": paired,
    "lerp": crossed("lerp"),
    "matmul": crossed("matmul"),
    "auto": crossed("auto"),
    "grid_sample": lambda image, coords, **o: ops.grid_sample(
        image, ops.to_normalised(coords, image.shape[:2], align_corners=False), align_corners=False, **o
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_wraps_and_fills_with_right_derivatives(name):
    image, coords, fill, cotangent = normal(4, 5, 2), scattered(5), normal(2, seed=2), normal(5, 2, seed=3)
    for padding in ("wrap", "zeros"):

        def function(image, coords, fill, padding=padding):
            options = {"padding": padding} if padding == "wrap" else {"fill": fill}
            return SAMPLERS[name](image, coords, **options)

        def oracle(image, coords, fill, padding=padding):
            return loops.sample(image, coords, padding=padding, fill=fill)

        arrays = image, coords, fill
        found, pull_back = jax.vjp(jax.jit(function), *map(jnp.asarray, arrays))
        assert_allclose(found, oracle(*arrays), atol=1e-12)
        d_image, d_coords, d_fill = pull_back(jnp.asarray(cotangent))
        right = loops.right_derivatives(lambda at: oracle(image, at, fill), coords)
        assert_allclose(d_coords, np.einsum("pc,pca->pa", cotangent, right), atol=1e-9)
        assert_allclose((d_image * image).sum() + (d_fill * fill).sum(), (cotangent * oracle(*arrays)).sum(), atol=1e-9)
        ones = oracle(np.zeros_like(image), coords, np.ones(2))
        assert_allclose(d_fill, (ones * cotangent).sum(0) * (padding == "zeros"), atol=1e-9)


@pytest.mark.slow
def test_one_period_further_wrap_reads_the_same():
    image, coords = jnp.asarray(normal(4, 5, 2)), scattered(20)
    for method in METHODS:
        here, there = (
            operators.sample(image, jnp.asarray(coords + shift), method=method, padding="wrap")
            for shift in (np.zeros(2), np.array([10.0, -4.0]))
        )
        assert_allclose(here, there, atol=1e-12)


@pytest.mark.slow
def test_between_the_last_pixel_and_the_first_lies_a_cell():
    row = jnp.array([3.0, 5.0, 11.0, 2.0])[None, :, None]
    points = jnp.stack([jnp.array([3.25, -0.75, 4.0, -1.0]), jnp.zeros(4)], -1)
    assert_allclose(ops.sample(row, points, padding="wrap")[:, 0], [2.25, 2.25, 3, 2])
    assert_array_equal(ops.sample(row, points, padding="wrap", method="nearest")[:, 0], [2, 2, 3, 2])


@pytest.mark.slow
def test_wrap_at_places_that_are_none():
    row = jnp.array([3.0, 5.0, 11.0])[None, :, None]
    points = jnp.stack([jnp.array([NAN, INF, -INF, 1e300]), jnp.zeros(4)], -1)
    for method in METHODS:
        found = ops.sample(row, points, padding="wrap", method=method)[:, 0]
        assert_array_equal(found, [0, 11, 3, 11], method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.daily("bilinear")
def test_fill_at_places_that_are_none(method):
    points = jnp.array([[INF, 0.0], [-INF, 1.0], [1e300, 1.0], [9.0, 1.0], [NAN, 1.0], [1.0, NAN], [1.0, 1.0]])

    @jax.jit
    def value_and_gradient(points):
        function = functools.partial(ops.sample, jnp.ones((3, 4, 1)), method=method, fill=5.0)
        value, pull_back = jax.vjp(function, points)
        return value[:, 0], *pull_back(jnp.ones_like(value))

    found, gradient = value_and_gradient(points)
    assert_array_equal(found, [5, 5, 5, 5, 0, 0, 1])
    assert_array_equal(gradient, np.zeros((7, 2)))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_fill_that_is_no_number_marks_what_reads_outside_and_nothing_else(method):
    image = jnp.asarray(normal(4, 5, 1))
    whole = ops.identity_coords((4, 5))
    if method == "bicubic":
        whole = whole[1:2, 1:3]  # the others read beyond the border
    filled = jax.jit(functools.partial(ops.sample, method=method, fill=NAN))
    assert_allclose(filled(image, whole), operators.sample(image, whole, method=method), atol=1e-12)
    outside = jnp.array([[4.6, 1.0], [-0.6, 1.2], [2.0, 3.7], [20.0, 1.0]])
    assert np.isnan(filled(image, outside)).all()
    slopes = jax.jit(jax.grad(lambda p: filled(image, p).sum()))(whole[:1, :1] + 0.25)
    assert np.isfinite(slopes).all()


@pytest.mark.slow
def test_fill_keeps_the_images_dtype_and_takes_whole_numbers():
    for dtype in (jnp.bfloat16, jnp.float32):
        found = jax.jit(ops.sample)(jnp.ones((2, 2, 3), dtype), jnp.full((1, 2), 9.0), fill=jnp.array([0, 1, 255]))
        assert found.dtype == dtype
        assert_array_equal(found.astype(jnp.float32), [[0, 1, 255]])


def test_fill_of_one_number_under_jit_vmap_and_grad():
    images, points = jnp.asarray(normal(3, 4, 5, 2)), jnp.asarray(scattered(3, 6))
    fills = jnp.array([1.0, -2.0, 0.0])

    def total(fill, image, points):
        return ops.sample(image, points, fill=fill).sum()

    found = jax.jit(jax.vmap(jax.grad(total)))(fills, images, points)
    ones = [loops.sample(np.zeros((4, 5, 2)), np.asarray(at), fill=1.0).sum() for at in points]
    assert_allclose(found, ones, atol=1e-12)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection", "wrap"])
@pytest.mark.daily("zeros", "reflection")
def test_the_nearest_voxel_is_the_plain_loop(padding):
    volume, coords = normal(2, 3, 4, 2), scattered(30, sizes=(2, 3, 4))
    options = {"method": "nearest", "padding": padding}
    found = operators.sample_volume(jnp.asarray(volume), jnp.asarray(coords), **options)
    assert_array_equal(found, loops.sample(volume, coords, **options))
    for align in (True, False):
        grid = ops.to_normalised(jnp.asarray(coords), (2, 3, 4), align_corners=align)
        found = operators.grid_sample(jnp.asarray(volume), grid, align_corners=align, **options)
        edges = padding == "reflection" and not align
        assert_array_equal(found, loops.sample(volume, coords, edges=edges, **options))


def test_the_nearest_voxels_gradient():
    volume, point = jnp.asarray(normal(2, 3, 4, 1)), jnp.array([[1.2, 1.9, 0.4]])
    total = jax.jit(jax.grad(lambda v, p: ops.sample_volume(v, p, method="nearest").sum(), (0, 1)))
    d_volume, d_point = map(np.asarray, total(volume, point))
    assert_array_equal(d_point, np.zeros((1, 3)))
    assert d_volume[0, 2, 1, 0] == d_volume.sum() == 1
