"""Boxes of windows and of heat maps, and their overlap, against counting pixels."""

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


@pytest.mark.slow
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


# ---- The largest box of a heat map


def looped(heat, threshold):
    """The same by flooding from each pixel in turn, row by row."""
    left = {(y, x) for y, x in np.ndindex(heat.shape) if heat[y, x] > threshold * max(heat.flat)}
    largest = []
    for start in sorted(left):
        if start not in left:
            continue
        part, edge = set(), {start}
        while edge:
            left -= edge
            part |= edge
            edge = {(y + i, x + j) for y, x in edge for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
        largest = max(largest, part, key=len)  # of equal ones the first
    rows, columns = zip(*largest, strict=True)
    return [min(columns), min(rows), max(columns) + 1, max(rows) + 1], len(largest)


def two_hills():
    y, x = np.mgrid[:12, :16]
    heat = np.exp(-((y - 4) ** 2 + (x - 5) ** 2) / 8) + 0.6 * np.exp(-((y - 9) ** 2 + (x - 13) ** 2) / 2)
    return (heat - heat.min()) / np.ptp(heat)


@pytest.mark.parametrize(
    ("threshold", "pixels", "box"), [(0.15, 45, (2, 1, 9, 8)), (0.2, 37, (2, 1, 9, 8)), (0.5, 21, (3, 2, 8, 7))]
)
def test_known_boxes_of_two_hills(threshold, pixels, box):
    found = evaluate.largest_box(two_hills(), threshold=threshold)
    assert found.dtype == np.float32
    assert found.tolist() == list(box)
    assert looped(two_hills(), threshold) == (list(box), pixels)
    assert evaluate.largest_box(two_hills()).tolist() == [2, 1, 9, 8]  # by default 0.15


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6, 0.9])
def test_the_largest_box_is_that_of_flooding(threshold):
    rng = np.random.default_rng(0)
    for _ in range(60):
        heat = rng.integers(0, 8, rng.integers(1, 9, 2)) / 8
        heat.flat[0] = 1
        box, _ = looped(heat, threshold)
        assert evaluate.largest_box(heat, threshold=threshold).tolist() == box


def test_pixels_that_touch_at_a_corner_are_one_part():
    heat = np.array([[0, 0, 0, 1, 1], [1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 1, 0, 0]], np.float32)
    assert evaluate.largest_box(heat).tolist() == [0, 1, 3, 4]


def test_of_equal_parts_the_first_row_by_row_is_taken():
    heat = np.array([[0, 0, 0, 1], [1, 1, 0, 1], [0, 0, 0, 0]], np.float32)
    assert evaluate.largest_box(heat).tolist() == [3, 0, 4, 2]
    assert evaluate.largest_box(heat[::-1]).tolist() == [0, 1, 2, 2]


def test_a_pixel_must_exceed_the_threshold():
    heat = np.array([[1, 0.5, 0.5, 0.5]], np.float32)
    assert evaluate.largest_box(heat, threshold=0.5).tolist() == [0, 0, 1, 1]
    assert evaluate.largest_box(heat, threshold=0.49).tolist() == [0, 0, 4, 1]


@pytest.mark.parametrize(
    "heat", [[[0.0, 0]], [[-1.0, -2]], [[np.nan, 1]], [[np.inf, 1]], [[1e-45, 0]], np.zeros((0, 3))]
)
def test_a_map_without_heat_or_with_what_is_no_number_has_no_box(heat):
    assert evaluate.largest_box(np.array(heat, np.float32), threshold=0.9).tolist() == [0, 0, 0, 0]


@pytest.mark.usefixtures("untyped")
def test_a_wrong_map_or_threshold_is_refused():
    for threshold in (-0.1, 1, 15, np.nan, "0.15"):
        with pytest.raises(ValueError, match=f"threshold must be at least 0 and below 1, not {threshold!r}"):
            evaluate.largest_box(np.ones((2, 2), np.float32), threshold=threshold)
    with pytest.raises(ValueError, match=r"heat must be \(h, w\), not of shape \(2, 2, 1\)"):
        evaluate.largest_box(np.ones((2, 2, 1), np.float32))
