"""Images of the revisited benchmarks: the law of crops and sizes by Pillow itself, and trees that are not whole."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vtnjax import data
from vtnjax.data.revisited_benchmark import box_inside, reduced_size

SIZES = {"a": (90, 120), "b": (120, 90), "c": (64, 64), "d": (31, 200), "q": (120, 160), "r": (50, 41)}
BOXES = {"q": [10.4, 20.6, 130.5, 99.5], "r": [0, 0, 41, 50]}
TRUTH = {"easy": [0], "hard": [1, 2], "junk": [3]}


def picture(height, width, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 3 + 1, width // 3 + 1, 3), np.uint8)
    return coarse.repeat(3, 0).repeat(3, 1)[:height, :width]


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def tree(tmp_path):
    """Images without loss, whatever their names say, and a pickle."""
    (tmp_path / "jpg").mkdir()
    for seed, (name, size) in enumerate(SIZES.items()):
        (tmp_path / "jpg" / f"{name}.jpg").write_bytes(png(picture(*size, seed)))
    return write(tmp_path)


def write(folder, **change):
    truths = [{**TRUTH, "bbx": BOXES[name]} for name in ("q", "r")]
    found = {"imlist": ["a", "b", "c", "d"], "qimlist": ["q", "r"], "gnd": truths, **change}
    (folder / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(found))
    return folder


def load(folder, size=100):
    return data.load_benchmark("roxford5k", data_dir=str(folder), size=size)


def by_pillow(folder, name, size, box=None):
    """As the reference code reads an image, by Pillow's crop and thumbnail."""
    with Image.open(folder / "jpg" / f"{name}.jpg") as opened:
        image = opened.convert("RGB")
    longest = size
    if box is not None:
        whole, image = max(image.size), image.crop(box)
        longest = size * max(image.size) / whole
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS, reducing_gap=None)
    return np.asarray(image)


@pytest.mark.parametrize("size", [2, 33, 64, 100, 119, 160, 1024])
def test_images_are_those_of_pillow(tree, size):
    found = load(tree, size)
    for name, image in zip(found.names, found.database, strict=True):
        np.testing.assert_array_equal(image, by_pillow(tree, name, size))
    for name, image in zip(("q", "r"), found.queries, strict=True):
        np.testing.assert_array_equal(image, by_pillow(tree, name, size, BOXES[name]))
    for images in (found.database, found.queries):
        assert [image.shape[:2] for image in images] == list(images.sizes)
        assert {image.dtype for image in images} == {np.dtype(np.uint8)}


def test_a_query_keeps_the_scale_of_its_image(tree):
    # A box of 120 x 79 pixels (round half to even), of an image whose longer side 160 becomes 80.
    assert load(tree, 80).queries.sizes[0] == (40, 60)
    assert load(tree, 1024).queries.sizes[0] == (79, 120)  # never enlarged


@pytest.mark.slow
def test_sizes_are_those_of_pillows_thumbnails():
    rng = np.random.default_rng(0)
    for height, width, longest in rng.integers(1, 150, (1000, 3)).tolist():
        image = Image.new("L", (width, height))
        image.thumbnail((longest, longest), Image.Resampling.NEAREST, reducing_gap=None)
        assert reduced_size((height, width), longest) == image.size[::-1], (height, width, longest)


def test_the_orientation_of_a_photograph_is_applied(tree):
    path = tree / "jpg" / "q.jpg"
    image, exif = picture(160, 120), Image.Exif()
    exif[0x0112] = 6  # the camera was turned: shown, it is 120 high and 160 wide
    Image.fromarray(image).save(path, "JPEG", exif=exif, quality=98)
    whole = by_pillow(tree, "q", 1000)
    left, top, right, bottom = (round(edge) for edge in BOXES["q"])
    found = load(tree, 1000).queries[0].astype(int)
    assert found.shape == (79, 120, 3)
    assert np.abs(found - np.rot90(whole, -1)[top:bottom, left:right]).mean() < 3


def test_what_it_says_is_what_the_pickle_says(tree):
    found = load(tree)
    assert found.names == ("a", "b", "c", "d")
    assert [truth["hard"] for truth in found.ground_truth] == [[1, 2]] * 2
    assert isinstance(found, data.Benchmark)
    assert repr(found) == f"RevisitedBenchmark({str(tree)!r}, 'roxford5k', size=100)"
    for images in (found.database, found.queries):
        with pytest.raises(IndexError):
            images[len(images)]


# ---- Trees that are not whole


def test_a_missing_image_is_named(tree):
    for name in ("b", "q"):
        (tree / "jpg" / f"{name}.jpg").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"must hold all 6 pictures, but 2 are missing, the first jpg/b\.jpg: put"
    ):
        load(tree)


@pytest.mark.parametrize("name", ["b", "q"])
@pytest.mark.parametrize(("content", "reason"), [(b"", "the file is empty"), (b"no picture", "cannot identify")])
def test_an_image_that_is_empty_or_none_is_named(tree, name, content, reason):
    (tree / "jpg" / f"{name}.jpg").write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"{name}\.jpg cannot be read \({reason}.*\): put gnd_roxford5k\.pkl of github"
    ):
        load(tree)


def test_an_image_that_is_cut_short_is_named_when_it_is_read(tree):
    path = tree / "jpg" / "c.jpg"
    Image.fromarray(picture(64, 64)).save(path, "JPEG", quality=98)
    path.write_bytes(path.read_bytes()[:2000])
    found = load(tree)
    assert found.database[0].shape == (75, 100, 3)
    with pytest.raises(ValueError, match=r"c\.jpg cannot be read"):
        found.database[2]


@pytest.mark.parametrize(
    "box",
    [
        [-2, 0, 50, 50],
        [0, 0, 162, 100],
        [0, 0, 100, 122],
        [200, 200, 300, 300],
        [50, 10, 50, 60],
        [60, 10, 50, 60],
        [float("nan"), 0, 50, 50],
        [0, 0, float("inf"), 50],
        ["left", 0, 50, 50],
    ],
)
def test_a_box_outside_its_image_is_named(tree, box):
    write(tree, gnd=[{**TRUTH, "bbx": box}, {**TRUTH, "bbx": BOXES["r"]}])
    with pytest.raises(
        ValueError, match=r"the box of query q .* must have an area and be inside its image of 160 x 120"
    ):
        load(tree)


def test_a_box_that_leaves_its_image_by_a_pixel_is_cut():
    assert box_inside([-1, 0, 161, 121.4], (120, 160), Path()) == (0, 0, 160, 120)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"imlist": ["a", "b", 3, "d"]}, "must hold the names of images as texts, but has 3"),
        ({"qimlist": ["q", None]}, "must hold the names of images as texts, but has None"),
        ({"imlist": ["a", "b", "c"]}, "must have indices of the 3 images of query 0, but has 3"),
        ({"gnd": [{**TRUTH, "bbx": BOXES["q"], "junk": ["d"]}] * 2}, "images of query 0, but has 'd'"),
        ({"gnd": [{**TRUTH, "bbx": BOXES["q"], "easy": [-1]}] * 2}, "images of query 0, but has -1"),
    ],
)
def test_a_pickle_that_says_other_things_is_refused(tree, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        load(write(tree, **change))


def test_without_the_pickle_it_is_said_where_it_comes_from(tree):
    with pytest.raises(FileNotFoundError, match=r"must hold gnd_rparis6k\.pkl, but there is none: put gnd_rparis6k"):
        data.load_benchmark("rparis6k", data_dir=str(tree))
    with pytest.raises(FileNotFoundError, match="must hold gnd_roxford5k"):
        load(tree / "nowhere")


@pytest.mark.parametrize(
    ("name", "size", "sentence"),
    [("oxford5k", 100, "name must be one of"), ("roxford5k", 0, "size must be a whole number")],
)
def test_wrong_arguments_are_named(tree, name, size, sentence):
    with pytest.raises(ValueError, match=sentence):
        data.RevisitedBenchmark(tree, name, size=size)
