"""Scenes as a benchmark: what is easy is easier to see than what is hard, and junk is hidden."""

import cv2
import numpy as np
import pytest
from PIL import Image

from vtnjax.data import SceneBenchmark, Scenes, Stamps, write_stamps

SIZE = 96
KINDS = ("easy", "hard", "junk")
COLOURS = {"hen": (240, 0, 0), "owl": (0, 240, 0), "pear": (200, 200, 0), "plum": (200, 0, 200)}


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(picture, np.uint8)).save(path)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    write_stamps(folder)
    return folder


@pytest.fixture(scope="module")
def coloured(tmp_path_factory):
    """Opaque stamps of one colour each, and backgrounds of one blue for each split."""
    folder = tmp_path_factory.mktemp("coloured")
    for name, colour in COLOURS.items():
        save(folder / "animals" / f"{name}.png", np.full((100, 100, 4), (*colour, 255)))
    for split, blue in (("train", 40), ("validation", 90), ("test", 140)):
        save(folder / "backgrounds" / split / "1.png", np.full((150, 200, 3), (0, 0, blue)))
    return folder


@pytest.fixture(scope="module")
def made(drawn):
    benchmark = SceneBenchmark(drawn, size=SIZE)
    return benchmark, [benchmark.scene(index) for index in range(len(benchmark.database))]


def by_kind(made):
    benchmark, scenes = made
    return {kind: [scenes[i] for truth in benchmark.ground_truth for i in truth[kind]] for kind in KINDS}


def test_every_image_belongs_to_one_instance_or_to_none(made):
    benchmark, scenes = made
    assert len(benchmark.queries) == len(benchmark.instances) == len(benchmark.ground_truth) == 6
    listed = [index for truth in benchmark.ground_truth for kind in KINDS for index in truth[kind]]
    assert len(listed) == len(set(listed)) == 6 * 14
    assert len(benchmark.database) == len(benchmark.names) == 6 * 19
    for name, truth in zip(benchmark.instances, benchmark.ground_truth, strict=True):
        assert [len(truth[kind]) for kind in KINDS] == [6, 6, 2]
        for kind in KINDS:
            assert [benchmark.names[i] for i in truth[kind]] == [f"{name}-{kind}-{n}" for n in range(len(truth[kind]))]
    for index, name in enumerate(benchmark.names):
        assert ("background" in name) == (index not in listed) == (not scenes[index].stamp.any())


def test_hard_images_show_less_of_a_stamp_and_junk_nearly_nothing(made):
    seen = {
        kind: np.array([[s.visible.sum() / s.stamp.sum(), s.stamp.sum() ** 0.5 / SIZE] for s in scenes])
        for kind, scenes in by_kind(made).items()
    }
    share, side = {kind: each[:, 0] for kind, each in seen.items()}, {kind: each[:, 1] for kind, each in seen.items()}
    assert share["easy"].min() >= 0.8
    assert share["hard"].min() >= 0.6
    assert share["hard"].max() <= 0.85
    assert share["junk"].min() >= 0.02
    assert share["junk"].max() < 0.2
    assert share["easy"].mean() > share["hard"].mean() + 0.1 > share["junk"].mean() + 0.5
    assert side["easy"].mean() > 1.4 * side["hard"].mean()
    # What is in front is in the picture, not in the mask alone.
    for scenes in by_kind(made).values():
        for scene in scenes:
            assert not (scene.visible & ~scene.stamp).any()


def test_what_is_hidden_shows_no_colour_of_the_stamp(coloured):
    benchmark = SceneBenchmark(coloured, size=SIZE)
    assert benchmark.instances == ("owl", "plum")
    for index in range(len(benchmark.names)):
        scene = benchmark.scene(index)
        shown = scene.image[..., :2].max(axis=2) > 20
        inside = cv2.erode(scene.stamp.astype(np.uint8), np.ones((5, 5))) == 1
        far = cv2.dilate(scene.stamp.astype(np.uint8), np.ones((5, 5))) == 0
        assert not shown[far].any()
        np.testing.assert_array_equal(shown[inside], scene.visible[inside])
    assert benchmark.query_scene(0).visible.sum() == benchmark.query_scene(0).stamp.sum()


def test_hard_light_is_darker_or_brighter_than_easy_light(coloured):
    benchmark = SceneBenchmark(coloured, size=48)
    light = {kind: [] for kind in KINDS}
    for truth in benchmark.ground_truth:
        for kind in KINDS:
            scenes = [benchmark.scene(index) for index in truth[kind]]
            light[kind] += [scene.image[..., 2][~scene.stamp].mean() / 140 for scene in scenes]
    easy, hard = np.array(light["easy"]), np.array(light["hard"])
    assert easy.min() > 0.7 * 0.85 * 0.85
    assert easy.max() < 1.2 * 1.15 * 1.15
    assert (hard < 0.7).any()
    assert (hard > 1.05).any()
    assert np.abs(np.log(hard)).mean() > 2 * np.abs(np.log(easy)).mean()


def test_queries_and_database_have_backgrounds_of_their_own(coloured, monkeypatch):
    monkeypatch.setattr("vtnjax.data.scene_benchmark.lit", lambda image, rng, **_: image)
    benchmark = SceneBenchmark(coloured, size=SIZE)
    for images, blue in ((benchmark.queries, 90), (benchmark.database, 140)):
        for index in range(len(images)):
            assert images[index][0, 0].tolist() == [0, 0, blue] or images[index][-1, -1].tolist() == [0, 0, blue]


def test_no_instance_is_one_to_train_on(drawn):
    benchmark = SceneBenchmark(drawn, size=32)
    train = Scenes(drawn, "train", task="all", instances="train", size=32, count=4)
    own = Scenes(drawn, "train", task="all", instances="benchmark", size=32, count=4)
    assert not set(train.classes) & set(benchmark.instances)
    assert set(own.classes) == set(benchmark.instances)
    assert set(train.classes) | set(own.classes) == set(Stamps(drawn, "all").classes)
    assert set(SceneBenchmark(drawn, half="train", size=32).instances) == set(train.classes)


def test_an_image_depends_on_seed_and_index_alone(drawn):
    first, again, other = (SceneBenchmark(drawn, size=32, seed=seed) for seed in (0, 0, 1))
    for index in (7, 3, 7):
        np.testing.assert_array_equal(first.database[index], again.database[index])
    np.testing.assert_array_equal(first.database[-1], first.database[len(first.names) - 1])
    assert (first.database[3] != other.database[3]).any()
    assert (first.queries[0] != other.queries[0]).any()
    assert (first.database[0] != first.queries[0]).any()
    assert repr(first) == f"SceneBenchmark({str(drawn)!r}, half='benchmark', instances=6, size=32, seed=0)"
    for images in (first.database, first.queries):
        with pytest.raises(IndexError):
            images[len(images)]


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"half": "test"}, "half must be one of 'train', 'benchmark', not 'test'"),
        ({"size": 0}, "size must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
    ],
)
def test_wrong_arguments_are_named(drawn, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        SceneBenchmark(drawn, **options)


def test_one_species_is_no_benchmark(tmp_path):
    save(tmp_path / "animals" / "hen.png", np.full((100, 100, 4), 255))
    with pytest.raises(ValueError, match=r"instances must be of two species or more, but Stamps\(.* has 1"):
        SceneBenchmark(tmp_path)
