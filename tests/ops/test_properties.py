import jax.numpy as jnp
import loops
import numpy as np
import operators
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose
from operators import affine_grid, sample_channels, sample_separable, sample_volume

from vtnjax import ops

METHODS = ("nearest", "bilinear", "bicubic")
PADDINGS = ("zeros", "border", "reflection")
H, W, C = 4, 5, 2

pytestmark = pytest.mark.usefixtures("x64_module")


def sample(image, coords, **options):
    """Every test reads as many places as the image has pixels: one program for each method and padding."""
    places = np.resize(coords, (H * W, 2))
    found = operators.sample(image, jnp.asarray(places), **options)
    return np.asarray(found)[: coords.size // 2].reshape(*coords.shape[:-1], -1)


def floats(low, high):
    return st.floats(low, high, allow_subnormal=False)


images = arrays(np.float64, (H, W, C), elements=floats(-3, 3))
coordinates = arrays(np.float64, (6, 2), elements=floats(-4, 8))
anywhere = arrays(np.float64, (6, 2), elements=st.floats(-1e9, 1e9))
thetas = arrays(np.float64, (2, 3), elements=floats(-2, 2))
contractions = arrays(np.float64, (2, 3), elements=floats(-0.33, 0.33))  # rows sum below 1: stays on the image
methods, paddings = st.sampled_from(METHODS), st.sampled_from(PADDINGS)


@pytest.mark.slow
@given(images, methods, paddings)
def test_sampling_at_the_identity_returns_the_image(image, method, padding):
    found = sample(jnp.asarray(image), ops.identity_coords((H, W)), method=method, padding=padding)
    assert_allclose(found, image, atol=1e-12)


@pytest.mark.slow
@given(images, paddings)
def test_the_identity_grid_returns_the_image(image, padding):
    coords = ops.to_pixels(affine_grid(jnp.eye(2, 3), (H, W)), (H, W))
    assert_allclose(sample(jnp.asarray(image), coords, padding=padding), image, atol=1e-12)


@pytest.mark.slow
@given(floats(-3, 3), anywhere, methods, st.sampled_from(PADDINGS[1:]))
def test_a_constant_image_stays_constant_with_border_and_reflection(constant, coords, method, padding):
    found = sample(jnp.full((H, W, C), constant), jnp.asarray(coords), method=method, padding=padding)
    assert_allclose(found, np.full((6, C), constant), atol=1e-12)


@pytest.mark.slow
@given(images, images, floats(-2, 2), coordinates, methods, paddings)
def test_sampling_is_linear_in_the_image(first, second, factor, coords, method, padding):
    def at(image):
        return np.asarray(sample(jnp.asarray(image), jnp.asarray(coords), method=method, padding=padding))

    assert_allclose(at(first + factor * second), at(first) + factor * at(second), atol=1e-10)


@given(images, coordinates, st.sampled_from(METHODS[:2]), paddings)
def test_interpolation_stays_between_the_extremes(image, coords, method, padding):
    found = sample(jnp.asarray(image), jnp.asarray(coords), method=method, padding=padding)
    low, high = (image.min(), image.max()) if padding != "zeros" else (min(0, image.min()), max(0, image.max()))
    assert (found >= low - 1e-12).all()
    assert (found <= high + 1e-12).all()


@given(images, coordinates, methods, paddings)
def test_sampling_is_the_plain_loop(image, coords, method, padding):
    found = sample(jnp.asarray(image), jnp.asarray(coords), method=method, padding=padding)
    assert_allclose(found, loops.sample(image, coords, method=method, padding=padding), atol=1e-9)


@given(
    arrays(np.float64, (2, 3, 4, 1), elements=floats(-3, 3)),
    arrays(np.float64, (5, 3), elements=floats(-3, 6)),
    paddings,
)
def test_sampling_a_volume_is_the_plain_loop(volume, coords, padding):
    found = sample_volume(jnp.asarray(volume), jnp.asarray(coords), padding=padding)
    assert_allclose(found, loops.sample(volume, coords, padding=padding), atol=1e-9)


@given(images, st.integers(-6, 6), st.integers(-6, 6), methods)
def test_a_whole_shift_copies_pixels(image, right, down, method):
    coords = ops.displace(jnp.broadcast_to(jnp.array([right, down], float), (H, W, 2)))
    found = sample(jnp.asarray(image), coords, method=method, padding="zeros")
    padded = np.pad(image, ((6, 6), (6, 6), (0, 0)))
    assert_allclose(found, padded[6 + down : 6 + down + H, 6 + right : 6 + right + W], atol=1e-12)


@given(images, coordinates, st.sampled_from(METHODS[1:]), paddings)
def test_a_flipped_image_is_read_at_flipped_coordinates(image, coords, method, padding):
    flipped = coords * [-1, 1] + [W - 1, 0]
    found = sample(jnp.asarray(image[:, ::-1]), jnp.asarray(flipped), method=method, padding=padding)
    expected = sample(jnp.asarray(image), jnp.asarray(coords), method=method, padding=padding)
    assert_allclose(found, expected, atol=1e-9)


@pytest.mark.slow
@given(
    images,
    arrays(np.float64, 6, elements=floats(-3, 8)),
    arrays(np.float64, 3, elements=floats(-3, 8)),
    paddings,
    st.sampled_from(["lerp", "matmul"]),
)
def test_separable_sampling_equals_dense_sampling(image, x, y, padding, backend):
    found = sample_separable(jnp.asarray(image), jnp.asarray(x), jnp.asarray(y), padding=padding, backend=backend)
    crossed = np.stack(np.meshgrid(x, y), -1)
    assert_allclose(found, sample(jnp.asarray(image), jnp.asarray(crossed), padding=padding), atol=1e-10)


@given(thetas, thetas)
def test_affine_grids_compose(outer, inner):
    square = np.vstack([inner, [0, 0, 1]])
    grid = affine_grid(jnp.asarray(inner), (H, W))
    mapped = np.append(grid, np.ones((H, W, 1)), -1) @ outer.T
    assert_allclose(affine_grid(jnp.asarray(outer @ square), (H, W)), mapped, atol=1e-12)


@given(thetas, contractions)
def test_warping_an_affine_field_by_an_affine_grid_composes_them(outer, inner):
    field = affine_grid(jnp.asarray(outer), (H, W))
    warped = sample(field, ops.to_pixels(affine_grid(jnp.asarray(inner), (H, W)), (H, W)))
    composed = outer @ np.vstack([inner, [0, 0, 1]])
    assert_allclose(warped, affine_grid(jnp.asarray(composed), (H, W)), atol=1e-10)


@given(floats(0.2, 2), floats(-1, 1), floats(-1, 1))
def test_attention_is_an_affine_grid(scale, tx, ty):
    theta = jnp.array([[scale, 0, tx], [0, scale, ty]])
    found = ops.attention_grid(jnp.asarray(scale), jnp.array([tx, ty]), (H, W))
    assert_allclose(found, affine_grid(theta, (H, W)), atol=1e-12)


@given(arrays(np.float64, (7, 2), elements=floats(-50, 50)), st.booleans())
def test_pixels_and_normalised_coordinates_are_inverse(coords, align):
    there = ops.to_pixels(jnp.asarray(coords), (H, W), align_corners=align)
    assert_allclose(ops.to_normalised(there, (H, W), align_corners=align), coords, atol=1e-10)


@pytest.mark.slow
@given(images, coordinates, st.sampled_from([1, 2]), paddings)
def test_channel_groups_reading_at_one_place_equal_one_field(image, coords, groups, padding):
    fields = np.stack([coords] * groups, -2)
    found = sample_channels(jnp.asarray(image), jnp.asarray(fields), padding=padding)
    assert_allclose(found, sample(jnp.asarray(image), jnp.asarray(coords), padding=padding), atol=1e-12)
