"""Boxes of windows, and their overlap, against counting pixels."""

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from vtnjax import evaluate, ops


def test_a_window_that_copies_pixels_has_their_box(x64):
    # 28 x 28 pixels from (x, y) = (5, 40) on of 84 x 84.
    theta = np.array([[27 / 83, 2 * 18.5 / 83 - 1, 2 * 53.5 / 83 - 1]] * 2) * [[1, 1, 1], [-1, 1, 1]]
    found = evaluate.window_boxes(jnp.asarray(theta), (84, 84), (28, 28))
    assert_allclose(found, [[4.5, 39.5, 32.5, 67.5]] * 2, rtol=1e-12)


def test_a_box_ends_half_a_pixel_beyond_what_is_read(x64):
    rng = np.random.default_rng(0)
    for theta in np.concatenate([rng.uniform(0.1, 1, (5, 1)), rng.uniform(-1, 1, (5, 2))], axis=1):
        grid = ops.attention_grid(theta[0], theta[1:], (6, 4))
        places = np.asarray(ops.to_pixels(grid, (20, 30)))
        left, top, right, bottom = evaluate.window_boxes(jnp.asarray(theta), (20, 30), (6, 4))
        step = places[1, 1] - places[0, 0]
        assert_allclose([left, top], places[0, 0] - step / 2, rtol=1e-10)
        assert_allclose([right, bottom], places[-1, -1] + step / 2, rtol=1e-10)


def counted(a, b):
    """The same for boxes of whole numbers, a pixel at a time."""
    inside = {(x, y) for x in range(a[0], a[2]) for y in range(a[1], a[3])}
    other = {(x, y) for x in range(b[0], b[2]) for y in range(b[1], b[3])}
    return len(inside & other) / len(inside | other)


def test_overlap_against_counting_pixels(x64):
    rng = np.random.default_rng(1)
    first = rng.integers(0, 8, (2, 40, 2))
    boxes = np.concatenate([first, first + rng.integers(1, 8, (2, 40, 2))], axis=-1)
    expected = [counted(a, b) for a, b in zip(*boxes, strict=True)]
    assert min(expected) == 0
    assert_allclose(evaluate.intersection_over_union(*boxes.astype(float)), expected, rtol=1e-12)
    assert_allclose(evaluate.intersection_over_union(boxes[0].astype(float), boxes[0].astype(float)), 1)


@pytest.mark.usefixtures("untyped")
def test_a_window_of_one_pixel_is_refused():
    with pytest.raises(ValueError, match="window must be at least 2 x 2, not 1 x 4"):
        evaluate.window_boxes(jnp.zeros((1, 3)), (84, 84), (1, 4))
