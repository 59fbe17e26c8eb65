import cv2
import numpy as np
import pytest
from PIL import Image

from vtnjax.data import Scenes, load_source, train_batches
from vtnjax.data.records import LabelledSource
from vtnjax.data.scenes import box_of, cut_out, paste, placement, warped

RED, GREEN, BLUE = (240, 0, 0), (0, 240, 0), (0, 0, 240)
SIZE = 96


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(picture, np.uint8)).save(path)


def stamp(height, width, colour):
    """An opaque rectangle with 10 white transparent pixels on every side."""
    picture = np.full((height + 20, width + 20, 4), 255, np.uint8)
    picture[..., 3] = 0
    picture[10:-10, 10:-10] = (*colour, 255)
    return picture


def disc(colour, around, alpha):
    """An opaque ellipse of 100 x 130 pixels in a rectangle of another colour and alpha."""
    rows, columns = np.indices((100, 130))
    picture = np.broadcast_to(np.array((*around, alpha), np.uint8), (100, 130, 4)).copy()
    picture[((rows - 49.5) / 50) ** 2 + ((columns - 64.5) / 65) ** 2 <= 1] = (*colour, 255)
    return picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Red and green stamps, in two families, on blue in tests and on black in training."""
    root = tmp_path_factory.mktemp("stamps")
    for name, colour in (("animals/birds/hen", RED), ("animals/birds/owl", GREEN), ("food/fruit/pear", GREEN)):
        save(root / f"{name}.png", stamp(100, 130, colour))
    save(root / "animals" / "birds" / "tiny.png", stamp(30, 30, GREEN))
    for split, colour in (("train", (0, 0, 0)), ("validation", (30, 30, 30)), ("test", BLUE)):
        save(root / "backgrounds" / split / "1.png", np.full((150, 200, 3), colour))
    return root


def scenes(folder, split="test", **options):
    return Scenes(folder, split, **{"size": SIZE, "count": 24, **options})


# ---- Where the stamp lies


def inside(matrix, shape, size):
    """For each pixel of a scene how far its centre lies inside a picture of a shape (h, w), by hand, in its pixels."""
    distances = np.zeros((size, size))
    inverse = np.linalg.inv(matrix)
    for row in range(size):
        for column in range(size):
            x, y, w = inverse @ (column + 0.5, row + 0.5, 1.0)
            distances[row, column] = min(x / w, y / w, shape[1] - x / w, shape[0] - y / w)
    return distances


@pytest.mark.parametrize("shape", [(40, 52), (100, 130), (200, 60)])
@pytest.mark.parametrize("seed", range(3))
def test_mask_and_box_are_those_of_a_rectangle_mapped_by_hand(shape, seed):
    matrix = placement(shape, SIZE, np.random.default_rng(seed))
    mask = warped(np.full((*shape, 4), 255, np.uint8), matrix, SIZE)[..., 3] >= 128
    distances = inside(matrix, shape, SIZE)
    scale = np.sqrt(np.count_nonzero(distances > 0) / (shape[0] * shape[1]))  # pixels of the scene in one of the stamp
    unsure = np.abs(distances) * scale < 0.6
    np.testing.assert_array_equal(mask[~unsure], distances[~unsure] > 0)
    # A shift by half a pixel would be seen here.
    for axis in (0, 1):
        assert abs(np.nonzero(mask)[axis].mean() - np.nonzero(distances > 0)[axis].mean()) < 0.15
    left, top, right, bottom = box_of(mask)
    corners = np.array([[0, 0, 1], [shape[1], 0, 1], [shape[1], shape[0], 1], [0, shape[0], 1]]) @ matrix.T
    corners = corners[:, :2] / corners[:, 2:]
    assert np.abs(corners.min(axis=0) - (left, top)).max() < 1.5
    assert np.abs(corners.max(axis=0) - (right, bottom)).max() < 1.5


def test_the_pixels_of_a_placed_picture_are_those_mapped_by_hand():
    rows, columns = np.indices((60, 80))
    picture = np.stack([3 * rows, 3 * columns, 0 * rows, 0 * rows + 255], axis=2).astype(np.uint8)
    matrix = np.array([[1.1, 0.2, 5.3], [-0.15, 1.05, 16.8], [0.0008, -0.0004, 1.0]])
    layer = warped(picture, matrix, 128).astype(float)
    inverse = np.linalg.inv(matrix)
    for row, column in ((40, 30), (55, 61), (70, 44), (33, 80)):
        x, y, w = inverse @ (column + 0.5, row + 0.5, 1.0)
        wanted = (3 * (y / w - 0.5), 3 * (x / w - 0.5))
        assert np.abs(layer[row, column, :2] - wanted).max() < 1.2


def test_all_of_the_stamp_is_inside_the_scene_and_its_perspective_is_real():
    for seed in range(200):
        matrix = placement((100, 130), SIZE, np.random.default_rng(seed))
        corners = np.array([[0, 0, 1], [130, 0, 1], [130, 100, 1], [0, 100, 1]]) @ matrix.T
        corners = corners[:, :2] / corners[:, 2:]
        assert corners.min() > -1e-3
        assert corners.max() < SIZE + 1e-3
        # Convex, and not mirrored.
        sides = np.roll(corners, -1, axis=0) - corners
        following = np.roll(sides, -1, axis=0)
        assert (sides[:, 0] * following[:, 1] - sides[:, 1] * following[:, 0] > 0).all()
        assert np.abs(matrix[2, :2]).max() > 0


def test_fine_patterns_shrink_to_their_mean():
    checked = np.zeros((200, 200, 4), np.uint8)
    checked[..., 3] = 255
    checked[np.indices((200, 200)).sum(axis=0) % 2 == 0, :3] = 255
    layer = warped(checked, np.diag([0.2, 0.2, 1.0]), 64)[2:38, 2:38, :3].astype(float)
    assert abs(layer.mean() - 127.5) < 2
    assert layer.std() < 3


def test_what_hides_under_a_transparent_edge_does_not_shine_through():
    cutout = cut_out(disc(RED, (255, 255, 255), 0), SIZE)
    for seed in range(5):
        layer = warped(cutout, placement(cutout.shape[:2], SIZE, np.random.default_rng(seed)), SIZE)
        assert layer[..., 1:3].max() == 0
        np.testing.assert_allclose(layer[..., 0] / 240, layer[..., 3] / 255, atol=0.02)


def test_pasting_is_the_alphas_mean_of_both():
    rng = np.random.default_rng(0)
    behind, colours = rng.integers(0, 256, (2, 8, 9, 3)).astype(np.uint8)
    alpha = rng.integers(0, 256, (8, 9, 1))
    alpha[:2], alpha[:, 7:] = 0, 255
    layer = np.concatenate([np.rint(colours * (alpha / 255)), alpha], axis=2).astype(np.uint8)
    image = behind.copy()
    paste(image, layer)
    wanted = behind + (colours.astype(float) - behind) * (alpha / 255)
    assert np.abs(image - wanted).max() <= 1.01
    np.testing.assert_array_equal(image[:2, :7], behind[:2, :7])


def test_the_box_of_a_mask_is_half_open():
    mask = np.zeros((9, 12), bool)
    mask[2:5, 3:10] = True
    assert box_of(mask).tolist() == [3, 2, 10, 5]
    assert box_of(mask).dtype == np.float32
    assert box_of(np.zeros((9, 12), bool)).tolist() == [0, 0, 0, 0]


# ---- Records


def test_a_record_shows_its_stamp_where_its_mask_is(folder):
    hidden = []
    for record in scenes(folder):
        image, mask = record["image"], record["mask"]
        assert image.shape == (SIZE, SIZE, 3)
        assert (image.dtype, mask.dtype, record["box"].dtype) == (np.uint8, bool, np.float32)
        rows, columns = np.nonzero(mask)
        assert record["box"].tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        channel = record["label"]  # a hen is red, an owl green
        far = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5))) == 0
        core = cv2.erode(mask.astype(np.uint8), np.ones((5, 5))) == 1
        shown = image[..., channel] > 2
        assert not shown[far].any()
        left, top, right, bottom = record["box"].astype(int)
        image[max(top - 1, 0) : bottom + 1, max(left - 1, 0) : right + 1] = 0
        assert image[..., :2].max() == 0  # nothing but the background outside the box
        hidden.append(1 - shown[core].mean())
        # What is in front is within a half of the box in either direction.
        if hidden[-1] > 0:
            rows, columns = np.nonzero(core & ~shown)
            box = record["box"]
            assert np.ptp(rows) <= (box[3] - box[1]) / 2 + 1
            assert np.ptp(columns) <= (box[2] - box[0]) / 2 + 1
    hidden = np.array(hidden)
    assert 4 <= (hidden > 0).sum() <= 20
    assert hidden.max() < 0.6


def test_the_mask_is_what_the_stamp_covers_by_half_or_more(tmp_path):
    save(tmp_path / "animals" / "birds" / "hen.png", disc(RED, GREEN, 100))
    save(tmp_path / "backgrounds" / "test" / "1.png", np.zeros((50, 50, 3)))
    for record in scenes(tmp_path, count=6):
        thin = cv2.erode((record["image"][..., 1] > 30).astype(np.uint8), np.ones((3, 3))) == 1
        assert thin.any()
        assert not record["mask"][thin].any()


def test_something_in_front_is_of_another_species_or_a_photograph(folder):
    found = set()
    for record in scenes(folder, count=60):
        core = cv2.erode(record["mask"].astype(np.uint8), np.ones((5, 5))) == 1
        pixels = record["image"][core].astype(int)
        found |= {(record["label"], int(channel)) for channel in pixels.argmax(axis=1)}
    assert found == {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)}


def test_light_is_a_gain_a_cast_and_a_ramp(tmp_path):
    save(tmp_path / "animals" / "birds" / "hen.png", stamp(100, 100, (100, 100, 100)))
    save(tmp_path / "backgrounds" / "test" / "1.png", np.full((100, 100, 3), 100))
    images = np.stack([record["image"] for record in Scenes(tmp_path, "test", size=SIZE, count=200)]) / 100
    assert 0.7 * 0.85 * 0.75 - 0.01 <= images.min() < 0.6
    assert 1.5 < images.max() <= 1.2 * 1.15 * 1.25 + 0.01
    # On grey things nothing but the light is seen, and a ramp is linear.
    for image in images[:10]:
        wanted = image[:1] + image[:, :1] - image[:1, :1]
        assert np.abs(image - wanted).max() < 0.03
    casts = images.mean(axis=(1, 2))
    assert np.std(casts / casts.mean(axis=1, keepdims=True)) > 0.03


def test_a_record_depends_on_seed_split_and_index_alone(folder):
    source, again = scenes(folder), scenes(folder)
    order = [5, 3, 11, 3]
    first = {index: source[index] for index in reversed(order)}
    for index in order:
        for key, value in again[index].items():
            np.testing.assert_array_equal(value, first[index][key])
    np.testing.assert_array_equal(source[-1]["image"], source[23]["image"])
    np.testing.assert_array_equal(scenes(folder, count=4)[3]["image"], source[3]["image"])
    for other in (scenes(folder, seed=1), scenes(folder, "validation")):
        assert (other[3]["mask"] != source[3]["mask"]).any()
    with pytest.raises(IndexError):
        source[24]


def test_every_split_has_its_own_backgrounds(folder):
    for split, darkest in (("train", (0, 0, 0)), ("test", BLUE)):
        source = scenes(folder, split)
        assert source.backgrounds == ("1.png",)
        record = source[0]
        far = cv2.dilate(record["mask"].astype(np.uint8), np.ones((5, 5))) == 0
        np.testing.assert_array_equal(record["image"][far].max(axis=0) > 0, np.array(darkest) > 0)


def test_tasks_are_one_family_or_all_of_large_stamps(folder):
    assert scenes(folder).classes == ("hen", "owl")
    assert scenes(folder, family="food").classes == ("pear",)
    source = scenes(folder, task="all")
    assert source.classes == ("hen", "owl", "pear")
    assert source.labels.tolist() == [0, 1, 2] * 8 == [record["label"] for record in source]
    assert isinstance(source, LabelledSource)
    for split, count in (("train", 8000), ("validation", 2000), ("test", 3000)):
        assert len(Scenes(folder, split, size=SIZE)) == count


def test_instances_are_a_stamp_of_every_second_species(folder, tmp_path):
    names = ("animals/hen-1", "animals/hen-2", "animals/owl", "food/fig", "food/pear", "plants/oak")
    for number, name in enumerate(names):
        save(tmp_path / f"{name}.png", stamp(100, 130, (240, 40 * number, 0)))
    save(tmp_path / "backgrounds" / "train" / "1.png", np.zeros((50, 50, 3)))
    halves = {half: scenes(tmp_path, "train", task="all", instances=half) for half in ("train", "benchmark")}
    assert halves["train"].classes == ("fig", "hen", "oak")
    assert halves["benchmark"].classes == ("owl", "pear")
    # Of a family alone too: of the plants, the first is no instance to search for.
    assert scenes(tmp_path, "train", family="plants", instances="train").classes == ("oak",)
    with pytest.raises(ValueError, match="family must have a species of the half 'benchmark', but Stamps"):
        scenes(tmp_path, "train", family="plants", instances="benchmark")
    assert scenes(tmp_path, "train", family="food", instances="benchmark").classes == ("pear",)
    for name, green in (("hen", 0), ("fig", 120), ("oak", 200)):
        label = halves["train"].classes.index(name)
        images = [record["image"] for record in halves["train"] if record["label"] == label]
        shares = [np.median(image[image[..., 0] > 60][:, 1] / image[image[..., 0] > 60][:, 0]) for image in images]
        assert np.median(shares) == pytest.approx(green / 240, abs=0.15)  # of hens the first
    assert scenes(folder, task="all", instances="benchmark").classes == ("owl",)


def test_views_of_one_species_all_come(folder, tmp_path):
    for name, colour in (("hen-1", RED), ("hen-2", GREEN)):
        save(tmp_path / "animals" / "birds" / f"{name}.png", stamp(100, 130, colour))
    save(tmp_path / "backgrounds" / "test" / "1.png", np.zeros((50, 50, 3)))
    means = np.array([record["image"].mean(axis=(0, 1)) for record in scenes(tmp_path)])
    assert 4 < (means[:, 0] > means[:, 1]).sum() < 20


def test_a_stamp_too_small_to_cover_half_a_pixel_has_an_empty_box(folder):
    empty = [record for record in scenes(folder, size=2, count=200) if not record["mask"].any()]
    assert empty
    assert all(record["box"].tolist() == [0, 0, 0, 0] for record in empty)


def test_pairs_are_two_scenes_of_one_stamp(folder):
    plain, paired = scenes(folder), scenes(folder, pairs=True)
    for index in range(4):
        record = paired[index]
        np.testing.assert_array_equal(record["image"], plain[index]["image"])
        assert record["image2"].shape == record["image"].shape
        assert (record["image2"] != record["image"]).any()
        assert record["image2"][..., record["label"]].max() > 100


def test_grain_reads_them_in_threads(folder):
    source = scenes(folder)
    made = [next(train_batches(source, batch_size=8, seed=0, threads=threads)) for threads in (0, 2)]
    np.testing.assert_array_equal(made[0]["image"], made[1]["image"])


@pytest.mark.parametrize(
    ("split", "options", "sentence"),
    [
        ("tests", {}, "split must be one of 'train', 'validation', 'test', not 'tests'; did you mean 'test'"),
        ("test", {"task": "birds"}, "task must be one of 'fine', 'all', not 'birds'"),
        ("test", {"family": "animals/fish"}, "family must be one of .*, not 'animals/fish'"),
        ("test", {"size": 0}, "size must be a whole number of at least 1, not 0"),
        ("test", {"count": 0}, "count must be a whole number of at least 1, not 0"),
        ("test", {"instances": "test"}, "instances must be one of 'train', 'benchmark', not 'test'"),
        ("test", {"seed": -1}, "seed must be a whole number of at least 0, not -1"),
    ],
)
def test_wrong_arguments_are_named(folder, split, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        scenes(folder, split, **options)


def test_a_stamp_that_is_cut_short_is_named(folder, tmp_path):
    path = tmp_path / "animals" / "birds" / "hen.png"
    save(path, np.random.default_rng(0).integers(0, 256, (120, 120, 4)))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"hen\.png cannot be read \(.*truncated.*\)"):
        load_source("scenes", "test", data_dir=str(tmp_path))
