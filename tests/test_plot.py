"""What the pictures hold: lines through the coordinates, counts, colours, whole files."""

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread

from vtnjax import ops, plot

SHAPE = (9, 12)


def identity(shape=SHAPE):
    return np.array(ops.identity_coords(shape))


def turned(shape=SHAPE, angle=0.5):
    theta = jnp.array([[np.cos(angle), -np.sin(angle), 0.1], [np.sin(angle), np.cos(angle), 0.0]], jnp.float32)
    return np.array(ops.to_pixels(ops.affine_grid(theta, shape), shape))


def image(shape=SHAPE, channels=1, dtype=np.float32):
    return np.random.default_rng(0).random((*shape, channels)).astype(dtype)


@pytest.fixture
def axes():
    return Figure().subplots()


def shown(axes):
    return axes.get_images()[0].get_array()


# ---- Images


def test_grey_images_are_drawn_from_0_to_1(axes):
    plot.draw_image(axes, 0.5 * image(), "a title")
    assert axes.get_images()[0].get_clim() == (0, 1)
    assert axes.get_images()[0].get_cmap().name == "gray"
    assert axes.get_title() == "a title"
    np.testing.assert_array_equal(shown(axes), 0.5 * image()[..., 0])


def test_bytes_are_drawn_from_0_to_255(axes):
    plot.draw_image(axes, (200 * image()).astype(np.uint8))
    assert axes.get_images()[0].get_clim() == (0, 255)


def test_colours_beyond_0_and_1_are_clipped(axes):
    plot.draw_image(axes, 3 * image(channels=3) - 1)
    np.testing.assert_allclose(shown(axes), np.clip(3 * image(channels=3) - 1, 0, 1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.daily("3")
def test_arrays_of_jax_and_bfloat16_are_drawn(axes, channels, tmp_path):
    plot.draw_image(axes, jnp.asarray(image(channels=channels), jnp.bfloat16))
    plot.draw_grid(axes, jnp.asarray(turned()))
    plot.save(axes.figure, tmp_path / "a.png")
    np.testing.assert_allclose(np.squeeze(shown(axes)), np.squeeze(image(channels=channels)), atol=0.005)


# ---- Grids


def lines_of(axes):
    found = [c for c in axes.collections if isinstance(c, LineCollection)]
    return [(c, [np.asarray(s) for s in c.get_segments()]) for c in found]


def test_grid_lines_go_through_the_coordinates(axes):
    plot.draw_image(axes, image())
    coords = turned()
    plot.draw_grid(axes, coords, lines=4)
    inner, border, top = lines_of(axes)
    rows, columns = [0, 3, 5, 8], [0, 4, 7, 11]
    expected = [coords[i] for i in rows] + [coords[:, j] for j in columns]
    assert len(inner[1]) == 8
    for found, line in zip(inner[1], expected, strict=True):
        np.testing.assert_allclose(found, line)
    for found, line in zip(border[1], (coords[0], coords[-1], coords[:, 0], coords[:, -1]), strict=True):
        np.testing.assert_allclose(found, line)
    np.testing.assert_allclose(top[1][0], coords[0])
    assert not np.allclose(top[0].get_color()[0], border[0].get_color()[0])


def test_a_grid_leaves_the_view_on_the_image(axes):
    plot.draw_image(axes, image())
    before = axes.get_xlim(), axes.get_ylim()
    plot.draw_grid(axes, 20 * turned() - 50)
    assert (axes.get_xlim(), axes.get_ylim()) == before
    assert before == ((-0.5, 11.5), (8.5, -0.5))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_a_grid_has_a_gap_where_a_coordinate_is_nowhere(axes, bad, tmp_path):
    coords = turned()
    coords[0, 3] = bad
    plot.draw_image(axes, image())
    plot.draw_grid(axes, coords, lines=9)
    plot.save(axes.figure, tmp_path / "a.png")
    for _, segments in lines_of(axes):
        assert not any(np.isinf(line).any() or np.nanmax(np.abs(line)) > 1e6 for line in segments)


@pytest.mark.slow
def test_before_after_has_three_rows(tmp_path):
    coords = np.stack([identity(), turned(), identity()])
    images, warped = (np.stack([k * image() for k in (0.5, 0.7, 0.9)]) for _ in range(2))
    warped = warped[:, ::-1]
    figure = plot.before_after(images, coords, warped, ["a", "b", "c"])
    axes = np.array(figure.axes).reshape(3, 3)
    assert [a.get_title() for a in axes[0]] == ["a", "b", "c"]
    assert [a.get_ylabel() for a in axes[:, 0]] == ["input", "grid", "warped"]
    for i in range(3):
        np.testing.assert_array_equal(shown(axes[0, i]), images[i, ..., 0])
        np.testing.assert_array_equal(shown(axes[1, i]), images[i, ..., 0])
        np.testing.assert_array_equal(shown(axes[2, i]), warped[i, ..., 0])
        np.testing.assert_allclose(lines_of(axes[1, i])[-1][1][0], coords[i, 0])
        assert not axes[0, i].collections


@pytest.mark.slow
def test_before_after_takes_outputs_of_another_size_without_titles():
    coords = np.stack([turned((5, 6))] * 2)
    figure = plot.before_after(np.stack([image(channels=3)] * 2), coords, np.zeros((2, 5, 6, 3)))
    assert len(figure.axes) == 6


def test_projections_are_sums_from_the_front_and_from_the_side():
    volumes = np.zeros((2, 3, 5, 7, 1))
    volumes[:, 2, 1, 4] = 2
    volumes[:, 1, 1, 4] = 1
    volumes[:, 1, 3, 6] = 1.5
    figure = plot.projections(volumes, np.full((2, 4, 4, 1), 5.0), ["a", "b"])
    axes = np.array(figure.axes).reshape(3, 2)
    assert [a.get_ylabel() for a in axes[:, 0]] == ["front", "side", "plane"]
    assert [a.get_title() for a in axes[0]] == ["a", "b"]
    front, side = shown(axes[0, 1]), shown(axes[1, 1])
    assert (front.shape, side.shape) == ((5, 7), (5, 3))
    assert (front[1, 4], front[3, 6], front.sum()) == (1, 0.5, 1.5)
    np.testing.assert_allclose([side[1, 2], side[1, 1], side[3, 1]], [1, 0.5, 0.75])
    np.testing.assert_array_equal(shown(axes[2, 0]), np.ones((4, 4)))


def test_a_gallery_is_a_row_with_titles():
    figure = plot.gallery(np.stack([image(), image()]), ["x", "y"])
    assert [a.get_title() for a in figure.axes] == ["x", "y"]
    np.testing.assert_array_equal(shown(figure.axes[1]), image()[..., 0])


# ---- Density and colours


def test_the_density_of_the_identity_is_1_everywhere():
    np.testing.assert_array_equal(plot.sampling_density(identity(), SHAPE), np.ones(SHAPE))


def test_the_density_counts_the_samples_in_the_image():
    coords = 1.3 * turned((30, 31)) - 1
    density = plot.sampling_density(coords, SHAPE)
    x, y = np.moveaxis(coords, -1, 0)
    inside = (x > -0.5) & (x < 11.5) & (y > -0.5) & (y < 8.5)
    assert 0 < inside.sum() < inside.size
    assert density.sum() == inside.sum()
    for row, column in ((0, 0), (4, 7), (8, 11), (2, 10)):
        expected = (np.abs(x - column) < 0.5) & (np.abs(y - row) < 0.5)
        assert density[row, column] == expected.sum()


def test_the_density_is_high_where_the_warp_magnifies():
    coords = np.asarray(ops.to_pixels(ops.attention_grid(0.5, jnp.array([0.4, -0.4]), (60, 60)), SHAPE))
    density = plot.sampling_density(coords, SHAPE)
    assert density[2, 7] >= 60 * 60 / (SHAPE[0] * SHAPE[1] / 4) * 0.7
    assert density[-1, 0] == 0


def test_bad_coordinates_are_not_counted():
    coords = identity()
    coords[0, :3] = [(np.nan, 0), (np.inf, 1), (1e30, 2)]
    assert plot.sampling_density(coords, SHAPE).sum() == coords[..., 0].size - 3


def test_equal_places_have_equal_colours_and_others_have_others():
    key = plot.colour_coords(identity(), SHAPE)
    assert key.shape == (*SHAPE, 3)
    assert key.min() >= 0
    assert key.max() <= 1
    assert len(np.unique(key.reshape(-1, 3).round(6), axis=0)) == SHAPE[0] * SHAPE[1]
    places = np.array([(3, 7), (0, 0), (8, 11)])
    found = plot.colour_coords(places[:, ::-1].astype(float), SHAPE)
    np.testing.assert_allclose(found, [key[tuple(place)] for place in places])


def test_the_centre_is_white_and_outside_is_black():
    colours = plot.colour_coords(np.array([(5.5, 4.0), (-1, 4), (12, 4), (5, 9.5), (np.nan, 4), (np.inf, 0)]), SHAPE)
    np.testing.assert_allclose(colours[0], 1)
    np.testing.assert_array_equal(colours[1:], 0)


def test_convention_colours_turn_from_red_at_the_right_to_green_yellow_below():
    right, below = plot.colour_coords(np.array([(11.0, 4.0), (5.5, 8.0)]), SHAPE)
    np.testing.assert_allclose(right, [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(below, [0.5, 1, 0], atol=1e-6)


def test_an_image_of_one_pixel_has_a_colour():
    np.testing.assert_array_equal(plot.colour_coords(np.zeros((1, 1, 2)), (1, 1)), np.ones((1, 1, 3)))


# ---- Files


@pytest.mark.parametrize("name", ["new/folders/figure.png", "figure.pdf", "figure.svg"])
def test_save_writes_a_whole_file_and_no_other(tmp_path, name):
    path = tmp_path / name
    plot.save(plot.gallery(np.stack([image()]), ["x"]), path)
    assert path.stat().st_size > 1000
    assert list(path.parent.iterdir()) == [path]
    if path.suffix == ".png":
        assert imread(path).ndim == 3


def test_a_save_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")
    figure = plot.gallery(np.stack([image()]), ["x"])
    figure.savefig = fail_after_half
    with pytest.raises(OSError, match="disk full"):
        plot.save(figure, path)
    assert path.read_bytes() == b"old"


def fail_after_half(path, **_):
    path.write_bytes(b"half")
    raise OSError("disk full")


# ---- Fields of feature maps


def test_two_channels_are_red_and_cyan(axes):
    plot.draw_image(axes, image(channels=2))
    np.testing.assert_array_equal(shown(axes), image(channels=2)[..., [0, 1, 1]])


def dots(axes):
    (collection,) = axes.collections
    return np.asarray(collection.get_offsets()), collection.get_facecolors()[:, :3]


@pytest.mark.slow
def test_sources_lie_where_a_maps_pixels_are_on_the_image_in_the_colours_of_their_places(axes):
    plot.draw_sources(axes, image((12, 24)), identity((3, 4)))
    places, colours = dots(axes)
    # Each of the map's pixels covers 4 x 6 of the image: its centre is theirs.
    np.testing.assert_allclose(places[0], [2.5, 1.5])
    np.testing.assert_allclose(places[-1], [20.5, 9.5])
    np.testing.assert_allclose(colours, plot.colour_coords(identity((3, 4)), (3, 4)).reshape(-1, 3))
    assert axes.get_xlim() == (-0.5, 23.5)


def test_fields_are_drawn_below_each_image():
    coords = np.stack([identity((3, 4))] * 5, axis=2) + np.arange(5)[:, None]  # field g reads g pixels further
    figure = plot.fields(image((12, 24))[None], coords[None].astype(np.float32), ["a"], groups=(1, 4))
    top, first, second = figure.axes
    assert (top.get_title(), top.get_ylabel(), second.get_ylabel()) == ("a", "input", "field 4")
    np.testing.assert_allclose(dots(second)[0] - dots(first)[0], np.tile([[18.0, 12.0]], (12, 1)))
    assert len(plot.fields(image((12, 24))[None], coords[None].astype(np.float32)).axes) == 5
    assert len(plot.fields(image((12, 24))[None], identity((3, 4))[None]).axes) == 2


# ---- Attention


def test_attention_sampling_shows_marginals_integrals_and_where_was_read():
    attention = np.zeros((5, 7), np.float32)
    attention[1, 2], attention[4, 6] = 3.0, 1.0
    x, y = np.array([0.0, 2.0, 3.0, 9.0]), np.array([1.0, 4.0, 4.5, 8.0, 8.0])
    coords = np.stack(np.meshgrid(x, y), -1)
    figure = plot.attention_sampling(image(), attention, coords, image()[:5, :4])
    axes = figure.axes
    assert [a.get_title() for a in axes] == ["attention", "marginals", "integrals", "sampling points", "sampled"]
    columns, rows = axes[1].get_lines()
    np.testing.assert_allclose(columns.get_ydata(), np.array([0, 0, 3, 0, 0, 0, 1]) / 4)
    np.testing.assert_allclose(rows.get_ydata(), np.array([0, 3, 0, 0, 1]) / 4)
    np.testing.assert_allclose(columns.get_xdata()[[0, -1]], [0, 11])  # over an image of 9 x 12 pixels
    for line, wanted in zip(axes[2].get_lines(), (x, y), strict=True):
        np.testing.assert_allclose(line.get_xdata(), wanted)
        np.testing.assert_allclose(line.get_ydata(), np.arange(len(wanted)) / len(wanted))
    (points,) = axes[3].get_lines()
    np.testing.assert_allclose(points.get_xydata(), [(a, b) for b in y[::2] for a in x[::2]])
    np.testing.assert_array_equal(shown(axes[4]), image()[:5, :4, 0])


def test_attention_maps_stand_below_their_features():
    features, maps = (np.arange(24.0).reshape(2, 3, 4) * k for k in (1, -1))
    figure = plot.attention_maps(features, maps, [3, 1])
    axes = np.array(figure.axes).reshape(2, 2)
    assert [a.get_title() for a in axes[0]] == ["channel 3", "channel 1"]
    for row, stack in zip(axes, (features, maps), strict=True):
        for each, channel in zip(row, (3, 1), strict=True):
            np.testing.assert_array_equal(shown(each), stack[..., channel])


# ---- Windows


def test_windows_are_drawn_on_the_image_and_shown_below_in_their_colours(tmp_path):
    images = np.stack([image(), 0.5 * image()])
    coords = np.stack([[identity((3, 4)), identity((3, 4)) + 2 + i] for i in range(2)]).astype(np.float32)
    read = np.stack([[images[i, :3, :4], images[i, 2:5, 2:6]] for i in range(2)])
    figure = plot.windows(images, coords, read, ["a", "b"])
    axes = np.array(figure.axes).reshape(3, 2)
    assert [a.get_title() for a in axes[0]] == ["a", "b"]
    assert [a.get_ylabel() for a in axes[:, 0]] == ["input", "window 1", "window 2"]
    for i in range(2):
        np.testing.assert_array_equal(shown(axes[0, i]), images[i, ..., 0])
        drawn = lines_of(axes[0, i])
        assert len(drawn) == 2
        for j, (collection, segments) in enumerate(drawn):
            corners = np.concatenate(segments)
            np.testing.assert_allclose([corners.min(0), corners.max(0)], [coords[i, j, 0, 0], coords[i, j, -1, -1]])
            np.testing.assert_array_equal(shown(axes[1 + j, i]), read[i, j, ..., 0])
            frame = axes[1 + j, i].spines["top"].get_edgecolor()
            np.testing.assert_allclose(collection.get_color()[0], frame)
        assert not np.allclose(drawn[0][0].get_color()[0], drawn[1][0].get_color()[0])
        assert axes[0, i].get_xlim() == (-0.5, 11.5)
    plot.save(figure, tmp_path / "a.png")


# ---- Heat


def test_heat_lies_on_the_images_with_the_boxes_in_red_and_green(tmp_path):
    images = np.random.default_rng(0).random((3, 8, 12, 3))
    heats = {"plain": np.random.default_rng(1).random((3, 2, 3)), "VTN": np.zeros((3, 4, 4))}
    boxes = {"plain": np.array([[0, 0, 12.0, 8], [1, 2, 3, 4], [0, 0, 0, 0]]), "VTN": np.ones((3, 4)) * [1, 2, 3, 7]}
    true = np.array([[2, 2, 5, 6.5]] * 3)
    figure = plot.heat(images, heats, boxes, true=true, titles=["a", "b", "c"])
    axes = np.array(figure.axes).reshape(3, 3)
    assert [each.get_title() for each in axes[0]] == ["a", "b", "c"]
    assert [each.get_ylabel() for each in axes[:, 0]] == ["input", "plain", "VTN"]
    for row, name in zip(axes[1:], heats, strict=True):
        for i, each in enumerate(row):
            image, heat = each.get_images()
            np.testing.assert_array_equal(heat.get_array(), heats[name][i].astype(np.float32))
            assert tuple(heat.get_extent()) == tuple(image.get_extent()) == (-0.5, 11.5, 7.5, -0.5)
            assert heat.get_clim() == (0, max(heats[name][i].astype(np.float32).max(), np.finfo(np.float32).tiny))
    colours = {(1.0, 0.0, 0.0, 1.0): boxes["plain"], (0.0, 1.0, 0.0, 1.0): true}
    for i, each in enumerate(axes[1]):
        drawn = {tuple(lines.get_color()[0]): lines.get_segments()[0] for lines in each.collections}
        for colour, of in colours.items():
            left, top, right, bottom = of[i] - 0.5  # edges at whole numbers; Matplotlib has centres there
            np.testing.assert_allclose(drawn[colour].min(0), [left, top])
            np.testing.assert_allclose(drawn[colour].max(0), [right, bottom])
    assert [len(each.collections) for each in axes[0]] == [1, 1, 1]
    plot.save(figure, tmp_path / "heat.png")
    assert not plot.heat(images, heats, boxes).axes[0].collections


# ---- Searches


def test_what_was_found_stands_beside_its_query_in_a_frame_that_says_what_it_is():
    queries = [image((5, 7), 3), image((9, 4), 3)]
    found = [[image((6, 8), 3)] * 3, [image((8, 6), 3)] * 3]
    kinds = [["right", "wrong", "junk"], ["wrong", "right", "right"]]
    figure = plot.retrieved(queries, found, kinds, titles=["a", "b"])
    assert len(figure.axes) == 8
    assert [axes.get_title() for axes in figure.axes] == ["a", "", "", "", "b", "", "", ""]
    colours = {"right": "tab:green", "wrong": "tab:red", "junk": "tab:gray"}
    for row, images, names in ((figure.axes[1:4], found[0], kinds[0]), (figure.axes[5:], found[1], kinds[1])):
        for axes, picture, kind in zip(row, images, names, strict=True):
            np.testing.assert_array_equal(shown(axes), picture)
            for spine in axes.spines.values():
                assert to_hex(spine.get_edgecolor()) == to_hex(colours[kind])
                assert spine.get_linewidth() > 2
    assert to_hex(figure.axes[0].spines["top"].get_edgecolor()) == to_hex("black")


def test_a_search_of_nothing_or_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="queries must be at least one, not none"):
        plot.retrieved([], [], [])
    with pytest.raises(ValueError, match="kinds must be one of 'right', 'junk', 'wrong', not 'good'"):
        plot.retrieved([image()], [[image()]], [["good"]])
