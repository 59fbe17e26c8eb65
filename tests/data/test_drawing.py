import cv2
import numpy as np
import pytest

from vtnjax.data.drawing import HEIGHT, WIDTH, draw_polygon, from_one, write_jpeg, write_lines


def drawn(seed, label=4, classes=6):
    return draw_polygon(label, classes, seed, True, np.random.default_rng(seed))


def pixels_of(drawing, classes=6):
    """Where the picture has the colour of the label's polygon, which no background has: its saturation is 220."""
    hsv = cv2.cvtColor(drawing.image, cv2.COLOR_BGR2HSV)
    return np.nonzero((hsv[..., 1] > 200) & (np.abs(hsv[..., 0].astype(int) - 180 * drawing.label // classes) <= 1))


@pytest.mark.parametrize("label", range(6))
def test_the_box_is_that_of_the_polygons_pixels(label):
    for seed in range(20):
        drawing = drawn(seed, label)
        rows, columns = pixels_of(drawing)
        assert drawing.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


def test_the_whole_polygon_lies_in_the_picture():
    for seed in range(50):
        left, top, right, bottom = drawn(seed).box
        assert 0 <= left < right <= WIDTH
        assert 0 <= top < bottom <= HEIGHT
        assert min(right - left, bottom - top) > 25  # the radius is at least 18


def test_matlab_counts_from_one_and_includes_the_last_pixel():
    drawing = drawn(0)
    left, top, right, bottom = drawing.box
    assert from_one(drawing) == (left + 1, top + 1, right, bottom)


def test_files_come_with_their_folders(tmp_path):
    write_lines(tmp_path / "a" / "b.txt", ["one", "two"])
    assert (tmp_path / "a" / "b.txt").read_text() == "one\ntwo\n"
    write_jpeg(tmp_path / "c" / "d.jpg", drawn(0).image)
    read = cv2.imread(str(tmp_path / "c" / "d.jpg"))
    assert np.abs(read.astype(int) - drawn(0).image).mean() < 6


def test_stems_tell_pictures_apart():
    assert len({drawn(seed, label).stem for seed in range(5) for label in range(5)}) == 25
