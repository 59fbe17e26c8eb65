"""Digits in volumes (STN A.3) against SciPy, and their random numbers by their statistics."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import affine_transform
from scipy.spatial.transform import Rotation

from vtnjax import distort, ops

DEPTH, SHAPE = 5, (14, 15, 17)


def image(h=8, w=9, c=1):
    return np.random.default_rng(0).uniform(0.5, 1, (h, w, c))


def drawn(key, size):
    """The angles about x, y, z and the shift of the centre that a key stands for, with `size` (w, h, depth)."""
    angle_key, place_key = jax.random.split(key)
    angles = jax.random.uniform(angle_key, (3,), jnp.float64, -np.pi / 4, np.pi / 4)
    places = jax.random.uniform(place_key, (3,), jnp.float64, -1, 1)
    room = (np.array(SHAPE[::-1]) - size) / 2
    return np.asarray(angles), room * np.asarray(places)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("seed", range(3))
def test_volumes_against_scipy(seed):
    key, picture = jax.random.key(seed), image()
    angles, shift = drawn(key, (9, 8, DEPTH))
    back = Rotation.from_euler("xyz", angles).as_matrix().T  # lower case: about the fixed axes, x first
    centre_out, centre_in = (np.array(SHAPE) - 1) / 2, (np.array([DEPTH, 8, 9]) - 1) / 2
    matrix = back[::-1, ::-1]  # SciPy's axes run z, y, x
    offset = centre_in - matrix @ (centre_out + shift[::-1]) + 1
    block = np.pad(np.broadcast_to(picture[None, :, :, 0], (DEPTH, 8, 9)), 1)
    expected = affine_transform(block, matrix, offset, SHAPE, order=1)
    place = jax.jit(functools.partial(distort.place_in_volume, depth=DEPTH, shape=SHAPE))
    found = place(key, jnp.asarray(picture))
    assert found.dtype == jnp.float64
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-10)
    assert expected.sum() > 0.9 * block.sum()


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("depth", [1, 6])
def test_a_volume_is_the_extruded_block_read_by_a_3_by_4_matrix(depth, monkeypatch):
    key, picture, kept = jax.random.key(4), image(c=2), []
    turn = distort._turn
    monkeypatch.setattr(distort, "_turn", lambda angles: kept.append(np.asarray(turn(angles))) or kept[-1])
    found = distort.place_in_volume(key, jnp.asarray(picture), depth=depth, shape=SHAPE)
    _, shift = drawn(key, (9, 8, depth))
    out = (np.array(SHAPE[::-1]) - 1) / 2
    theta = np.concatenate([kept[0].T * out, -(kept[0].T @ shift)[:, None]], axis=1)  # to pixels about the centre
    coords = np.asarray(ops.affine_grid(theta, SHAPE)) + (np.array([9, 8, depth]) - 1) / 2
    expected = ops.sample_volume(np.broadcast_to(picture[None], (depth, *picture.shape)), coords)
    np.testing.assert_allclose(found, expected, atol=1e-10)


@pytest.mark.slow
def test_angles_and_places_are_those_documented(monkeypatch):
    kept, turn = [], distort._turn
    monkeypatch.setattr(distort, "_turn", lambda angles: kept.append(angles) or turn(0 * angles))

    def one(key):
        return distort.place_in_volume(key, jnp.ones((4, 3, 1)), depth=2, shape=(9, 8, 7))[..., 0], kept.pop()

    volumes, angles = map(np.asarray, jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), 100)))
    np.testing.assert_allclose(volumes.sum((1, 2, 3)), 4 * 3 * 2, rtol=1e-5)  # unturned, it lies within
    axes = np.stack(np.meshgrid(*map(np.arange, (9, 8, 7)), indexing="ij"))
    places = np.einsum("kdhw,ndhw->nk", axes, volumes) / (4 * 3 * 2) - (np.array([9, 8, 7]) - 1) / 2
    for values, bound in ((angles, [np.pi / 4] * 3), (places, [3.5, 2, 2])):
        relative = values / np.array(bound)
        assert np.abs(relative).max() <= 1 + 1e-5
        for axis in range(3):
            counts = np.histogram(relative[:, axis], bins=4, range=(-1 - 1e-5, 1 + 1e-5))[0]
            assert np.all(np.abs(counts - 25) < 5 * np.sqrt(25))
