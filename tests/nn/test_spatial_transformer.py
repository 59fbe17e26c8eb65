"""The module alone: where it starts, what theta means, and what it passes to the operators."""

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from flax import nnx

from vtnjax import ops
from vtnjax.nn import SpatialTransformer

pytestmark = pytest.mark.usefixtures("quick_compile_module")

FEATURES = 5
SHAPE = (6, 7)
SMALL = (4, 9)


class Localiser(nnx.Module):
    """Any size of image or volume to features."""

    def __init__(self, channels, *, features=FEATURES, rngs):
        self.linear = nnx.Linear(channels, features, rngs=rngs)

    def __call__(self, image):
        return nnx.tanh(self.linear(image.mean(tuple(range(1, image.ndim - 1)))))


def affine_basis(shape):
    x, y = np.moveaxis(loops.affine_grid(np.eye(2, 3), shape), -1, 0)
    return np.stack([x, y, np.ones_like(x)]).astype(np.float32)


def make(warp, *, shape=None, **options):
    if warp == "linear":
        options.setdefault("basis", affine_basis(shape or SHAPE))
    rngs = nnx.Rngs(0)
    return SpatialTransformer(Localiser(3, rngs=rngs), FEATURES, warp=warp, shape=shape, rngs=rngs, **options)


def run(transformer, image, **given):
    """The call, compiled: faster here than operation by operation."""
    graphdef, state = nnx.split(transformer)
    return jax.jit(lambda state, image, given: nnx.merge(graphdef, state)(image, **given))(state, image, given)


def images(*sizes, count=2, channels=3, seed=0):
    values = np.random.default_rng(seed).normal(size=(count, *(sizes or SHAPE), channels))
    return jnp.asarray(values, jnp.float32)


def tell(transformer, theta):
    """Make the transformer predict `theta` for every image."""
    transformer.head.bias[...] = jnp.asarray(theta, jnp.float32).ravel()


def stir(transformer, amount=0.2):
    """Make the transformer predict another theta for each image."""
    kernel = transformer.head.kernel
    kernel[...] = amount * jax.random.normal(jax.random.key(1), kernel.shape)


FLAT = ("translation", "attention", "affine", "projective", "tps", "linear")
IDENTITIES = {
    "translation": np.zeros(2),
    "attention": np.array([1, 0, 0]),
    "affine": np.eye(2, 3),
    "projective": np.eye(3).ravel()[:8],
    "tps": np.array([(x, y) for y in np.linspace(-1, 1, 4) for x in np.linspace(-1, 1, 4)]),
    "linear": np.eye(2, 3),
    "affine3d": np.eye(3, 4),
}

# ---- Where it starts


@pytest.mark.parametrize("warp", FLAT)
def test_untrained_transformer_passes_its_input_on(warp):
    image = images()
    y, out = run(make(warp), image)
    np.testing.assert_allclose(y, image, atol=1e-5)
    np.testing.assert_allclose(out["theta"], np.stack([IDENTITIES[warp]] * 2), atol=1e-5)
    np.testing.assert_allclose(out["coords"][1], loops.pixels(loops.affine_grid(np.eye(2, 3), SHAPE), SHAPE), atol=1e-5)


@pytest.mark.parametrize("warp", FLAT)
def test_untrained_transformer_resizes_to_another_output_size(warp):
    image = images()
    y, out = run(make(warp, shape=SMALL), image)
    coords = loops.pixels(loops.affine_grid(np.eye(2, 3), SMALL), SHAPE)
    assert out["coords"].shape == (2, *SMALL, 2)
    np.testing.assert_allclose(y[1], ops.sample(image[1], jnp.asarray(coords, jnp.float32)), atol=1e-5)


def test_untrained_transformer_passes_volumes_on():
    volume = images(3, 4, 5)
    y, out = run(make("affine3d"), volume)
    np.testing.assert_allclose(y, volume, atol=1e-5)
    assert out["theta"].shape == (2, 3, 4)
    assert out["coords"].shape == (2, 3, 4, 5, 3)


def head_gradients(transformer, image):
    graphdef, params, rest = nnx.split(transformer, nnx.Param, ...)
    target = jax.random.normal(jax.random.key(2), image.shape)

    def loss(params):
        y, _ = nnx.merge(graphdef, params, rest, copy=True)(image)
        return ((y - target) ** 2).mean()

    return jax.jit(jax.grad(loss))(params)["head"]


@pytest.mark.parametrize("warp", [*FLAT, "affine3d"])
def test_every_parameter_has_a_gradient_at_the_identity(warp):
    image = images(3, 4, 5) if warp == "affine3d" else images()
    gradients = head_gradients(make(warp), image)
    assert np.all(np.abs(gradients["bias"][...]) > 1e-7)
    assert np.all(np.abs(gradients["kernel"][...]).max(0) > 1e-8)


# ---- What theta means


@pytest.mark.parametrize(
    ("warp", "theta", "matrix"),
    [
        ("translation", [0.3, -0.2], [[1, 0, 0.3], [0, 1, -0.2]]),
        ("attention", [0.5, 0.3, -0.2], [[0.5, 0, 0.3], [0, 0.5, -0.2]]),
        ("affine", [0.9, 0.2, 0.1, -0.3, 1.1, 0.4], [[0.9, 0.2, 0.1], [-0.3, 1.1, 0.4]]),
        ("linear", [0.9, 0.2, 0.1, -0.3, 1.1, 0.4], [[0.9, 0.2, 0.1], [-0.3, 1.1, 0.4]]),
    ],
)
def test_convention_theta_is_row_by_row_and_x_before_y(warp, theta, matrix):
    transformer = make(warp, shape=SMALL)
    tell(transformer, theta)
    _, out = run(transformer, images())
    expected = loops.pixels(loops.affine_grid(np.array(matrix), SMALL), SHAPE)
    np.testing.assert_allclose(out["coords"][0], expected, atol=1e-5)


def test_convention_projective_theta_is_row_by_row_with_the_ninth_1():
    theta = np.array([0.9, 0.2, 0.1, -0.3, 1.1, 0.4, 0.05, -0.1])
    transformer = make("projective", shape=SMALL)
    tell(transformer, theta)
    expected = loops.projective_grid(np.append(theta, 1).reshape(3, 3), SMALL)
    np.testing.assert_allclose(run(transformer, images())[1]["coords"][0], loops.pixels(expected, SHAPE), atol=1e-5)


def test_convention_tps_theta_is_where_each_control_point_reads():
    targets = IDENTITIES["tps"] + 0.2 * np.random.default_rng(0).normal(size=(16, 2))
    transformer = make("tps", shape=(4, 4))  # its pixels are the control points
    tell(transformer, targets)
    _, out = run(transformer, images())
    assert out["theta"].shape == (2, 16, 2)
    np.testing.assert_allclose(out["coords"][0], loops.pixels(targets.reshape(4, 4, 2), SHAPE), atol=1e-5)


def test_convention_affine3d_theta_is_row_by_row_with_x_y_z():
    theta = np.eye(3, 4) + 0.1 * np.random.default_rng(0).normal(size=(3, 4))
    transformer = make("affine3d", shape=(2, 3, 4))
    tell(transformer, theta)
    volume = images(3, 4, 5)
    y, out = run(transformer, volume)
    expected = loops.pixels(loops.affine_grid(theta, (2, 3, 4)), (3, 4, 5))
    np.testing.assert_allclose(out["coords"][1], expected, atol=1e-5)
    np.testing.assert_allclose(y[1], loops.sample(np.asarray(volume[1]), expected), atol=1e-4)


def test_a_fixed_scale_is_not_predicted():
    transformer = make("attention", scale=0.5, shape=SMALL)
    _, out = run(transformer, images())
    assert out["theta"].shape == (2, 2)
    expected = loops.affine_grid(np.array([[0.5, 0, 0], [0, 0.5, 0]]), SMALL)
    np.testing.assert_allclose(out["coords"][0], loops.pixels(expected, SHAPE), atol=1e-5)
    tell(transformer, [0.3, -0.2])
    expected = loops.affine_grid(np.array([[0.5, 0, 0.3], [0, 0.5, -0.2]]), SMALL)
    np.testing.assert_allclose(run(transformer, images())[1]["coords"][0], loops.pixels(expected, SHAPE), atol=1e-5)


# ---- What it passes on


@pytest.mark.parametrize(
    ("method", "padding"),
    [("bilinear", "border"), ("bilinear", "reflection"), ("nearest", "zeros"), ("bicubic", "zeros")],
)
@pytest.mark.filterwarnings("ignore:method='nearest' has no gradient")
def test_method_and_padding_reach_the_sampler(method, padding):
    transformer = make("affine", method=method, padding=padding)
    theta = np.array([[1.3, 0.2, 0.1], [-0.3, 1.4, 0.2]])
    tell(transformer, theta)
    image = images()
    y, out = run(transformer, image)
    expected = loops.sample(np.asarray(image[0]), np.asarray(out["coords"][0]), method=method, padding=padding)
    np.testing.assert_allclose(y[0], expected, atol=1e-4)


def test_an_antialiased_transformer_averages_what_its_output_pixels_cover():
    transformer = make("affine", antialias=3, shape=(3, 2))
    tell(transformer, np.array([[1.3, 0.2, 0.1], [-0.3, 1.4, 0.2]]))
    image = images()
    y, out = run(transformer, image)
    points = loops.footprint(np.asarray(out["coords"][0], np.float64), 3, 3)
    np.testing.assert_allclose(y[0], loops.sample(np.asarray(image[0]), points).mean(2), atol=1e-4)
    assert np.abs(y[0] - loops.sample(np.asarray(image[0]), np.asarray(out["coords"][0]))).max() > 0.1


def test_padding_reaches_the_volume_sampler():
    transformer = make("affine3d", padding="border")
    tell(transformer, 1.5 * np.eye(3, 4))
    volume = images(3, 4, 5)
    y, out = run(transformer, volume)
    expected = loops.sample(np.asarray(volume[0]), np.asarray(out["coords"][0]), padding="border")
    np.testing.assert_allclose(y[0], expected, atol=1e-4)


@pytest.mark.parametrize("warp", FLAT)
def test_out_tells_what_warped_each_image(warp):
    transformer = make(warp, shape=SMALL)
    stir(transformer)
    image = images()
    y, out = run(transformer, image)
    assert np.abs(out["theta"][0] - out["theta"][1]).max() > 1e-3
    for i in range(2):
        again = ops.to_pixels(grid_of(warp, out["theta"][i]), SHAPE)
        np.testing.assert_allclose(out["coords"][i], again, atol=1e-5)
        np.testing.assert_allclose(y[i], ops.sample(image[i], again), atol=1e-4)


def grid_of(warp, theta):
    if warp == "translation":
        return ops.attention_grid(1.0, theta, SMALL)
    if warp == "attention":
        return ops.attention_grid(theta[0], theta[1:], SMALL)
    if warp == "linear":
        return ops.linear_grid(theta, affine_basis(SMALL))
    grids = {"affine": ops.affine_grid, "projective": ops.projective_grid, "tps": ops.thin_plate_spline_grid}
    return grids[warp](theta, SMALL)


def test_several_warps_come_from_one_localiser():
    transformer = make("affine", count=2, shape=SMALL)
    stir(transformer)
    image = images(count=3)
    y, out = run(transformer, image)
    assert isinstance(y, tuple)
    assert [part.shape for part in y] == [(3, *SMALL, 3)] * 2
    assert out["theta"].shape == (3, 2, 2, 3)
    assert out["coords"].shape == (3, 2, *SMALL, 2)
    assert np.abs(out["theta"][:, 0] - out["theta"][:, 1]).max() > 1e-3
    for i, j in np.ndindex(3, 2):
        coords = ops.to_pixels(ops.affine_grid(out["theta"][i, j], SMALL), SHAPE)
        np.testing.assert_allclose(y[j][i], ops.sample(image[i], coords), atol=1e-4)


def test_several_untrained_warps_all_start_at_the_identity():
    image = images()
    for part in run(make("affine", count=3), image)[0]:
        np.testing.assert_allclose(part, image, atol=1e-5)


def test_features_may_be_given_instead_of_a_localiser():
    shared = make("affine")
    stir(shared)
    alone = SpatialTransformer(None, FEATURES, rngs=nnx.Rngs(0))
    stir(alone)
    image = images()
    expected, _ = run(shared, image)
    y, _ = run(alone, image, features=shared.localiser(image))
    np.testing.assert_array_equal(y, expected)
    assert np.abs(y - image).max() > 1e-2


def test_a_plain_function_may_be_the_localiser():
    transformer = SpatialTransformer(lambda image: image.mean((1, 2)), 3, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(run(transformer, images())[0], images(), atol=1e-5)


@pytest.mark.parametrize("warp", ["affine", "tps", "linear"])
def test_bfloat16_images_keep_float32_coordinates(warp):
    transformer = make(warp)
    stir(transformer)
    image = images().astype(jnp.bfloat16)
    transformer.localiser.linear.dtype = jnp.bfloat16
    y, out = run(transformer, image)
    assert (y.dtype, out["theta"].dtype, out["coords"].dtype) == (jnp.bfloat16, jnp.float32, jnp.float32)
    transformer.localiser.linear.dtype = jnp.float32
    exact, _ = run(transformer, image.astype(jnp.float32))
    np.testing.assert_allclose(y.astype(jnp.float32), exact, atol=0.1)


# ---- What it predicts, and the warp of a given theta


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("warp", [*FLAT, "affine3d"])
def test_the_call_is_the_warp_by_what_is_predicted(warp, count):
    transformer = make(warp, count=count)
    stir(transformer)
    image = images(3, 4, 5) if warp == "affine3d" else images()
    graphdef, state = nnx.split(transformer)

    @jax.jit
    def in_two_steps(state, image):
        transformer = nnx.merge(graphdef, state)
        theta = transformer.predict(image)
        return theta, transformer.warp(image, theta)

    theta, (y, out) = in_two_steps(state, image)
    called, told = run(transformer, image)
    np.testing.assert_array_equal(theta, told["theta"])
    assert set(out) == set(told) == {"theta", "coords"}
    jax.tree.map(np.testing.assert_array_equal, (y, out), (called, told))


def test_theta_is_the_head_of_the_localisers_features():
    transformer = make("affine", count=2)
    stir(transformer)
    image = images()
    kernel, bias = (np.asarray(p[...], np.float64) for p in (transformer.head.kernel, transformer.head.bias))
    expected = (np.asarray(transformer.localiser(image)) @ kernel + bias).reshape(2, 2, 2, 3)
    np.testing.assert_allclose(transformer.predict(image), expected, atol=1e-5)


def test_theta_is_predicted_of_features_without_an_image():
    transformer = SpatialTransformer(None, FEATURES, rngs=nnx.Rngs(0))
    stir(transformer)
    features = jnp.asarray(np.random.default_rng(0).normal(size=(3, FEATURES)), jnp.float32)
    expected = np.asarray(features) @ np.asarray(transformer.head.kernel[...]) + np.eye(2, 3).ravel()
    for image in (None, images(count=3)):
        np.testing.assert_allclose(transformer.predict(image, features), expected.reshape(3, 2, 3), atol=1e-5)


def test_a_given_theta_warps_as_the_plain_loop_says():
    transformer = make("affine", shape=SMALL, padding="border")
    image = images()
    thetas = np.eye(2, 3) + 0.3 * np.random.default_rng(1).normal(size=(2, 2, 3))
    y, out = transformer.warp(image, jnp.asarray(thetas, jnp.float32))
    np.testing.assert_array_equal(out["theta"], np.asarray(thetas, np.float32))
    for i, theta in enumerate(thetas):
        coords = loops.pixels(loops.affine_grid(theta, SMALL), SHAPE)
        np.testing.assert_allclose(out["coords"][i], coords, atol=1e-5)
        np.testing.assert_allclose(y[i], loops.sample(np.asarray(image[i]), coords, padding="border"), atol=1e-4)


def test_several_given_thetas_warp_the_same_image_each():
    transformer = make("translation", count=2)
    image = images(count=1)
    y, _ = transformer.warp(image, jnp.array([[[2 / 6, 0.0], [0.0, -2 / 5]]]))  # a pixel to the right, a pixel up
    np.testing.assert_allclose(y[0][:, :, :-1], image[:, :, 1:], atol=1e-5)
    np.testing.assert_allclose(y[1][:, 1:], image[:, :-1], atol=1e-5)


@pytest.mark.parametrize("warp", FLAT)
def test_nothing_is_warped_where_theta_is_predicted(warp):
    transformer, image = make(warp), images()
    assert "gather" in str(jax.make_jaxpr(lambda image: transformer(image)[0])(image))
    predicted = str(jax.make_jaxpr(transformer.predict)(image))
    assert "gather" not in predicted
    assert predicted.count("dot_general") == 2  # of the localiser and of the head


def test_a_warp_by_given_parameters_reads_no_parameter():
    graphdef, params, rest = nnx.split(make("affine"), nnx.Param, ...)

    def loss(params, theta):
        return (nnx.merge(graphdef, params, rest, copy=True).warp(images(), theta)[0] ** 2).sum()

    slopes, of_theta = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, jnp.tile(0.8 * jnp.eye(2, 3), (2, 1, 1)))
    assert all(np.abs(leaf).max() == 0 for leaf in jax.tree.leaves(slopes))
    assert np.all(np.abs(of_theta) > 0)


# ---- M_theta B


def test_a_fixed_basis_is_no_parameter():
    transformer = make("linear")
    assert "basis" not in nnx.state(transformer, nnx.Param)
    np.testing.assert_array_equal(nnx.state(transformer)["basis"][...], affine_basis(SHAPE))


def test_a_learned_basis_is_a_parameter_with_a_gradient():
    transformer = make("linear", basis=nnx.Param(jnp.asarray(affine_basis(SHAPE))))
    stir(transformer)
    graphdef, params, rest = nnx.split(transformer, nnx.Param, ...)
    assert params["basis"][...].shape == (3, *SHAPE)

    def loss(params):
        return (nnx.merge(graphdef, params, rest, copy=True)(images())[0] ** 2).sum()

    gradient = jax.jit(jax.grad(loss))(params)["basis"][...]
    assert np.all(np.isfinite(gradient))
    assert np.abs(gradient).max(axis=(1, 2)).min() > 1e-3


def test_a_basis_without_the_identity_starts_as_near_as_it_can():
    x, y, one = affine_basis(SHAPE)
    _, out = run(make("linear", basis=np.stack([x + one, y])), images())
    # The nearest to x that a multiple of x + 1 can be; x and 1 are orthogonal on the grid.
    factor = (x**2).sum() / ((x**2).sum() + one.sum())
    expected = loops.pixels(np.stack([factor * (x + one), y], -1), SHAPE)
    np.testing.assert_allclose(out["coords"][0], expected, atol=1e-4)


def test_a_basis_gives_the_output_its_size():
    y, _ = run(make("linear", basis=affine_basis(SMALL)), images())
    assert y.shape == (2, *SMALL, 3)
