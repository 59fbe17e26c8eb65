"""TC: a digit at a place of its own among pieces of others (STN A.4)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vtnjax import distort

COUNT = 400
translate_clutter = jax.jit(distort.translate_clutter)  # compiled once for all tests


def digit():
    """Smooth, without symmetry, black at the border."""
    y, x = np.mgrid[:28, :28] / 27 * 2 - 1
    blobs = np.exp(-((x - 0.3) ** 2 + (y + 0.2) ** 2) / 0.05) + 0.6 * np.exp(-((x + 0.3) ** 2 + (y - 0.3) ** 2) / 0.02)
    return (blobs * (np.hypot(x, y) < 0.95))[..., None].astype(np.float32)


def many(function, images, count=COUNT):
    """One image under many keys."""
    keys = jax.random.split(jax.random.key(1), count)
    return np.asarray(jax.jit(jax.vmap(lambda key: function(key, jnp.asarray(images))))(keys))


def clutter(seed, others=6):
    key = jax.random.key(seed)
    values = np.arange(1, others + 1).reshape(-1, 1, 1, 1) / 10 * np.ones((others, 28, 28, 1))
    image = np.float32(0.95) * (digit() > 0.1)
    return image, np.asarray(translate_clutter(key, jnp.asarray(image), jnp.asarray(values, jnp.float32)))


def placed(image, canvas):
    """Where the bright digit lies in the canvas."""
    rows, columns = np.nonzero(canvas[..., 0] > 0.9)
    first_row, first_column = (np.nonzero(image[..., 0].any(axis))[0][0] for axis in (1, 0))
    return rows.min() - first_row, columns.min() - first_column


def test_the_cluttered_canvas_holds_the_digit_unchanged():
    for seed in range(6):
        image, canvas = clutter(seed)
        assert canvas.shape == (60, 60, 1)
        row, column = placed(image, canvas)
        window = canvas[row : row + 28, column : column + 28]
        np.testing.assert_array_equal(window[image > 0], image[image > 0])


@pytest.mark.slow
def test_the_place_of_the_digit_is_told():
    for seed in range(6):
        image, canvas = clutter(seed)
        others = jnp.zeros((0, 28, 28, 1))
        bare, at = distort.translate_clutter_place(jax.random.key(seed), jnp.asarray(image), others, shape=(60, 60))
        x, y = np.asarray(at)
        assert placed(image, canvas) == (y, x)
        np.testing.assert_array_equal(bare[y : y + 28, x : x + 28], image)
        assert np.count_nonzero(bare) == np.count_nonzero(image)


def test_six_patches_of_6_by_6_lie_beside_the_digit():
    for seed in range(6):
        _, canvas = clutter(seed)
        rest = np.where(canvas > 0.9, 0, canvas)
        # Patch k has the value k / 10; a later one may cover part of it.
        for value in np.unique(rest[rest > 0]):
            rows, columns = np.nonzero(np.isclose(rest[..., 0], value))
            assert max(np.ptp(rows), np.ptp(columns)) < 6
        assert (rest > 0).sum() <= 6 * 36
        assert len(np.unique(rest[rest > 0])) >= 4


def test_clutter_patches_are_cut_anywhere_and_put_anywhere():
    other = np.arange(1, 28 * 28 + 1, dtype=np.float32).reshape(1, 28, 28, 1)

    def one(key, _):
        return distort.translate_clutter(key, jnp.zeros((28, 28, 1)), jnp.asarray(other))

    corners_from, corners_to = [], []
    for canvas in many(one, other):
        rows, columns = np.nonzero(canvas[..., 0])
        patch = canvas[rows.min() : rows.min() + 6, columns.min() : columns.min() + 6, 0]
        assert len(rows) == 36
        at = np.array(divmod(int(patch[0, 0]) - 1, 28))
        np.testing.assert_array_equal(patch, other[0, at[0] : at[0] + 6, at[1] : at[1] + 6, 0])
        corners_from.append(at)
        corners_to.append((rows.min(), columns.min()))
    assert np.array_equal([np.min(corners_from, 0), np.max(corners_from, 0)], [[0, 0], [22, 22]])
    for places, last in ((corners_from, 22), (corners_to, 54)):
        assert np.abs(np.mean(places, 0) - last / 2).max() < last * 0.08
    assert np.min(corners_to) <= 1
    assert np.max(corners_to) >= 53


def test_digits_are_put_anywhere_in_the_canvas():
    def one(key, image):
        return distort.translate_clutter(key, image, jnp.zeros((6, 28, 28, 1)))

    places = [placed(np.ones((28, 28, 1)), canvas) for canvas in many(one, np.ones((28, 28, 1), np.float32))]
    assert np.array_equal([np.min(places, 0), np.max(places, 0)], [[0, 0], [32, 32]])


def test_the_brighter_of_patch_and_digit_shows():
    def one(key, image):
        return distort.translate_clutter(key, image, jnp.ones((6, 28, 28, 1)))

    image = np.full((28, 28, 1), 0.5, np.float32)
    for canvas in many(one, image, 10):
        assert set(np.unique(canvas)) <= {0.0, 0.5, 1.0}
        patches = (canvas == 1).sum()
        assert 36 < patches <= 6 * 36


@pytest.mark.slow
@pytest.mark.parametrize("count", [7, 10])
def test_the_clutter_of_a_batch_never_comes_from_the_image_itself(count):
    # Every image has a value of its own; its canvas has those of the six that follow it and no other.
    values = np.arange(1, count + 1, dtype=np.float32) / 100
    images = np.ones((count, 28, 28, 1), np.float32) * values.reshape(-1, 1, 1, 1)
    seen = [set() for _ in range(count)]
    batch = jax.jit(lambda key, images: distort.distort_batch("TC", key, images))
    for seed in range(4):
        for i, canvas in enumerate(batch(jax.random.key(seed), jnp.asarray(images))):
            seen[i] |= {round(100 * float(v)) - 1 for v in np.unique(canvas)} - {-1}
            assert (np.asarray(canvas) == values[i]).sum() <= 28 * 28
    for i in range(count):
        assert seen[i] <= {(i + k) % count for k in range(7)}
        assert len(seen[i]) > 4
