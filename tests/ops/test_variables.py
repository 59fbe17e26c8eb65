"""Arrays that Flax wraps: every array argument of an operator, a loss or a distortion may be an `nnx.Variable`."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import operators
import pytest
from flax import nnx
from operators import normal

from vtnjax import distort, losses, nn, ops

# Type checkers know no nnx.Variable as an array.
pytestmark = pytest.mark.usefixtures("untyped")

KEY = jax.random.key(0)
PICTURE, OTHERS, BATCH = normal(9, 9, 2), normal(6, 9, 9, 2), normal(7, 9, 9, 2)
DISTORTIONS = {
    "rotate": (lambda image: distort.rotate(KEY, image), [PICTURE]),
    "turn": (distort.turn, [PICTURE, np.float32(0.3)]),
    "rotate_translate_scale": (lambda image: distort.rotate_translate_scale(KEY, image), [PICTURE]),
    "rotate_translate_scale_channels": (lambda image: distort.rotate_translate_scale_channels(KEY, image), [PICTURE]),
    "project": (lambda image: distort.project(KEY, image), [PICTURE]),
    "elastic": (lambda image: distort.elastic(KEY, image), [PICTURE]),
    "translate_clutter": (lambda image, others: distort.translate_clutter(KEY, image, others), [PICTURE, OTHERS]),
    "translate_clutter_place": (
        lambda image, others: distort.translate_clutter_place(KEY, image, others)[0],
        [PICTURE, OTHERS],
    ),
    "place_in_volume": (lambda image: distort.place_in_volume(KEY, image, depth=2, shape=(4, 12, 12)), [PICTURE]),
    "shuffle_regions": (lambda image: distort.shuffle_regions(KEY, image, regions=3)[0], [PICTURE]),
    "shuffle_batch": (lambda images: distort.shuffle_batch(KEY, images, regions=3)[0], [BATCH]),
    "distort_batch": (lambda images: distort.distort_batch("R", KEY, images), [BATCH]),
    "distort_batch of clutter": (lambda images: distort.distort_batch("TC", KEY, images), [BATCH]),
    "distort_batch of nothing": (lambda images: distort.distort_batch("none", KEY, images), [BATCH]),
}
FUNCTIONS = operators.OPERATORS | operators.LOSSES | DISTORTIONS


def test_every_loss_and_distortion_is_in_the_table():
    for room, table in ((losses, operators.LOSSES), (distort, DISTORTIONS)):
        public = {name for name, value in vars(room).items() if inspect.isfunction(value) and name[0] != "_"}
        own = {name for name in public if getattr(room, name).__module__ == room.__name__}
        assert own - {"distorted_shape"} == {name.split()[0] for name in table}


def as_jax(array):
    array = np.asarray(array)
    return jnp.asarray(array, jnp.float32 if array.dtype.kind == "f" else jnp.int32)


def value_and_gradients(function, grad, arrays):
    """The value and, of what is differentiable, the gradient by every argument."""
    value = function(*arrays)
    if not all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(value)):
        return value, ()
    wanted = tuple(i for i, array in enumerate(arrays) if jnp.issubdtype(array.dtype, jnp.floating))
    loss = grad(lambda *arrays: jnp.sum(jnp.sin(function(*arrays))), argnums=wanted)
    return value, loss(*arrays)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.daily("bilinear", "tps")
def test_a_variable_is_as_good_as_an_array(name):
    function, arguments = FUNCTIONS[name]
    arrays = [as_jax(argument) for argument in arguments]
    variables = [nnx.Param(array) for array in arrays]
    expected = jax.jit(lambda *arrays: value_and_gradients(function, jax.grad, arrays))(*arrays)
    assert nnx.eval_shape(function, *variables) == jax.eval_shape(function, *arrays)
    found = nnx.jit(lambda *arrays: value_and_gradients(function, nnx.grad, arrays))(*variables)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_outside_a_compiled_function_too():
    control = nnx.Param(jnp.asarray(operators.SCATTERED, jnp.float32))
    targets = nnx.Param(control[...] + 0.1)
    found = ops.thin_plate_spline_grid(targets, (3, 4), control=control)
    expected = ops.thin_plate_spline_grid(targets[...], (3, 4), control=operators.SCATTERED.astype(np.float32))
    np.testing.assert_allclose(found, expected, atol=1e-6)


# ---- Modules


class Splines(nnx.Module):
    """A user's module that learns where the control points are."""

    def __init__(self):
        self.control = nnx.Param(jnp.asarray(operators.SCATTERED, jnp.float32))

    def __call__(self, targets):
        return ops.thin_plate_spline_grid(targets, (3, 4), control=self.control)


def test_control_points_that_a_module_learns():
    targets = jnp.asarray(operators.SCATTERED + 0.1 * normal(5, 2), jnp.float32)
    module, control = Splines(), jnp.asarray(operators.SCATTERED, jnp.float32)

    def loss(control):
        return jnp.sum(ops.thin_plate_spline_grid(targets, (3, 4), control=control) ** 2)

    gradient = nnx.jit(nnx.grad(lambda module: jnp.sum(module(targets) ** 2)))(module)
    expected = jax.jit(jax.grad(loss))(control)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(gradient["control"][...], expected, rtol=1e-3, atol=1e-4)


def drawn():
    rngs = nnx.Rngs(0)
    basis = nnx.Param(jax.random.normal(rngs.params(), (4, 6, 7)))
    return nn.SpatialTransformer(None, 5, warp="linear", basis=basis, count=2, rngs=rngs)


def test_a_transformer_whose_basis_is_drawn_can_be_made_in_a_compiled_function_and_abstractly():
    outside, inside, abstract = drawn(), nnx.jit(drawn)(), nnx.eval_shape(drawn)
    assert outside.shape == inside.shape == abstract.shape == (6, 7)
    np.testing.assert_allclose(inside.basis[...], outside.basis[...], atol=1e-6)
    np.testing.assert_allclose(inside.head.bias[...], outside.head.bias[...], atol=1e-5)
    assert abstract.head.bias.shape == outside.head.bias.shape == (16,)


def test_a_basis_of_half_precision_starts_as_near_to_the_identity_and_one_of_whole_numbers_is_refused():
    basis = np.stack([*np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5)), np.ones((5, 5))])
    half = nn.SpatialTransformer(None, 5, warp="linear", basis=jnp.asarray(basis, jnp.bfloat16), rngs=nnx.Rngs(0))
    np.testing.assert_allclose(half.head.bias[...].reshape(2, 3), np.eye(2, 3), atol=1e-5)
    with pytest.raises(ValueError, match="basis must be floating point, but its dtype is int"):
        nn.SpatialTransformer(None, 5, warp="linear", basis=np.ones((3, 5, 5), int), rngs=nnx.Rngs(0))


@pytest.mark.slow
def test_images_and_maps_of_a_module():
    arrays = [jnp.asarray(array, jnp.float32) for array in (normal(2, 8, 9, 3), np.exp(normal(2, 4, 5)))]
    sampler = nn.AttentionSampler((4, 4))
    found = nnx.jit(sampler)(*map(nnx.Param, arrays))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(jax.jit(sampler)(*arrays)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
