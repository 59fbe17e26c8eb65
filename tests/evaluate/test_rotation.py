import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from vtnjax import distort, evaluate, ops


def blob(shape=(15, 15)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return jnp.asarray(np.exp(-((x - 9) ** 2) / 8 - (y - 6) ** 2 / 3)[..., None], jnp.float32)


def matrix(degrees, scale=1.0):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return scale * np.array([[cos, -sin, 0.1], [sin, cos, -0.2]])


@pytest.mark.parametrize("degrees", [-60.0, 25.0])
@pytest.mark.daily("25.0")
def test_the_predicted_angle_is_the_turn_that_the_warp_undoes(degrees):
    image = blob()
    turned = distort.turn(image, jnp.radians(jnp.float32(degrees)))
    theta = np.float32(matrix(degrees)) * np.array([1, 1, 0], np.float32)
    grid = ops.affine_grid(jnp.asarray(theta), (15, 15))
    straight = ops.sample(turned, ops.to_pixels(grid, (15, 15)))
    assert_allclose(straight[3:12, 3:12], image[3:12, 3:12], atol=0.15)
    assert_allclose(evaluate.predicted_angle(theta[None]), [degrees], atol=1e-4)


@pytest.mark.parametrize("scale", [0.4, 2.0])
def test_neither_scale_nor_shift_changes_the_angle(scale):
    thetas = np.stack([matrix(degrees, scale) for degrees in (-150.0, -10.0, 90.0)])
    assert_allclose(evaluate.predicted_angle(thetas), [-150, -10, 90], atol=1e-9)


def test_a_sheared_or_mirrored_warp_has_the_angle_of_its_inverses_first_row():
    for theta in (np.array([[1.0, 0.7, 0], [0.2, 1.1, 0]]), np.array([[-1.0, 0.3, 0], [0.4, 0.9, 0]])):
        first = np.linalg.inv(theta[:, :2])[0]
        assert_allclose(evaluate.predicted_angle(theta[None]), [np.degrees(np.arctan2(first[1], first[0]))], atol=1e-9)


def test_angles_that_follow_correlate_in_any_pose():
    applied = np.linspace(-90, 90, 37)
    found = (applied + 170 + 180) % 360 - 180  # half of them wrapped around
    assert_allclose(evaluate.angle_correlation(applied, found), 1, atol=1e-9)
    assert_allclose(evaluate.angle_correlation(applied, -applied), -1, atol=1e-9)


def test_angles_that_do_not_follow_do_not_correlate():
    rng = np.random.default_rng(0)
    assert abs(evaluate.angle_correlation(rng.uniform(-90, 90, 4000), rng.uniform(-90, 90, 4000))) < 0.05


def test_an_angle_that_never_changes_correlates_with_nothing():
    assert evaluate.angle_correlation(np.linspace(-90, 90, 5), np.zeros(5)) == 0
