"""The distortions of STN appendix A.4 against NumPy and SciPy, and their random numbers by their statistics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from scipy.interpolate import RBFInterpolator
from scipy.ndimage import map_coordinates

from vtnjax import distort

WARPING = ("R", "RTS", "P", "E")
COUNT = 400

# Compiled once for all tests.
rotate, rotate_translate_scale, project, elastic = map(
    jax.jit,
    (
        distort.rotate,
        distort.rotate_translate_scale,
        distort.project,
        distort.elastic,
    ),
)


def digit(size=28):
    """Smooth, without symmetry, black at the border."""
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    blobs = np.exp(-((x - 0.3) ** 2 + (y + 0.2) ** 2) / 0.05) + 0.6 * np.exp(-((x + 0.3) ** 2 + (y - 0.3) ** 2) / 0.02)
    return (blobs * (np.hypot(x, y) < 0.95))[..., None].astype(np.float32)


def keys(count=COUNT):
    return jax.random.split(jax.random.key(1), count)


def many(function, images, count=COUNT):
    """One image under many keys."""
    return np.asarray(jax.jit(jax.vmap(lambda key: function(key, jnp.asarray(images))))(keys(count)))


def read(image, x, y):
    """SciPy's bilinear reading of one channel, black outside."""
    return map_coordinates(np.pad(image[..., 0], 1), [y + 1, x + 1], order=1, mode="constant", cval=0.0)


def centred(shape):
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    return x - (shape[1] - 1) / 2, y - (shape[0] - 1) / 2


def turned(image, shape, *, angle, scale=1.0, shift=(0.0, 0.0)):
    """The image turned clockwise as seen, grown and moved: its content's place p becomes scale R p + shift."""
    x, y = centred(shape)
    x, y = x - shift[0], y - shift[1]
    back_x = (np.cos(angle) * x + np.sin(angle) * y) / scale
    back_y = (-np.sin(angle) * x + np.cos(angle) * y) / scale
    h, w = image.shape[:2]
    return read(image, back_x + (w - 1) / 2, back_y + (h - 1) / 2)


# ---- Against independent constructions, with the random numbers drawn again from the same keys


def test_rotation_against_scipy():
    for seed in range(5):
        key = jax.random.key(seed)
        angle = float(jax.random.uniform(key, (), jnp.float32, -np.pi / 2, np.pi / 2))
        found = rotate(key, jnp.asarray(digit()))[..., 0]
        np.testing.assert_allclose(found, turned(digit(), (28, 28), angle=angle), atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_rotation_translation_and_scale_against_scipy(seed):
    key = jax.random.key(seed)
    angle_key, scale_key, place_key = jax.random.split(key, 3)
    angle = float(jax.random.uniform(angle_key, (), jnp.float32, -np.pi / 4, np.pi / 4))
    scale = float(jax.random.uniform(scale_key, (), jnp.float32, 0.7, 1.2))
    shift = (42 - scale * 28) / 2 * np.asarray(jax.random.uniform(place_key, (2,), jnp.float32, -1, 1))
    found = rotate_translate_scale(key, jnp.asarray(digit()))
    assert found.shape == (42, 42, 1)
    expected = turned(digit(), (42, 42), angle=angle, scale=scale, shift=shift)
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-4)


def perspective(source, target):
    """The 3 x 3 matrix, up to scale, that takes four points to four points: the null space of the DLT equations."""
    rows = []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y, -u], [0, 0, 0, x, y, 1, -v * x, -v * y, -v]]
    return np.linalg.svd(np.array(rows))[2][-1].reshape(3, 3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.daily("2")
def test_projection_against_a_homography_of_the_corners(seed):
    key = jax.random.key(seed)
    scale_key, corner_key = jax.random.split(key)
    scale = float(jax.random.uniform(scale_key, (), jnp.float32, 0.75, 1))
    corners = np.array([(0, 0), (27, 0), (0, 27), (27, 27)], float) - 13.5
    moved = corners + 5 * np.asarray(jax.random.normal(corner_key, (4, 2), jnp.float32))
    x, y = centred((28, 28))
    u, v, w = np.einsum("ij,jhw->ihw", np.linalg.inv(perspective(corners, moved)), np.stack([x, y, np.ones_like(x)]))
    expected = read(digit(), u / w / scale + 13.5, v / w / scale + 13.5)
    found = project(key, jnp.asarray(digit()))[..., 0]
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_elastic_distortion_against_scipys_thin_plate_spline(seed):
    key = jax.random.key(seed)
    scale_key, point_key = jax.random.split(key)
    scale = float(jax.random.uniform(scale_key, (), jnp.float32, 0.75, 1))
    line = np.linspace(-13.5, 13.5, 4)
    control = np.array([(x, y) for y in line for x in line])
    targets = control + 1.5 * np.asarray(jax.random.normal(point_key, (16, 2), jnp.float32))
    spline = RBFInterpolator(control, targets, kernel="thin_plate_spline", degree=1)
    x, y = centred((28, 28))
    u, v = spline(np.stack([x.ravel(), y.ravel()], -1)).T.reshape(2, 28, 28)
    found = elastic(key, jnp.asarray(digit()))[..., 0]
    np.testing.assert_allclose(found, read(digit(), u / scale + 13.5, v / scale + 13.5), atol=1e-3)


def test_convention_a_positive_angle_turns_clockwise_as_seen():
    # A dot to the right of the centre goes down, to where a clock's hand goes next.
    image = np.zeros((29, 29, 1), np.float32)
    image[14, 22] = 1
    for seed in range(8):
        key = jax.random.key(seed)
        angle = float(jax.random.uniform(key, (), jnp.float32, -np.pi / 2, np.pi / 2))
        x, y = centre_of_mass(np.asarray(rotate(key, jnp.asarray(image))))
        np.testing.assert_allclose([x - 14, y - 14], [8 * np.cos(angle), 8 * np.sin(angle)], atol=0.5)


# ---- By statistics


def centre_of_mass(image):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    mass = image[..., 0]
    return (x * mass).sum() / mass.sum(), (y * mass).sum() / mass.sum()


def directions(images):
    """The angle of the brighter of two blobs about the dimmer, of each image."""
    return np.array([np.arctan2(*(np.subtract(centre_of_mass(i), (13.5, 13.5)))[::-1]) for i in images])


def test_rotation_angles_are_uniform_in_90_degrees():
    image = np.zeros((28, 28, 1), np.float32)
    image[12:16, 20:24] = 1  # to the right: direction 0
    angles = directions(many(distort.rotate, image))
    assert np.abs(angles).max() < np.radians(92)
    assert np.abs(angles).max() > np.radians(85)
    counts = np.histogram(angles, bins=4, range=(-np.pi / 2, np.pi / 2))[0]
    assert np.all(np.abs(counts - COUNT / 4) < 5 * np.sqrt(COUNT / 4))


def disc(size=28, radius=8.0):
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)[..., None].astype(np.float32)


def test_scales_of_rts_are_those_of_the_paper():
    scales = np.sqrt(many(distort.rotate_translate_scale, disc()).sum((1, 2, 3)) / disc().sum())
    assert 0.68 < scales.min() < 0.73
    assert 1.17 < scales.max() < 1.22
    assert abs(scales.mean() - 0.95) < 0.03


@pytest.mark.parametrize("function", [distort.elastic, distort.project])
@pytest.mark.daily("project")
def test_scales_of_p_and_e_are_those_of_the_paper(function, monkeypatch):
    # Without the normal moves of corners and control points only the scale is left.
    monkeypatch.setattr(jax.random, "normal", lambda key, shape, dtype: jnp.zeros(shape, dtype))
    scales = np.sqrt(many(function, disc()).sum((1, 2, 3)) / disc().sum())
    assert 0.74 < scales.min() < 0.77
    assert 0.98 < scales.max() < 1.01
    assert abs(scales.mean() - 0.875) < 0.02


def test_rts_places_are_uniform_and_stay_in_the_canvas():
    found = many(distort.rotate_translate_scale, disc())
    places = np.array([centre_of_mass(image) for image in found]) - 20.5
    np.testing.assert_allclose(found.sum((1, 2, 3)) > 0.68**2 * disc().sum(), True)
    rooms = (42 - 28 * np.sqrt(found.sum((1, 2, 3)) / disc().sum())) / 2
    relative = places / rooms[:, None]
    assert np.abs(relative).max() < 1.03
    for axis in (0, 1):
        counts = np.histogram(relative[:, axis], bins=4, range=(-1.03, 1.03))[0]
        assert np.all(np.abs(counts - COUNT / 4) < 5 * np.sqrt(COUNT / 4))
    assert abs(np.corrcoef(relative.T)[0, 1]) < 0.2


@pytest.mark.slow
def test_corners_of_p_and_control_points_of_e_move_as_far_as_the_paper_says(monkeypatch):
    seen = {}
    monkeypatch.setattr(distort.ops, "thin_plate_spline_grid", _keep(seen, "e", distort.ops.thin_plate_spline_grid))
    monkeypatch.setattr(distort, "_homography", _keep(seen, "p", distort._homography))
    for key in keys(50):
        distort.project(key, jnp.zeros((28, 28, 1)))
        distort.elastic(key, jnp.zeros((28, 28, 1)))
    corners = np.array([(-1, -1), (1, -1), (-1, 1), (1, 1)])
    control = np.array([(x, y) for y in np.linspace(-1, 1, 4) for x in np.linspace(-1, 1, 4)])
    for name, rest, spread in (("p", corners, 5), ("e", control, 1.5)):
        moves = (np.array(seen[name]) - rest) * 27 / 2
        assert abs(moves.std() - spread) < 0.1 * spread
        assert abs(moves.mean()) < 0.15 * spread


def _keep(seen, name, function):
    def wrapped(first, *rest):
        seen.setdefault(name, []).append(np.asarray(first))
        return function(first, *rest)

    return wrapped


# ---- Batches


@pytest.fixture(scope="module")
def batch():
    return jnp.asarray(np.random.default_rng(0).random((16, 28, 28, 1)), jnp.float32)


@functools.cache
def compiled(name):
    return jax.jit(lambda key, images: distort.distort_batch(name, key, images))


@pytest.mark.parametrize("name", distort.DISTORTIONS)
@pytest.mark.daily("none", "TC")
def test_shape_and_dtype(name):
    for dtype in (jnp.float32, jnp.bfloat16, jnp.float16):
        images = jax.ShapeDtypeStruct((7, 28, 30, 3), dtype)
        found = jax.eval_shape(lambda images: distort.distort_batch(name, jax.random.key(0), images), images)
        assert found.shape == (7, *distort.distorted_shape(name, (28, 30, 3)))
        assert found.dtype == dtype


@pytest.mark.slow
@pytest.mark.parametrize("name", WARPING)
def test_bfloat16_images_are_distorted_as_float32_ones_are(name):
    images = jnp.asarray(np.stack([digit()] * 16))
    exact = compiled(name)(jax.random.key(0), images)
    found = compiled(name)(jax.random.key(0), images.astype(jnp.bfloat16))
    np.testing.assert_allclose(found.astype(jnp.float32), exact, atol=0.02)


@pytest.mark.parametrize("name", distort.DISTORTIONS[1:])
@pytest.mark.daily("RTS2", "E")
def test_a_key_says_everything(name, batch):
    run = compiled(name)
    one, again, other = (np.asarray(run(jax.random.key(seed), batch)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.1
    # The images of a batch differ in their distortions too.
    same = run(jax.random.key(0), jnp.asarray(np.stack([digit()] * 16)))
    assert np.abs(np.diff(np.asarray(same), axis=0)).max(axis=(1, 2, 3)).min() > 0.05


def test_none_changes_nothing(batch):
    assert distort.distort_batch("none", jax.random.key(0), batch) is batch


@pytest.mark.parametrize("name", WARPING)
def test_image_i_takes_key_i(name, batch):
    functions = {"R": rotate, "RTS": rotate_translate_scale, "P": project, "E": elastic}
    found = compiled(name)(jax.random.key(5), batch)
    expected = functions[name](jax.random.split(jax.random.key(5), 16)[3], batch[3])
    np.testing.assert_allclose(found[3], expected, atol=1e-4)


@pytest.mark.parametrize("mesh_name", ["auto_mesh", "explicit_mesh"])
@pytest.mark.parametrize("name", distort.DISTORTIONS)
@pytest.mark.daily("none-auto_mesh")
def test_the_mesh_changes_nothing(name, mesh_name, batch, request):
    mesh, run = request.getfixturevalue(mesh_name), compiled(name)
    alone = run(jax.random.key(3), batch)
    with jax.set_mesh(mesh):
        spread = run(jax.random.key(3), jax.device_put(batch, NamedSharding(mesh, PartitionSpec("data"))))
    assert spread.sharding.spec[0] == "data"
    np.testing.assert_allclose(spread, alone, atol=1e-4)


@pytest.mark.parametrize("name", ["R", "RTS"])
def test_outside_is_black(name):
    found = compiled(name)(jax.random.key(0), jnp.ones((16, 28, 28, 1)))
    corners = np.asarray(found)[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert np.mean(corners == 0) > 0.8
    assert np.max(found) <= 1 + 1e-6
    assert np.min(found) >= -1e-6


def test_unknown_distortions_and_small_batches_are_refused():
    images = jnp.zeros((6, 28, 28, 1))
    with pytest.raises(ValueError, match=r"name must be one of 'none', 'R', .*, not 'RST'; did you mean 'RTS'"):
        distort.distort_batch("RST", jax.random.key(0), images)
    with pytest.raises(ValueError, match="images must be at least 7 for the clutter of TC, not 6"):
        distort.distort_batch("TC", jax.random.key(0), images)
