import functools
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import loops
import numpy as np
import operators
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.ndimage import map_coordinates

from vtnjax import ops

GOLDEN = dict(np.load(Path(__file__).parents[1] / "golden" / "grid_sample.npz"))
METHODS = ("nearest", "bilinear", "bicubic")
PADDINGS = ("zeros", "border", "reflection")
SCIPY = {"zeros": "grid-constant", "border": "nearest", "reflection": "mirror"}
EVERY = list(itertools.product(METHODS, PADDINGS))

pytestmark = pytest.mark.usefixtures("x64", "optimised")


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def random_coords(*shape, sizes=(5, 7), seed=1):
    return loops.random_coords(np.random.default_rng(seed), shape, sizes)


@functools.partial(jax.jit, static_argnums=0)
def pull_back(function, image, coords, cotangent):
    value, vjp = jax.vjp(function, image, coords)
    return value, *vjp(cotangent)


def check_golden(function, case, *inputs, image="image"):
    found = pull_back(function, *(jnp.asarray(GOLDEN[name]) for name in inputs))
    for array, part in zip(found, ("value", f"d_{image}", "d_grid"), strict=True):
        assert_allclose(array, GOLDEN[f"{case}_{part}"], atol=1e-11, err_msg=part)


@pytest.mark.parametrize(("method", "padding", "align"), [(*e, a) for e in EVERY for a in (True, False)])
@pytest.mark.daily("nearest-zeros-True", "bilinear-border-True")
def test_grid_sample_and_both_gradients_match_torch(method, padding, align):
    function = functools.partial(ops.grid_sample, method=method, padding=padding, align_corners=align)
    check_golden(function, f"{method}_{padding}_{align}", "image", "grid", "cotangent")


@pytest.mark.parametrize(("method", "padding", "align"), [(*e, a) for e in EVERY for a in (True, False)])
@pytest.mark.daily(
    "nearest-zeros-False",
    "nearest-border-True",
    "nearest-reflection-True",
    "bilinear-*",
    "bicubic-zeros-True",
    "bicubic-border-False",
    "bicubic-reflection-False",
)
def test_grid_sample_matches_torch_on_integers_halves_and_borders(method, padding, align):
    options = {"method": method, "padding": padding, "align_corners": align}
    found = operators.grid_sample(jnp.asarray(GOLDEN["image"]), jnp.asarray(GOLDEN["lattice"]), **options)
    assert_allclose(found, GOLDEN[f"{method}_{padding}_{align}_lattice"], atol=1e-12)


@pytest.mark.parametrize(
    ("padding", "align"), [("zeros", True), ("zeros", False), ("border", True), ("border", False), ("reflection", True)]
)
@pytest.mark.daily("zeros-True")
def test_sample_volume_and_both_gradients_match_torch(padding, align):
    def function(volume, grid):
        coords = ops.to_pixels(grid, volume.shape[:-1], align_corners=align)
        return ops.sample_volume(volume, coords, padding=padding)

    names = "volume", "volume_grid", "volume_cotangent"
    check_golden(function, f"volume_{padding}_{align}", *names, image="volume")


@pytest.mark.parametrize(("method", "padding"), EVERY)
@pytest.mark.daily("nearest-border", "bilinear-*", "bicubic-zeros", "bicubic-reflection")
def test_sample_is_the_plain_loop(method, padding):
    image, coords = normal(5, 7, 2), np.concatenate([random_coords(40), loops.pixels(GOLDEN["lattice"][0], (5, 9))])
    found = operators.sample(jnp.asarray(image), jnp.asarray(coords), method=method, padding=padding)
    assert_allclose(found, loops.sample(image, coords, method=method, padding=padding), atol=1e-12)


@pytest.mark.parametrize(("padding", "align"), list(itertools.product(PADDINGS, (True, False))))
@pytest.mark.daily("border-True")
def test_grid_sample_of_a_volume_and_both_gradients_match_torch(padding, align):
    function = functools.partial(ops.grid_sample, padding=padding, align_corners=align)
    names = "volume", "volume_grid", "volume_cotangent"
    check_golden(function, f"volume_{padding}_{align}", *names, image="volume")


def test_sample_is_equation_5():
    image, coords = normal(5, 7, 2), random_coords(30)
    assert_allclose(
        operators.sample(jnp.asarray(image), jnp.asarray(coords)), loops.hat_sample(image, coords), atol=1e-12
    )


def test_sample_volume_is_equation_9():
    volume, coords = normal(3, 4, 5, 2), random_coords(30, sizes=(3, 4, 5))
    found = operators.sample_volume(jnp.asarray(volume), jnp.asarray(coords))
    assert_allclose(found, loops.hat_sample(volume, coords), atol=1e-12)


def test_the_gradient_for_the_image_is_equation_6_and_for_x_equation_7():
    image, coords, cotangent = normal(5, 7, 2), random_coords(30), normal(30, 2, seed=2)
    _, d_image, d_coords = pull_back(ops.sample, *map(jnp.asarray, (image, coords, cotangent)))
    slopes = loops.hat_derivative_x(image, coords)
    assert_allclose(d_coords[:, 0], (slopes * cotangent).sum(-1), atol=1e-12)
    weights = loops.hat_sample(np.eye(35).reshape(5, 7, 35), coords)
    assert_allclose(d_image, np.einsum("ip,ic->pc", weights, cotangent).reshape(5, 7, 2), atol=1e-12)


@pytest.mark.parametrize("padding", PADDINGS)
def test_sample_is_scipys_map_coordinates(padding):
    image, coords = normal(5, 7), random_coords(6, 8)
    found = operators.sample(jnp.asarray(image[..., None]), jnp.asarray(coords), padding=padding)[..., 0]
    oracle = map_coordinates(image, np.moveaxis(coords[..., ::-1], -1, 0), order=1, mode=SCIPY[padding])
    assert_allclose(found, oracle, atol=1e-10)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.daily("zeros", "reflection")
def test_sample_volume_is_scipys_map_coordinates(padding):
    volume, coords = normal(3, 4, 5), random_coords(50, sizes=(3, 4, 5))
    found = operators.sample_volume(jnp.asarray(volume[..., None]), jnp.asarray(coords), padding=padding)[..., 0]
    oracle = map_coordinates(volume, coords[:, ::-1].T, order=1, mode=SCIPY[padding])
    assert_allclose(found, oracle, atol=1e-10)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.daily("zeros", "reflection")
def test_sample_channels_is_scipys_map_coordinates_a_channel_at_a_time(padding):
    image, coords = normal(5, 7, 6), random_coords(4, 3, 2)
    found = operators.sample_channels(jnp.asarray(image), jnp.asarray(coords), padding=padding)
    for channel in range(6):
        yx = np.moveaxis(coords[:, :, channel // 3, ::-1], -1, 0)
        oracle = map_coordinates(image[..., channel], yx, order=1, mode=SCIPY[padding])
        assert_allclose(found[..., channel], oracle, atol=1e-10)


def test_convention_group_j_of_consecutive_channels_uses_field_j():
    image = jnp.ones((1, 8, 6)) * jnp.arange(8.0)[None, :, None]  # every channel reads its own x
    fields = jnp.stack([jnp.array([1.0, 3.0, 6.0]), jnp.zeros(3)], -1)
    assert_allclose(ops.sample_channels(image, fields), [1, 1, 3, 3, 6, 6])


@pytest.mark.parametrize(
    ("groups", "method", "padding"),
    [(1, "bilinear", "zeros"), (6, "bilinear", "border"), (2, "nearest", "zeros"), (2, "bicubic", "reflection")],
)
@pytest.mark.daily("6-bilinear-border")
def test_sample_channels_is_sample_group_by_group(groups, method, padding):
    image, coords, cotangent = normal(5, 7, 6), random_coords(4, groups), normal(4, 6)
    options = {"method": method, "padding": padding}

    def by_group(image, coords):
        parts = jnp.split(image, groups, -1)
        return jnp.concatenate([ops.sample(part, coords[:, j], **options) for j, part in enumerate(parts)], -1)

    arrays = [jnp.asarray(array) for array in (image, coords, cotangent)]
    found = pull_back(functools.partial(ops.sample_channels, **options), *arrays)
    for array, expected in zip(found, pull_back(by_group, *arrays), strict=True):
        assert_allclose(array, expected, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["lerp", "matmul"])
@pytest.mark.parametrize("padding", PADDINGS)
def test_sample_separable_is_sample_of_the_crossed_axes(padding, backend):
    image, cotangent = jnp.asarray(normal(5, 7, 2)), jnp.asarray(normal(4, 6, 2))
    x, y = jnp.asarray(random_coords(6)[:, 0]), jnp.asarray(random_coords(4)[:, 1])
    separable = functools.partial(ops.sample_separable, padding=padding, backend=backend)

    def dense(image, x, y):
        return ops.sample(image, jnp.stack(jnp.meshgrid(x, y), -1), padding=padding)

    def value_and_gradients(function):
        def run(*arguments):
            value, vjp = jax.vjp(function, *arguments)
            return value, *vjp(cotangent)

        return jax.jit(run)(image, x, y)

    for found, expected in zip(value_and_gradients(separable), value_and_gradients(dense), strict=True):
        assert_allclose(found, expected, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(), (3,), (2, 1, 3)])
def test_coordinates_may_have_any_leading_shape(shape):
    image, coords = normal(5, 7, 2), random_coords(*shape)
    for padding in PADDINGS:
        found = operators.sample(jnp.asarray(image), jnp.asarray(coords), padding=padding)
        assert found.shape == (*shape, 2)
        assert_allclose(found, loops.sample(image, coords, padding=padding), atol=1e-12)


def test_the_separable_backends_agree():
    image, x, y = (jnp.asarray(array) for array in (normal(5, 7, 2), random_coords(6)[:, 0], random_coords(4)[:, 1]))
    found = [operators.sample_separable(image, x, y, backend=backend) for backend in ("auto", "lerp", "matmul")]
    assert_allclose(found[0], found[1], atol=1e-12)
    assert_allclose(found[0], found[2], atol=1e-12)


def test_grid_sample_is_sample_of_to_pixels():
    image, grid = jnp.asarray(GOLDEN["image"]), jnp.asarray(GOLDEN["grid"])
    for align in (True, False):
        coords = ops.to_pixels(grid, (5, 9), align_corners=align)
        found = operators.grid_sample(image, grid, align_corners=align)
        assert_allclose(found, operators.sample(image, coords), atol=1e-12)


def test_the_loops_themselves_match_torch():
    for (method, padding), align in itertools.product(EVERY, (True, False)):
        options = {"method": method, "padding": padding, "align_corners": align}
        for grid, part in (("grid", "value"), ("lattice", "lattice")):
            found = loops.grid_sample(GOLDEN["image"], GOLDEN[grid], **options)
            assert_allclose(found, GOLDEN[f"{method}_{padding}_{align}_{part}"], atol=1e-12)


def test_nearest_copies_pixels_exactly():
    image, coords = normal(5, 7, 2), random_coords(20)
    found = operators.sample(jnp.asarray(image), jnp.asarray(coords), method="nearest", padding="border")
    assert_array_equal(found, loops.sample(image, coords, method="nearest", padding="border"))
