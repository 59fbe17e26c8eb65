import functools

import jax
import jax.numpy as jnp
import numpy as np
import operators
import pytest
from derivatives import check_to_second_order
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.testing import assert_allclose
from operators import GRIDS, OPERATORS, SAMPLERS

from vtnjax import ops


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.daily(
    "bilinear",
    "nearest",
    "matmul",
    "rows matmul",
    "projective",
    "tps",
    "linear",
    "expectation",
    "trilinear",
    "marginals",
    "isqrt",
    "power",
    "compact",
    "kernel pool",
)
def test_derivatives_to_second_order_forward_and_reverse(x64, name):
    check_to_second_order(OPERATORS[name][0], operators.arguments(name))


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.daily("bilinear", "tps")
def test_vmap_agrees_with_one_example_at_a_time(x64, name):
    function, arguments = jax.jit(OPERATORS[name][0]), operators.batch(name, 2)
    one_by_one = np.stack([function(*(argument[i] for argument in arguments)) for i in range(2)])
    assert_allclose(jax.jit(jax.vmap(function))(*arguments), one_by_one, atol=1e-12)


@pytest.mark.parametrize("name", ["bicubic", "lerp", "projective"])
@pytest.mark.daily("bicubic")
def test_jit_agrees_with_no_jit(x64, name):
    function, arguments = OPERATORS[name][0], operators.arguments(name)
    assert_allclose(jax.jit(function)(*arguments), function(*arguments), atol=1e-12)


def value_and_pull_back(function):
    """The outputs, and the gradients of half their squares for every argument."""

    def run(*arguments):
        value, vjp = jax.vjp(function, *arguments)
        return value, vjp(value)

    return jax.jit(run)


@functools.cache
def on_one_device(name):
    """An operator of a batch with its gradients, the batch, and what it makes of it."""
    function, arguments = value_and_pull_back(jax.vmap(OPERATORS[name][0])), operators.batch(name, 8, jnp.float32)
    return function, arguments, function(*arguments)


@pytest.mark.parametrize("mesh", ["auto_mesh", "explicit_mesh"])
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.daily("tps-explicit_mesh")
def test_a_sharded_batch_gives_what_one_device_gives(request, name, mesh):
    mesh = request.getfixturevalue(mesh)
    function, arguments, expected = on_one_device(name)
    with jax.set_mesh(mesh):
        sharded = jax.device_put(arguments, NamedSharding(mesh, P("data")))
        found = function(*sharded)
    assert found[0].sharding.spec[0] == "data"
    for array, truth in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert_allclose(array, truth, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["auto_mesh", "explicit_mesh"])
def test_a_shared_warp_of_a_sharded_batch(request, mesh):
    mesh = request.getfixturevalue(mesh)
    images, theta = jnp.asarray(operators.normal(8, 4, 5, 2), jnp.float32), jnp.eye(2, 3)

    def loss(theta, images):
        grid = ops.affine_grid(theta, (3, 3))
        return (jax.vmap(lambda image: ops.grid_sample(image, grid, align_corners=True))(images) ** 2).mean()

    expected = jax.jit(jax.value_and_grad(loss))(theta, images)
    with jax.set_mesh(mesh):
        sharded = jax.device_put(images, NamedSharding(mesh, P("data")))
        found = jax.jit(jax.value_and_grad(loss))(jax.device_put(theta, NamedSharding(mesh, P())), sharded)
    assert_allclose(found[0], expected[0], rtol=1e-5)
    assert_allclose(found[1], expected[1], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["auto_mesh", "explicit_mesh"])
def test_one_image_sampled_at_sharded_coordinates(request, mesh):
    mesh = request.getfixturevalue(mesh)
    image, coords = jnp.asarray(operators.IMAGE, jnp.float32), jnp.asarray(operators.coords(8, 6), jnp.float32)
    function = jax.jit(jax.value_and_grad(lambda i, p: (jax.vmap(ops.sample, (None, 0))(i, p) ** 2).sum(), (0, 1)))
    expected = function(image, coords)
    with jax.set_mesh(mesh):
        found = function(image, jax.device_put(coords, NamedSharding(mesh, P("data"))))
    for array, truth in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert_allclose(array, truth, rtol=1e-4, atol=1e-4)


def with_bfloat16_features(name):
    image, *rest = operators.arguments(name, jnp.float32)
    return image.astype(jnp.bfloat16), *rest


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.daily("matmul")
def test_convention_bfloat16_features_are_interpolated_in_float32(name):
    function, _ = OPERATORS[name]
    image, *rest = with_bfloat16_features(name)
    found, (d_image, *d_rest) = value_and_pull_back(function)(image, *rest)
    truth = jax.jit(function)(image.astype(jnp.float32), *rest)
    assert found.dtype == jnp.bfloat16
    assert truth.dtype == jnp.float32
    assert_allclose(found.astype(jnp.float32), truth, rtol=2**-8, atol=1e-6)  # one rounding, at the end
    assert d_image.dtype == jnp.bfloat16
    assert all(gradient.dtype == jnp.float32 for gradient in d_rest)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.daily("bilinear")
def test_convention_the_output_has_the_dtype_of_the_features(x64, name):
    function, _ = OPERATORS[name]
    image, *rest = operators.arguments(name, jnp.float32)
    wide = [argument.astype(jnp.float64) for argument in rest]
    for features, coords in (("float32", wide), ("float64", rest), ("bfloat16", wide), ("float16", rest)):
        assert jax.eval_shape(function, image.astype(features), *coords).dtype == features


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.daily("bilinear")
def test_convention_bfloat16_coordinates_are_used_in_float32(name):
    function, _ = OPERATORS[name]
    image, *rest = operators.arguments(name, jnp.float32)
    coarse = [argument.astype(jnp.bfloat16) for argument in rest]
    truth = jax.jit(function)(image, *(argument.astype(jnp.float32) for argument in coarse))
    assert_allclose(jax.jit(function)(image, *coarse), truth, atol=1e-6)


@pytest.mark.slow
def test_convention_far_coordinates_of_bfloat16_features_keep_their_fraction():
    image = jnp.tile(jnp.array([0.0, 1.0], jnp.bfloat16), 200)[None, :, None]
    for function in (ops.sample, lambda i, p: ops.sample_separable(i, p[:, 0], p[:1, 1])[0]):
        found = function(image, jnp.array([[301.25, 0.0], [256.5, 0.0], [399.0, 0.0]]))
        assert_allclose(found[:, 0].astype(jnp.float32), [0.75, 0.5, 1.0])


def test_float64_coordinates_keep_their_precision(x64):
    image = jnp.arange(1000.0)[None, :, None]
    found = ops.sample(image, jnp.array([[700 + 1e-9, 0.0]]))
    assert_allclose(found, [[700 + 1e-9]], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.daily("tps")
def test_grids_work_in_float32(name):
    function, _ = OPERATORS[name]
    found = jax.jit(function)(*operators.arguments(name, jnp.float32))
    assert found.dtype == jnp.float32
    with jax.enable_x64(True):
        assert_allclose(found, jax.jit(function)(*operators.arguments(name, jnp.float64)), atol=2e-4)


def test_the_gradient_for_control_points_under_grid_points_is_finite():
    control = jnp.asarray(operators.CONTROL, jnp.float32)

    def loss(targets, control):
        return (ops.thin_plate_spline_grid(targets, (4, 4), control=control) ** 3).sum()

    for gradient in jax.jit(jax.grad(loss, (0, 1)))(control + 0.1, control):
        assert np.isfinite(gradient).all()
