import numpy as np
import pytest
from pictures import photo
from PIL import Image

from vtnjax.data import Arrays, photo_augment, photo_test, train_batches

WIDTH, HEIGHT = 250, 200
SEEDS = range(60)


def ramp():
    """Each pixel holds its own place, (x, y)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.uint8)
    return np.stack([x, y, np.full_like(x, 7)], axis=-1)


def run(function, image, seed=0):
    return function({"image": image, "label": 3}, np.random.default_rng(seed))["image"]


def plain(**options):
    """Nothing at random."""
    return photo_augment(**{"rotation": 0.0, "flip": False, **options})


def where_read(image):
    """The affine map (2, 3) from pixels of the output, (x, y, 1), to the places of the ramp it was read at."""
    size = len(image)
    y, x = np.mgrid[:size, :size]
    # Near the middle, where nothing is mirrored at the border.
    inner = (np.hypot(x - size / 2, y - size / 2) < size / 4).ravel()
    outputs = np.stack([x.ravel(), y.ravel(), np.ones(size * size)], axis=1)[inner]
    found, residuals, *_ = np.linalg.lstsq(outputs, image[..., :2].reshape(-1, 2)[inner].astype(float), rcond=None)
    assert np.sqrt(residuals.max() / inner.sum()) < 0.4  # rounding to bytes alone is 0.29
    return found.T


def steps(image, shape, crop):
    """What was drawn: (mirrored, degrees, left, top)."""
    matrix = where_read(image)
    scale = np.array([shape[1] / WIDTH, shape[0] / HEIGHT])
    linear = scale[:, None] * matrix[:, :2]
    mirrored = np.linalg.det(linear) < 0
    turn = linear * ([-1, 1] if mirrored else [1, 1])
    np.testing.assert_allclose(turn @ turn.T, np.eye(2), atol=0.01)
    degrees = np.rad2deg(np.arctan2(turn[0, 1], turn[0, 0]))
    # Where the middle of the crop was read, in the resized picture turned back about its middle.
    middle = scale * (matrix @ [(crop - 1) / 2, (crop - 1) / 2, 1] + 0.5)
    half = np.array(shape[::-1]) / 2
    left, top = turn.T @ (middle - half) + half - crop / 2
    return mirrored, degrees, left, top


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"size": 320, "crop": 280}, (320, 320)),
        ({"size": 320, "crop": 280, "keep_aspect": True, "rotation": 30.0}, (320, 400)),
    ],
)
def test_crops_are_turned_mirrored_and_moved_within_bounds(options, shape):
    crop, rotation = options["crop"], options.get("rotation", 15.0)
    drawn = np.array([steps(run(photo_augment(**options), ramp(), seed), shape, crop) for seed in SEEDS])
    mirrored, degrees, left, top = drawn.T
    assert 0.3 < mirrored.mean() < 0.7
    assert rotation * 0.8 < np.abs(degrees).max() < rotation + 0.2
    assert degrees.min() < -rotation / 2 < rotation / 2 < degrees.max()
    for corner, room in ((left, shape[1] - crop), (top, shape[0] - crop)):
        np.testing.assert_allclose(corner, np.rint(corner), atol=0.25)
        assert -0.25 < corner.min() < 0.1 * room
        assert 0.9 * room < corner.max() < room + 0.25
    # No draw is another one in disguise.
    assert np.abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.5


def test_without_flip_and_rotation_there_is_none():
    for seed in range(10):
        mirrored, degrees, _, _ = steps(run(plain(size=320, crop=280), ramp(), seed), (320, 320), 280)
        assert not mirrored
        assert abs(degrees) < 0.1


def test_of_a_square_the_middle_alone_is_read():
    image = photo(48, 80)
    found = run(plain(size=90, crop=90, square=True), image)
    np.testing.assert_array_equal(found, run(plain(size=90, crop=90), image[:, 16:64]))
    turned = run(plain(size=90, crop=90, square=True), image.transpose(1, 0, 2))
    np.testing.assert_array_equal(turned, run(plain(size=90, crop=90), image.transpose(1, 0, 2)[16:64]))


def test_pictures_are_seen_smaller_about_the_middle_of_the_crop():
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8)[None, :, None], (256, 256, 3)).copy()
    steps = []
    for seed in SEEDS:
        whole = run(plain(size=256, crop=64), ramp, seed)[32, :, 0].astype(float)
        smaller = run(plain(size=256, crop=64, smallest=0.5), ramp, seed)[32, :, 0].astype(float)
        assert abs(whole[31:33].mean() - smaller[31:33].mean()) < 1.5
        steps.append((smaller[40] - smaller[24]) / 16)
    assert 1 <= min(steps) < 1.2 < 1.8 < max(steps) < 2.1


def test_enlarging_is_bilinear():
    image = photo()
    expected = np.asarray(Image.fromarray(image).resize((90, 90), Image.Resampling.BILINEAR)).astype(int)
    enlarged = run(plain(size=90, crop=90), image).astype(int)
    # At the very border Pillow repeats the last pixel and a mirror shows the one before.
    assert np.abs(enlarged - expected)[2:-2, 2:-2].max() <= 2


@pytest.mark.parametrize("ratio", [2, 4, 8])
@pytest.mark.parametrize("prepare", [plain, photo_test])
def test_shrinking_takes_means(ratio, prepare):
    image = np.random.default_rng(0).integers(0, 256, (30 * ratio, 30 * ratio, 3), dtype=np.uint8)
    function = prepare(size=30, crop=30)
    small = run(function, image) if prepare is plain else function({"image": image, "label": 0})["image"]
    means = image.reshape(30, ratio, 30, ratio, 3).mean(axis=(1, 3))
    assert np.abs(small - means).max() <= 1.5  # rounded once, or after each halving


@pytest.mark.parametrize("shape", [(700, 1024), (65, 1024), (1024, 70), (2000, 1501)])
def test_fine_patterns_turn_grey_and_not_into_coarse_ones(shape):
    """Oblique stripes, one pixel in three white, along whichever axis is shrunk."""
    board = (np.indices(shape).sum(axis=0) % 3 // 2 * 255).astype(np.uint8)[..., None].repeat(3, axis=2)
    size = 64
    turned = run(photo_augment(size=size, crop=56), board, 1)
    for image in (turned, photo_test(size=size, crop=56)({"image": board, "label": 0})["image"]):
        assert np.abs(image.astype(int) - 85).max() < 20


def test_nothing_black_comes_in_at_the_corners():
    image = np.full((60, 80, 3), 200, np.uint8)
    for seed in SEEDS:
        assert (run(photo_augment(size=64, crop=64, rotation=45.0), image, seed) == 200).all()


def test_grey_pictures_stay_of_one_channel():
    for image in (photo()[..., :1], photo(200, 300)[..., :1]):
        grey, colour = (run(photo_augment(size=90, crop=80), x, 5) for x in (image, image.repeat(3, axis=2)))
        assert grey.shape == (80, 80, 1)
        assert grey.dtype == np.uint8
        # One channel goes another way through OpenCV than four.
        assert np.abs(grey.astype(int) - colour).max() <= 1
        assert photo_test(size=90, crop=80)({"image": image, "label": 0})["image"].shape == (80, 80, 1)


def test_the_record_is_left_as_it_was():
    image = photo()
    before = image.copy()
    record = {"image": image, "label": 3}
    augmented = photo_augment(size=50, crop=40, colour=0.4, pca_noise=0.1)(record, np.random.default_rng(0))
    assert augmented["label"] == 3
    np.testing.assert_array_equal(image, before)
    assert record["image"] is image


# ---- Colours


def middling():
    """Colours that no change clips."""
    return (photo(64, 64) // 4 + 80).astype(np.uint8)


def colour_change(image, augmented):
    """The affine map (3, 4) of the colours."""
    inputs = np.column_stack([image.reshape(-1, 3), np.ones(image.size // 3)])
    found, *_ = np.linalg.lstsq(inputs, augmented.reshape(-1, 3).astype(float), rcond=None)
    return found.T


GREY = np.array([0.299, 0.587, 0.114])
STEPS = {
    "brightness": lambda x, factor: x * factor,
    "contrast": lambda x, factor: factor * x + (1 - factor) * (x @ GREY).mean(),
    "saturation": lambda x, factor: factor * x + (1 - factor) * (x @ GREY)[..., None],
}


@pytest.mark.parametrize("order", [("brightness", "contrast", "saturation"), ("saturation", "contrast", "brightness")])
def test_colours_change_as_by_three_steps_in_any_order(order):
    image = middling()
    drawn = []
    for seed in SEEDS:
        augmented = run(plain(size=64, crop=64, colour=0.4), image, seed)
        matrix = colour_change(image, augmented)
        brightness = (augmented @ GREY).mean() / (image @ GREY).mean()
        both = matrix[:, :3].sum(axis=1).mean()
        factors = {"brightness": brightness, "contrast": both / brightness}
        factors["saturation"] = 1 - matrix[2, 1] / both / GREY[1]
        expected = image.astype(float)
        for step in order:
            expected = STEPS[step](expected, factors[step])
        assert np.abs(augmented - expected).max() < 1.5
        drawn.append(list(factors.values()))
    assert np.min(drawn) > 0.58
    assert np.max(drawn) < 1.42
    np.testing.assert_allclose(np.mean(drawn, axis=0), 1, atol=0.08)
    np.testing.assert_allclose(np.std(drawn, axis=0), 0.4 / np.sqrt(3), atol=0.06)


@pytest.mark.slow
def test_noise_lies_along_imagenets_colours():
    """Its principal axes and their standard deviations are those of ImageNet's colours."""
    image = np.full((2, 2, 3), 128, np.uint8)
    function = plain(size=2, crop=2, pca_noise=0.2)
    rng = np.random.default_rng(0)
    noise = np.array([function({"image": image, "label": 0}, rng)["image"][0, 0] for _ in range(4000)]) - 128.0
    values, vectors = np.linalg.eigh(np.cov(noise.T) - np.eye(3) / 12)  # rounding to bytes adds 1/12
    assert np.abs(noise.mean(axis=0)).max() < 0.3
    np.testing.assert_allclose(np.sqrt(values[::-1][:2]) / 0.2, [55.46, 4.794], rtol=0.1)
    assert abs(vectors[:, 2] @ [0.5675, 0.5808, 0.5836]) > 0.999


def test_colours_are_clipped_and_not_wrapped():
    image = np.full((8, 8, 3), 250, np.uint8)
    brightest = max(run(plain(size=8, crop=8, colour=0.4), image, seed).min() for seed in SEEDS)
    assert brightest == 255


# ---- To test on


def test_the_middle_is_cropped():
    image = photo(48, 64)
    resized = np.asarray(Image.fromarray(image).resize((120, 120), Image.Resampling.BILINEAR)).astype(int)
    central = photo_test(size=120, crop=100)({"image": image, "label": 0})["image"]
    assert np.abs(central - resized[10:110, 10:110]).max() <= 1


def test_the_proportions_may_be_kept():
    image = photo(48, 64)
    resized = np.asarray(Image.fromarray(image).resize((160, 120), Image.Resampling.BILINEAR)).astype(int)
    central = photo_test(size=120, crop=100, keep_aspect=True)({"image": image, "label": 0})["image"]
    assert np.abs(central - resized[10:110, 30:130]).max() <= 1
    assert photo_test(size=120, crop=120, keep_aspect=True)({"image": photo(64, 48), "label": 0})["image"].shape == (
        120,
        120,
        3,
    )


@pytest.mark.parametrize("keep_aspect", [False, True])
@pytest.mark.parametrize("shape", [(96, 128), (20, 16)])  # made smaller, and larger
def test_box_and_mask_follow_the_image(shape, keep_aspect):
    image, mask = np.zeros((*shape, 3), np.uint8), np.zeros(shape, bool)
    left, top, right, bottom = (round(share * shape[axis]) for share, axis in ((0.3, 1), (0.2, 0), (0.7, 1), (0.9, 0)))
    image[top:bottom, left:right], mask[top:bottom, left:right] = 255, True
    record = {"image": image, "label": 0, "box": np.array([left, top, right, bottom], np.float32), "mask": mask}
    found = photo_test(size=60, crop=50, keep_aspect=keep_aspect)(record)
    seen = found["image"][..., 0] >= 128
    np.testing.assert_array_equal(found["mask"], seen)
    assert found["mask"].dtype == bool
    rows, columns = np.nonzero(seen)
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(found["box"], edges, atol=0.51)
    assert found["box"].dtype == np.float32
    assert record["box"].tolist() == [left, top, right, bottom]


def test_a_box_ends_where_the_image_does_and_has_no_area_outside():
    record = {"image": photo(40, 40), "label": 0, "box": np.array([0, 4, 8, 40], np.float32)}
    assert photo_test(size=40, crop=36)(record)["box"].tolist() == [0, 2, 6, 36]
    left, _, right, _ = photo_test(size=40, crop=20)(record)["box"]
    assert left == right


def test_an_image_of_the_right_size_keeps_its_box_and_mask():
    mask = np.random.default_rng(0).random((24, 24)) < 0.5
    record = {"image": photo(24, 24), "label": 0, "box": np.array([3.25, 4, 8.5, 20], np.float32), "mask": mask}
    found = photo_test(size=24, crop=24)(record)
    np.testing.assert_array_equal(found["mask"], mask)
    np.testing.assert_array_equal(found["box"], record["box"])


# ---- All together


def test_batches_of_photographs_of_any_size_are_the_same_for_any_threads():
    images = np.stack([photo(48, 64, seed=i) for i in range(6)])
    source = Arrays(images, np.arange(6), tuple("abcdef"))
    options = {"batch_size": 4, "seed": 0, "augment": photo_augment(size=40, crop=32, colour=0.4, pca_noise=0.1)}
    expected = [next(it) for it in [train_batches(source, threads=0, **options)] for _ in range(5)]
    found = [next(it) for it in [train_batches(source, threads=3, **options)] for _ in range(5)]
    for batch, other in zip(found, expected, strict=True):
        assert batch["image"].shape == (4, 32, 32, 3)
        assert batch["image"].dtype == np.uint8
        np.testing.assert_array_equal(batch["image"], other["image"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"crop": 513}, "crop must be from 1 to size, 512, not 513"),
        ({"crop": 0}, "crop must be from 1 to size, 512, not 0"),
        ({"size": 0}, "crop must be from 1 to size, 0, not 448"),
        ({"rotation": -1.0}, r"rotation must be at least 0 and finite, not -1\.0"),
        ({"rotation": float("nan")}, "rotation must be at least 0 and finite, not nan"),
        ({"pca_noise": -0.1}, r"pca_noise must be at least 0 and finite, not -0\.1"),
        ({"colour": 1.5}, r"colour must be from 0 to 1, not 1\.5"),
        ({"smallest": 0.0}, r"smallest must be above 0 and at most 1, not 0\.0"),
        ({"smallest": 1.5}, r"smallest must be above 0 and at most 1, not 1\.5"),
    ],
)
def test_bad_options_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        photo_augment(**options)


def test_a_bad_test_crop_is_refused():
    with pytest.raises(ValueError, match="crop must be from 1 to size, 400, not 448"):
        photo_test(size=400)


@pytest.mark.parametrize(
    ("image", "options", "sentence"),
    [
        (np.zeros((4, 4, 3), np.float32), {}, r"image must be uint8 .*, not float32 of shape \(4, 4, 3\)"),
        (np.zeros((4, 4), np.uint8), {}, r"image must .* with c = 1 or 3, not uint8 of shape \(4, 4\)"),
        (np.zeros((4, 4, 1), np.uint8), {"colour": 0.1}, r"with c = 3, not uint8 of shape \(4, 4, 1\)"),
        (np.zeros((4, 4, 1), np.uint8), {"pca_noise": 0.1}, r"with c = 3, not uint8 of shape \(4, 4, 1\)"),
    ],
)
def test_other_images_are_refused(image, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        run(photo_augment(**options), image)
    if not options:
        with pytest.raises(ValueError, match=sentence):
            photo_test()({"image": image, "label": 0})
