"""The module alone: where it starts, what theta means, and what it passes to the operators."""

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from compiled import run
from flax import nnx
from small_transformers import FEATURES, FLAT, SHAPE, SMALL, affine_basis, images, make, stir, tell

from vtnjax import ops
from vtnjax.nn import SpatialTransformer

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
@pytest.mark.daily("projective")
def test_untrained_transformer_passes_its_input_on(warp):
    image = images()
    y, out = run(make(warp), image)
    np.testing.assert_allclose(y, image, atol=1e-5)
    np.testing.assert_allclose(out["theta"], np.stack([IDENTITIES[warp]] * 2), atol=1e-5)
    np.testing.assert_allclose(out["coords"][1], loops.pixels(loops.affine_grid(np.eye(2, 3), SHAPE), SHAPE), atol=1e-5)


@pytest.mark.parametrize("warp", FLAT)
@pytest.mark.daily("affine")
def test_untrained_transformer_resizes_to_another_output_size(warp):
    image = images()
    y, out = run(make(warp, shape=SMALL), image)
    coords = loops.pixels(loops.affine_grid(np.eye(2, 3), SMALL), SHAPE)
    assert out["coords"].shape == (2, *SMALL, 2)
    np.testing.assert_allclose(y[1], loops.sample(np.asarray(image[1]), coords), atol=1e-5)


@pytest.mark.slow
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
@pytest.mark.daily("affine", "tps", "linear")
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
@pytest.mark.daily("attention-theta1-matrix1")
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


@pytest.mark.slow
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
@pytest.mark.daily("bilinear-reflection")
def test_method_and_padding_reach_the_sampler(method, padding):
    transformer = make("affine", method=method, padding=padding)
    theta = np.array([[1.3, 0.2, 0.1], [-0.3, 1.4, 0.2]])
    tell(transformer, theta)
    image = images()
    y, out = run(transformer, image)
    expected = loops.sample(np.asarray(image[0]), np.asarray(out["coords"][0]), method=method, padding=padding)
    np.testing.assert_allclose(y[0], expected, atol=1e-4)


@pytest.mark.slow
def test_an_antialiased_transformer_averages_what_its_output_pixels_cover():
    transformer = make("affine", antialias=3, shape=(3, 2))
    tell(transformer, np.array([[1.3, 0.2, 0.1], [-0.3, 1.4, 0.2]]))
    image = images()
    y, out = run(transformer, image)
    points = loops.footprint(np.asarray(out["coords"][0], np.float64), 3, 3)
    np.testing.assert_allclose(y[0], loops.sample(np.asarray(image[0]), points).mean(2), atol=1e-4)
    assert np.abs(y[0] - loops.sample(np.asarray(image[0]), np.asarray(out["coords"][0]))).max() > 0.1


@pytest.mark.slow
def test_padding_reaches_the_volume_sampler():
    transformer = make("affine3d", padding="border")
    tell(transformer, 1.5 * np.eye(3, 4))
    volume = images(3, 4, 5)
    y, out = run(transformer, volume)
    expected = loops.sample(np.asarray(volume[0]), np.asarray(out["coords"][0]), padding="border")
    np.testing.assert_allclose(y[0], expected, atol=1e-4)


@pytest.mark.parametrize("warp", FLAT)
@pytest.mark.daily("linear")
def test_out_tells_what_warped_each_image(warp):
    transformer = make(warp, shape=SMALL)
    stir(transformer)
    image = images()
    y, out = run(transformer, image)
    assert np.abs(out["theta"][0] - out["theta"][1]).max() > 1e-3
    places = jax.jit(lambda theta: ops.to_pixels(grid_of(warp, theta), SHAPE))
    for i in range(2):
        again = places(out["theta"][i])
        np.testing.assert_allclose(out["coords"][i], again, atol=1e-5)
        np.testing.assert_allclose(y[i], loops.sample(np.asarray(image[i]), np.asarray(again)), atol=1e-4)


def grid_of(warp, theta):
    if warp == "translation":
        return ops.attention_grid(1.0, theta, SMALL)
    if warp == "attention":
        return ops.attention_grid(theta[0], theta[1:], SMALL)
    if warp == "linear":
        return ops.linear_grid(theta, affine_basis(SMALL))
    grids = {"affine": ops.affine_grid, "projective": ops.projective_grid, "tps": ops.thin_plate_spline_grid}
    return grids[warp](theta, SMALL)


@pytest.mark.slow
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
        coords = loops.pixels(loops.affine_grid(np.asarray(out["theta"][i, j]), SMALL), SHAPE)
        np.testing.assert_allclose(y[j][i], loops.sample(np.asarray(image[i]), coords), atol=1e-4)


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


@pytest.mark.slow
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
