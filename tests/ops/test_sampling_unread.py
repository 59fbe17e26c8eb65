"""NaN and infinite pixels show in the samples that read them, and in no other; so do the samples' cotangents."""

import functools
import itertools

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from vtnjax import ops

pytestmark = pytest.mark.usefixtures("x64_module")

NAN, INF = np.nan, np.inf
H, W = 4, 5
INSIDE = [(1.3, 0.6), (2.0, 1.5), (3.0, 2.0), (0.0, 0.0), (4.0, 3.0), (3.5, 3.0), (4.0, 1.2)]
PARTLY = [(-0.3, 1.5), (4.4, 1.5), (1.5, -0.6), (2.5, 3.7), (-0.5, -0.5), (4.2, 3.9), (-1.0, 1.5), (5.0, 1.5)]
OUTSIDE = [(50.0, 1.5), (1e6, 1e6), (-2.5, 1.5), (1.5, -3.0), (6.5, 2.0), (1.5, 5.5), (-30.0, 2.0), (7.0, 8.0)]
COORDS = np.array(INSIDE + PARTLY + OUTSIDE)
BAD_PIXELS = {
    "last column": ((slice(None), -1), NAN),
    "first row": ((0,), NAN),
    "next to the border": ((slice(None), 1), NAN),
    "next to the last row": ((H - 2,), INF),
    "a corner": ((0, 0), INF),
    "inside": ((2, 3), -INF),
}


def spoilt(name, channels=1):
    image = np.random.default_rng(0).normal(size=(H, W, channels))
    where, value = BAD_PIXELS[name]
    image[where] = value
    return image


def by_loop(image, coords, **options):
    with np.errstate(invalid="ignore"):
        return loops.sample(image, coords, **options)


def in_volume(function):
    """A sampler of volumes as one of images: the image is the second of three slices, the others are zeros."""

    def run(image, coords):
        volume = jnp.pad(image[None], [(1, 1), (0, 0), (0, 0), (0, 0)])
        return function(volume, jnp.concatenate([coords, jnp.ones((*coords.shape[:-1], 1))], -1))

    return run


def of_groups(image, coords):
    """The image twice or more, in two groups, of which the second reads the points in the opposite order."""
    wide = jnp.tile(image, (1, 1, 8 // image.shape[-1] or 2))
    return ops.sample_channels(wide, jnp.stack([coords, coords[::-1]], -2))[..., : image.shape[-1]]


def a_line_each(image, coords):
    def one(point):
        return ops.sample_separable(image, point[:1], point[1:], backend="lerp")[0, 0]

    return jax.vmap(one)(coords)


BILINEAR = {
    "sample": ops.sample,
    "channels": lambda image, coords: ops.sample_channels(image, coords[..., None, :]),
    "groups": of_groups,
    "volume": in_volume(ops.sample_volume),
    "separable": a_line_each,
    "grid_sample": lambda image, coords: ops.grid_sample(
        image, ops.to_normalised(coords, (H, W), align_corners=False), align_corners=False
    ),
}
DIFFERENTIABLE = BILINEAR | {"bicubic": functools.partial(ops.sample, method="bicubic")}
NEAREST = {
    "sample": functools.partial(ops.sample, method="nearest"),
    "volume": in_volume(functools.partial(ops.sample_volume, method="nearest")),
}


@pytest.mark.parametrize("channels", [1, 4, 17])  # each masks in another way
@pytest.mark.parametrize("name", BILINEAR)
@pytest.mark.daily("channels-4")
def test_a_bad_pixel_shows_where_it_is_read_and_nowhere_else(name, channels):
    function, coords = jax.jit(BILINEAR[name]), COORDS
    if name == "grid_sample":  # whole coordinates are rounded on the way
        coords = COORDS[(COORDS % 1 != 0).all(-1)]
    for bad in BAD_PIXELS:
        image = spoilt(bad, channels)
        found = function(jnp.asarray(image), jnp.asarray(coords))
        np.testing.assert_allclose(found, by_loop(image, coords), atol=1e-10, err_msg=bad)


@pytest.mark.parametrize("padding", ["border", "wrap"])
@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic"])
@pytest.mark.daily("bilinear-border")
def test_a_bad_pixel_with_other_paddings(method, padding):
    function = jax.jit(functools.partial(ops.sample, method=method, padding=padding))
    coords = COORDS[np.abs(COORDS).max(-1) < 10]
    for bad in BAD_PIXELS:
        image = spoilt(bad)
        if padding == "border":
            expected = by_loop(image, coords, method=method, padding=padding)
        else:
            tiled = np.tile(image, (5, 5, 1))
            expected = by_loop(tiled, np.mod(coords, [W, H]) + np.array([2 * W, 2 * H]), method=method)
        np.testing.assert_allclose(function(jnp.asarray(image), jnp.asarray(coords)), expected, atol=1e-10, err_msg=bad)


@pytest.mark.parametrize("method", ["nearest", "bicubic"])
def test_a_bad_pixel_with_zeros_by_the_other_methods(method):
    functions = NEAREST.values() if method == "nearest" else [functools.partial(ops.sample, method="bicubic")]
    for function, bad in itertools.product(map(jax.jit, functions), BAD_PIXELS):
        image = spoilt(bad, 2)
        found = function(jnp.asarray(image), jnp.asarray(COORDS))
        np.testing.assert_allclose(found, by_loop(image, COORDS, method=method), atol=1e-10, err_msg=bad)


def test_reflection_reads_the_last_column_alone_at_the_last_column():
    image = spoilt("next to the last row")
    found = ops.sample(jnp.asarray(image), jnp.array([[1.5, 3.0]]), padding="reflection")
    np.testing.assert_allclose(found, by_loop(image, np.array([[1.5, 3.0]]), padding="reflection"))


@pytest.mark.parametrize("channels", [1, 2, 17])
@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.daily("channels-1")
def test_the_gradient_of_what_reads_no_bad_pixel_is_a_number(name, channels):
    """Of value, gradient and second derivative by the coordinates, and 0 where nothing is read."""
    function = DIFFERENTIABLE[name]
    method = "bicubic" if name == "bicubic" else "bilinear"

    def derivatives(image, coords):
        if name == "groups":  # the points are not read one at a time
            first = jax.grad(lambda coords: (function(image, coords) ** 2).sum())
        else:
            first = jax.vmap(jax.grad(lambda point: (function(image, point[None]) ** 2).sum()))
        return first(coords), jax.jvp(first, (coords,), (jnp.ones_like(coords),))[1]

    derivatives = jax.jit(derivatives)
    coords = COORDS[(COORDS % 1 != 0).all(-1)] if name == "grid_sample" else COORDS
    for bad in BAD_PIXELS:
        image = spoilt(bad, channels)
        clean = np.isfinite(by_loop(image, coords, method=method)).all(-1)
        unread = (by_loop(np.ones((H, W, 1)), coords) == 0)[:, 0]
        first, second = derivatives(jnp.asarray(image), jnp.asarray(coords))
        assert np.isfinite(first[clean]).all(), bad
        assert np.isfinite(second[clean]).all(), bad
        far = (np.abs(coords) > 5).any(-1)
        assert unread[far].all()
        assert_array_equal(first[far], np.zeros((far.sum(), 2)), bad)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.daily("groups")
def test_a_cotangent_that_is_no_number_stays_where_it_is_read(name):
    function = DIFFERENTIABLE[name]
    coords = jnp.asarray(OUTSIDE)
    shape = jax.eval_shape(function, jnp.zeros((H, W, 1)), coords).shape
    gradient = jax.jit(lambda image: jax.vjp(lambda i: function(i, coords), image)[1](jnp.full(shape, NAN))[0])
    far = gradient(jnp.asarray(spoilt("inside"))[:, :, :1])
    assert_array_equal(far, np.zeros((H, W, 1)))


def test_what_is_far_outside_is_zero_with_gradient_zero():
    image = jnp.ones((4, 4, 1)).at[:, -1].set(NAN)
    for point in ([50.0, 1.5], [1e6, 1e6]):
        value, slope = jax.value_and_grad(lambda p: ops.sample(image, p).sum())(jnp.array(point))
        assert value == 0
        assert_array_equal(slope, [0, 0])
