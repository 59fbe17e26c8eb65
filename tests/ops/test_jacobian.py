"""How far warps stretch and where they fold, against plain loops and polygons."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import ops

jacobian, folds = jax.jit(ops.jacobian), jax.jit(ops.folds)


def loop(coords, axes):
    """Element by element: differences of the neighbours that there are, over their distance."""
    shape = coords.shape[:axes]
    found = np.zeros((*coords.shape, axes))
    for place in np.ndindex(*shape):
        for j in range(axes):
            axis = axes - 1 - j
            before, after = list(place), list(place)
            before[axis], after[axis] = max(place[axis] - 1, 0), min(place[axis] + 1, shape[axis] - 1)
            if way := after[axis] - before[axis]:
                found[(*place, ..., j)] = (coords[tuple(after)] - coords[tuple(before)]) / way
    return found


@pytest.mark.parametrize("shape", [(4, 5, 2), (4, 5, 3, 2), (4, 3, 2, 2, 2), (1, 5, 2), (4, 1, 2), (3, 4, 2, 3)])
def test_the_jacobian_is_that_of_plain_loops(x64, shape):
    coords = np.random.default_rng(0).normal(size=shape)
    found = jacobian(jnp.asarray(coords))
    assert_allclose(found, loop(coords, shape[-1]), atol=1e-13)


@pytest.mark.parametrize("shape", [(5, 6), (3, 5, 4)])
def test_the_jacobian_of_an_affine_warp_is_its_matrix(x64, shape):
    axes = len(shape)
    matrix = np.random.default_rng(1).normal(size=(axes, axes))
    coords = np.asarray(ops.identity_coords(shape)) @ matrix.T + 3.0
    assert_allclose(jacobian(jnp.asarray(coords)), np.broadcast_to(matrix, (*shape, axes, axes)), atol=1e-12)


def test_axes_of_one_pixel_and_of_none_have_no_slope():
    assert_array_equal(jacobian(jnp.ones((1, 1, 2))), np.zeros((1, 1, 2, 2)))
    assert jacobian(jnp.ones((0, 4, 2))).shape == (0, 4, 2, 2)


def is_simple_and_upright(points):
    """Whether a quadrilateral (4, 2) turns to the same side at each corner, and nowhere back."""
    ways = np.roll(points, -1, 0) - points
    turns = [a[0] * b[1] - a[1] * b[0] for a, b in zip(ways, np.roll(ways, -1, 0), strict=True)]
    return min(turns) > 0


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 3)])
def test_cells_fold_that_are_no_convex_quadrilaterals(x64, shape):
    """The warp between four points is one to one where they are the corners of a convex figure, in their order."""
    rng = np.random.default_rng(2)
    coords = np.moveaxis(np.indices(shape[:2])[::-1], 0, -1).reshape(6, 7, *[1] * (len(shape) - 2), 2)
    coords = coords + 0.5 * rng.normal(size=(*shape, 2))
    found = np.asarray(folds(jnp.asarray(coords)))
    assert found.shape == (5, 6, *shape[2:])
    for place in np.ndindex(*found.shape):
        y, x, *field = place
        corners = [coords[(y + i, x + j, *field)] for i, j in ((0, 0), (0, 1), (1, 1), (1, 0))]
        assert found[place] == (not is_simple_and_upright(np.array(corners))), place
    assert 0.1 < found.mean() < 0.9


def test_known_warps_fold_where_they_do():
    identity = ops.identity_coords((4, 5))
    assert not folds(identity).any()
    assert not folds(0.1 * identity + 7).any()
    assert folds(0 * identity).all()  # nothing is left
    assert folds(identity[:, ::-1]).all()  # a mirror image
    x, y = identity[..., 0], identity[..., 1]
    folded = jnp.stack([jnp.abs(x - 2), y], axis=-1)  # a page folded over at its middle column
    assert_array_equal(folds(folded), np.broadcast_to([True, True, False, False], (3, 4)))


@pytest.mark.parametrize("angle", [-0.5, 0.0, 0.5])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_cells_with_a_bad_corner_fold_and_no_other(bad, angle):
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    coords = np.asarray(ops.identity_coords((4, 5))) @ turn.T
    coords[1, 2, 0] = bad
    expected = np.zeros((3, 4), bool)
    expected[0:2, 1:3] = True
    assert_array_equal(folds(jnp.asarray(coords)), expected)
