import io

import numpy as np
import pytest
from matplotlib.figure import Figure

from vtnjax import plot
from vtnjax.recipes import PICTURES
from vtnjax.recipes.pictures import check_picture

IMAGES = np.zeros((2, 6, 6, 1), np.float32)


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn by which function of `plot`."""
    calls = {}

    def recorder(name):
        def record(*args):
            calls[name] = args
            return Figure()

        return record

    for name in PICTURES:
        monkeypatch.setattr(plot, name, recorder(name))
    return calls


def double(images):
    assert images.dtype == np.float32
    assert images.ndim == 4
    return 2 * images


@pytest.mark.parametrize("name", ["gallery", "before_after", "windows", "fields", "folds"])
def test_of_a_network_that_warps_nothing_the_images_are_shown(drawn, name):
    PICTURES[name](IMAGES, {}, ["a", "b"], double)
    assert list(drawn) == ["gallery"]


def test_what_a_warp_made_is_shown_as_images(drawn):
    out = {"coords": np.zeros((2, 3, 3, 2)), "warped": np.ones((2, 3, 3, 1), np.float16)}
    PICTURES["before_after"](IMAGES, out, ["a", "b"], double)
    np.testing.assert_array_equal(drawn["before_after"][2], np.full((2, 3, 3, 1), 2.0))


def test_each_of_several_windows_is_shown_as_an_image(drawn):
    out = {"coords": np.zeros((2, 4, 3, 3, 2)), "warped": np.arange(72, dtype=np.float32).reshape(2, 4, 3, 3, 1)}
    PICTURES["windows"](IMAGES, out, ["a", "b"], double)
    np.testing.assert_array_equal(drawn["windows"][2], 2 * out["warped"])


def test_fields_and_projections_are_those_of_the_output(drawn):
    out = {"coords": np.zeros((2, 4, 3, 3, 2)), "plane": np.ones((2, 4, 4, 1))}
    PICTURES["fields"](IMAGES, out, ["a", "b"], double)
    PICTURES["folds"](IMAGES, out, ["a", "b"], double)
    PICTURES["projections"](IMAGES, out, ["a", "b"], double)
    assert drawn["fields"][1] is drawn["folds"][1] is out["coords"]
    assert drawn["projections"][1] is out["plane"]


def test_heat_is_drawn_with_the_box_of_its_resized_map_and_the_true_one(drawn, monkeypatch):
    monkeypatch.setattr(plot, "heat", lambda *args, **options: drawn.update(heat=args, options=options))
    heat, true = np.zeros((2, 3, 3), np.float32), np.ones((2, 4))
    heat[0, 0, 2] = 1  # it falls from the centre of pixel (5, 1) to nothing two pixels away
    PICTURES["heat"](IMAGES, {"heat": heat, "box": true}, ["a", "b"], double)
    assert drawn["heat"][1]["heat"] is heat
    np.testing.assert_array_equal(drawn["heat"][2]["heat"], [[3, 0, 6, 3], [0, 0, 0, 0]])
    assert drawn["options"]["true"] is true
    assert drawn["options"]["titles"] == ["a", "b"]


def shapes(**axes):
    return {name: np.zeros(shape, np.float32) for name, shape in axes.items()}


FLAT = shapes(coords=(2, 6, 6, 2), warped=(2, 6, 6, 1))
SEVERAL = shapes(coords=(2, 4, 6, 6, 2), warped=(2, 4, 6, 6, 1))
FEATURES = shapes(coords=(2, 3, 3, 2), warped=(2, 3, 3, 64))


@pytest.mark.parametrize(
    ("name", "out"),
    [
        ("before_after", FLAT),
        ("before_after", shapes(coords=(2, 6, 6, 2), warped=(2, 6, 6, 2))),
        ("before_after", {}),
        ("windows", SEVERAL),
        ("windows", {}),
        ("fields", FEATURES),
        ("fields", shapes(coords=(2, 3, 3, 4, 2))),
        ("folds", shapes(coords=(2, 3, 3, 4, 2))),
        ("gallery", FEATURES),
        ("projections", shapes(plane=(2, 6, 6, 1))),
    ],
)
@pytest.mark.daily("gallery-out8")
def test_a_picture_that_fits_is_drawn(name, out):
    check_picture(name, out)
    channels = out["warped"].shape[-1] if name == "before_after" and out else 1
    images = np.zeros((2, 6, 6, 6, 1) if name == "projections" else (2, 6, 6, channels), np.float32)
    assert PICTURES[name](images, out, ["a", "b"], lambda images: images).axes


@pytest.mark.parametrize(
    ("name", "out"),
    [
        ("before_after", SEVERAL),
        ("before_after", FEATURES),
        ("before_after", shapes(coords=(2, 6, 6, 2))),
        ("windows", FLAT),
        ("projections", FLAT),
        ("projections", {}),
    ],
)
def test_a_picture_that_does_not_fit_is_refused(name, out):
    with pytest.raises(
        ValueError, match=rf"config\.picture\.name must fit what the network makes \(.*\), not '{name}'"
    ):
        check_picture(name, out)
    images = np.zeros(IMAGES.shape, np.float32)
    with pytest.raises((KeyError, TypeError, ValueError, IndexError)):  # what it would end in
        PICTURES[name](images, out, ["a", "b"], lambda images: images).savefig(io.BytesIO())
