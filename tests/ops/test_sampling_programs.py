"""What the samplers compile to, and what one does with them besides calling: checkify, export, too large sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import operators
import pytest
from jax import export
from jax.experimental import checkify
from numpy.testing import assert_allclose

from vtnjax import ops

SAMPLERS = operators.SAMPLERS


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rows", "lerp", "bicubic", "fill"])
def test_a_batch_can_be_checked(name):
    function, arguments = jax.vmap(SAMPLERS[name][0]), operators.batch(name, 2, jnp.float32)

    def loss(*arguments):
        return (function(*arguments) ** 2).sum()

    for checked in (function, jax.grad(loss, 1)):
        error, found = checkify.checkify(jax.jit(checked), errors=checkify.all_checks)(*arguments)
        error.throw()
        assert_allclose(found, jax.jit(checked)(*arguments), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["rows", "bilinear", "bicubic", "volume"])
@pytest.mark.daily("bilinear")
def test_a_loss_behind_a_sampler_is_not_compiled_into_its_gathers(name, optimised):
    function, arguments = jax.vmap(SAMPLERS[name][0]), operators.batch(name, 8, jnp.float32)
    program = jax.jit(lambda *arguments: (function(*arguments) ** 2).sum()).lower(*arguments).compile().as_text()
    computations = program.split("\n\n")
    assert any(" gather(" in each for each in computations)
    assert not [each for each in computations if " gather(" in each and " reduce(" in each]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rows", "bilinear", "bicubic", "nearest", "lerp", "volume"])
def test_a_batch_of_any_size_can_be_exported(name):
    function, arguments = jax.vmap(SAMPLERS[name][0]), operators.batch(name, 3, jnp.float32)
    (count,) = export.symbolic_shape("count")
    shapes = [jax.ShapeDtypeStruct((count, *a.shape[1:]), a.dtype) for a in arguments]
    exported = export.export(jax.jit(function))(*shapes)
    assert_allclose(exported.call(*arguments), jax.jit(function)(*arguments), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["rows", "bilinear", "bicubic", "nearest", "volume"])
@pytest.mark.daily("bilinear", "nearest")
def test_any_number_of_points_can_be_exported(name):
    function, (image, coords) = SAMPLERS[name][0], operators.arguments(name, jnp.float32)
    (count,) = export.symbolic_shape("count")
    shapes = [
        jax.ShapeDtypeStruct(image.shape, image.dtype),
        jax.ShapeDtypeStruct((count, *coords.shape[1:]), "float32"),
    ]
    exported = export.export(jax.jit(function))(*shapes)
    assert_allclose(exported.call(image, coords), jax.jit(function)(image, coords), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_sixteen_pixels_of_bicubic_samples_are_not_kept():
    arrays = jax.ShapeDtypeStruct((128, 128, 3), jnp.float32), jax.ShapeDtypeStruct((128, 128, 2), jnp.float32)
    size = 128 * 128 * 3 * 4

    def slopes(image, coords):
        return jax.grad(lambda coords: ops.sample(image, coords, method="bicubic").sum())(coords)

    for function in (functools.partial(ops.sample, method="bicubic"), slopes):
        kept = jax.jit(function).lower(*arrays).compile().memory_analysis()
        assert kept.temp_size_in_bytes < 6 * size


HUGE = (32769, 65536, 1)  # 2 ** 31 + 65536 pixels
CALLS = {
    "bilinear": ops.sample,
    "nearest": functools.partial(ops.sample, method="nearest"),
    "bicubic": functools.partial(ops.sample, method="bicubic", padding="wrap"),
    "channels": lambda image, coords: ops.sample_channels(image, coords[..., None, :]),
    "volume": lambda image, coords: ops.sample_volume(image[None], jnp.pad(coords, ((0, 0), (0, 1)))),
    "nearest of a volume": lambda image, coords: ops.sample_volume(
        image[None], jnp.pad(coords, ((0, 0), (0, 1))), method="nearest"
    ),
    "grid_sample": functools.partial(ops.grid_sample, align_corners=True),
}


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float32"])
@pytest.mark.parametrize("name", CALLS)
def test_more_pixels_than_32_bits_count_are_refused(name, dtype):
    coords = jax.ShapeDtypeStruct((3, 2), jnp.float32)
    with pytest.raises(ValueError, match=r"at most 2147483647 pixels.*, not (2147549184|4295098368)"):
        jax.eval_shape(jax.jit(CALLS[name]), jax.ShapeDtypeStruct(HUGE, dtype), coords)
    fits = jax.ShapeDtypeStruct((16383 if "volume" in name else 32767, 65536, 1), dtype)
    assert jax.eval_shape(CALLS[name], fits, coords).shape == (3, 1)


def test_groups_count_pixels_of_their_own():
    coords = jax.ShapeDtypeStruct((3, 4, 2), jnp.float32)
    with pytest.raises(ValueError, match="each group of channels"):
        jax.eval_shape(ops.sample_channels, jax.ShapeDtypeStruct((2**15, 2**15, 4), jnp.float32), coords)


def test_an_axis_longer_than_its_coordinates_are_exact_is_refused():
    image, coords = jax.ShapeDtypeStruct((1, 2**24 + 1, 1), jnp.float32), jax.ShapeDtypeStruct((3, 2), jnp.float32)
    with pytest.raises(ValueError, match=r"16777216 pixels along an axis.*float32"):
        jax.eval_shape(ops.sample, image, coords)
    line = jax.ShapeDtypeStruct((3,), jnp.float32)
    with pytest.raises(ValueError, match=r"16777216 pixels along an axis.*float32"):
        jax.eval_shape(ops.sample_separable, image, line, line)
    with jax.enable_x64(True):
        exact = jax.ShapeDtypeStruct((3, 2), jnp.float64)
        assert jax.eval_shape(ops.sample, image, exact).shape == (3, 1)


@pytest.mark.slow
def test_the_last_pixels_of_the_longest_axis_are_read():
    image = jnp.zeros((1, 2**24, 1), jnp.bfloat16).at[0, -2:, 0].set(jnp.array([3.0, 5.0], jnp.bfloat16))
    x = jnp.array([2.0**24 - 2, 2.0**24 - 1, 2.0**24])
    for method in ("bilinear", "nearest", "bicubic"):
        found = ops.sample(image, jnp.stack([x, jnp.zeros(3)], -1), method=method)[:, 0]
        np.testing.assert_array_equal(found.astype(jnp.float32), [3, 5, 0])
