"""Pictures of where a warp folds and how far it stretches."""

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from vtnjax import ops, plot

IDENTITY = np.asarray(ops.identity_coords((4, 5)))
IMAGE = np.random.default_rng(0).random((8, 10, 3))


def folded():
    """Coordinates whose first two columns of cells fold over, as a page does."""
    coords = IDENTITY.copy()
    coords[..., 0] = np.abs(coords[..., 0] - 2)
    return coords


def polygons(axes):
    found = [each for each in axes.collections if isinstance(each, PolyCollection)]
    return [path.vertices[:4] for each in found for path in each.get_paths()]


@pytest.fixture
def axes():
    axes = Figure().subplots()
    plot.draw_image(axes, IMAGE)
    return axes


def test_folded_cells_are_filled_where_they_read(axes):
    coords = folded()
    plot.draw_folds(axes, jnp.asarray(coords))
    assert axes.get_xlim() == (-0.5, 9.5)
    expected = [
        [coords[y, x], coords[y, x + 1], coords[y + 1, x + 1], coords[y + 1, x]] for y in range(3) for x in range(2)
    ]
    np.testing.assert_allclose(polygons(axes), expected)


def test_a_warp_that_does_not_fold_has_nothing_filled(axes):
    plot.draw_folds(axes, IDENTITY)
    assert not polygons(axes)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_cells_that_cannot_be_drawn_are_left_out(axes, bad, tmp_path):
    coords = folded()
    coords[0, 0] = bad
    plot.draw_folds(axes, coords)
    assert len(polygons(axes)) == 5
    plot.save(axes.figure, tmp_path / "a.png")


def test_grids_and_sources_show_their_folds():
    grid = plot.before_after(IMAGE[None], folded()[None], IMAGE[None, :4, :5]).axes[1]
    assert len(polygons(grid)) == 6
    axes = plot.fields(IMAGE[None], folded()[None]).axes[1]
    # A map of 4 x 5 covers the image of 8 x 10: its first pixel's centre is at 0.5.
    np.testing.assert_allclose(np.concatenate(polygons(axes)).min(0), [0.5, 0.5])
    np.testing.assert_allclose(np.concatenate(polygons(axes)).max(0), [4.5, 6.5])


def test_colours_are_the_areas_that_pixels_read(tmp_path):
    coords = np.stack([IDENTITY * np.float32([2, 0.5]), IDENTITY * np.float32([3, 2]), folded()], axis=2)
    figure = plot.folds(IMAGE[None], coords[None], ["a"], groups=(1, 2))
    stretched, over = figure.axes[1:3]
    assert [each.get_ylabel() for each in figure.axes[:3]] == ["input", "field 1", "field 2"]
    assert figure.axes[0].get_title() == "a"
    areas, cells = stretched.get_images()
    np.testing.assert_allclose(areas.get_array(), 6)
    assert areas.get_clim() == (0.25, 4)
    assert not cells.get_array()[..., 3].any()
    areas, cells = over.get_images()
    np.testing.assert_array_equal(cells.get_array()[..., 3] > 0, [[True, True, False, False]] * 3)
    assert tuple(cells.get_extent()) == (0, 4, 3, 0)
    np.testing.assert_allclose(areas.get_array()[:, [0, 4]], 1)
    assert (areas.get_array()[:, 2] < 0.01).all()  # where the page is folded
    plot.save(figure, tmp_path / "a.png")
    assert len(plot.folds(IMAGE[None], coords[None]).axes) == 1 + 3 + 1


@pytest.mark.parametrize("rows", [4, 1])
def test_one_field_and_a_line_of_pixels_are_drawn(tmp_path, rows):
    figure = plot.folds(IMAGE[None], 2 * IDENTITY[None, :rows])
    _, drawn, _ = figure.axes  # the image, the field, the key to its colours
    areas, *cells = drawn.get_images()
    # A line has neither height nor cells.
    np.testing.assert_allclose(areas.get_array(), np.full((rows, 5), 4 if rows > 1 else 1e-3), rtol=1e-6)
    assert [each.get_array().shape for each in cells] == ([(3, 4, 4)] if rows > 1 else [])
    assert (drawn.get_xlim(), drawn.get_ylim()) == ((-0.5, 4.5), (rows - 0.5, -0.5))
    plot.save(figure, tmp_path / "a.png")
