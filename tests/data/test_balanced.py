import itertools
import json
import time
from collections import Counter

import numpy as np
import pytest

from vtnjax.data import Arrays, Mapped, balanced_batches

SIZES = (7, 3, 4, 1, 5)  # of the classes


def uneven(sizes=SIZES):
    """A source whose record i is the picture of the number i, its classes mixed up."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    images = np.broadcast_to(np.arange(len(labels), dtype=np.uint8)[:, None, None, None], (len(labels), 2, 3, 1))
    return Arrays(images.copy(), labels, tuple("abcdefgh"[: len(sizes)]))


def noisy(record, rng):
    return {**record, "image": record["image"] + 32 * rng.integers(0, 8, (2, 3, 1), dtype=np.uint8)}


def batches_of(count, source=None, **options):
    options = {"classes_per_batch": 3, "images_per_class": 4, "seed": 0, **options}
    return list(itertools.islice(balanced_batches(source or uneven(), **options), count))


def numbers(batches):
    return np.stack([batch["image"][:, 0, 0, 0] for batch in batches])


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


def test_a_batch():
    (batch,) = batches_of(1)
    assert batch["image"].shape == (12, 2, 3, 1)
    assert batch["image"].dtype == np.uint8
    assert batch["label"].dtype == np.int32
    np.testing.assert_array_equal(batch["label"], uneven().labels[batch["image"][:, 0, 0, 0]])


@pytest.mark.parametrize("classes_per_batch", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("images_per_class", [1, 2, 4])
@pytest.mark.daily("1-3")
def test_a_batch_has_each_of_its_classes_in_one_place(classes_per_batch, images_per_class):
    for batch in batches_of(40, classes_per_batch=classes_per_batch, images_per_class=images_per_class):
        runs = [(label, len(list(run))) for label, run in itertools.groupby(batch["label"])]
        assert len({label for label, _ in runs}) == classes_per_batch
        assert [length for _, length in runs] == [images_per_class] * classes_per_batch


def test_every_round_has_each_class_once():
    labels = np.concatenate([batch["label"][::4] for batch in batches_of(50)]).reshape(-1, len(SIZES))
    np.testing.assert_array_equal(np.sort(labels), [np.arange(len(SIZES))] * 30)
    assert len({tuple(row) for row in labels.tolist()}) > 20


def test_every_class_has_an_order_of_its_own():
    labels = np.repeat(np.arange(4), 8)
    source = Arrays(np.arange(32, dtype=np.uint8).reshape(32, 1, 1, 1), labels, tuple("abcd"))
    (batch,) = batches_of(1, source, classes_per_batch=4, images_per_class=8)
    orders = batch["image"].reshape(4, 8) % 8
    assert len({tuple(order) for order in orders.tolist()}) == 4


@pytest.mark.parametrize("images_per_class", [1, 2, 3, 4])
@pytest.mark.daily("1")
def test_a_class_shows_each_image_before_any_again(images_per_class):
    batches = batches_of(200, images_per_class=images_per_class)
    seen = np.concatenate([batch["image"][:, 0, 0, 0] for batch in batches])
    for label, size in enumerate(SIZES):
        shown = seen[uneven().labels[seen] == label]
        rounds = shown[: len(shown) // size * size].reshape(-1, size)
        assert len(rounds) > 10
        np.testing.assert_array_equal(np.sort(rounds), [np.flatnonzero(uneven().labels == label)] * len(rounds))
        if size > 3:
            assert len({tuple(row) for row in rounds.tolist()}) > 5


def test_the_images_of_a_batch_differ_where_there_are_enough():
    for batch in batches_of(200):
        for label, group in zip(batch["label"][::4], numbers([batch]).reshape(-1, 4), strict=True):
            counts = Counter(group.tolist()).values()
            # Of fewer than four, each as often as the others, give or take one.
            assert len(counts) == min(SIZES[label], 4)
            if SIZES[label] == 3:
                assert sorted(counts) == [1, 1, 2]


def test_a_repeated_image_has_an_augmentation_of_its_own():
    source = uneven((1, 1))
    batch = batches_of(1, source, classes_per_batch=2, images_per_class=6, augment=noisy)[0]
    for group in np.split(batch["image"], 2):
        assert len({image.tobytes() for image in group}) == 6


def test_the_seed_fixes_the_batches():
    first, same, other = (batches_of(6, seed=seed, augment=noisy) for seed in (1, 1, 2))
    assert_same(first, same)
    assert not np.array_equal(numbers(first), numbers(other))


def test_threads_change_nothing():
    expected = batches_of(12, augment=noisy, threads=0)
    wait = np.random.default_rng()

    def jittered(record, rng):
        time.sleep(wait.uniform(0, 0.002))
        return noisy(record, rng)

    for threads in (1, 3):
        assert_same(batches_of(12, augment=jittered, threads=threads), expected)


@pytest.mark.parametrize("count", [2, 3, 4, 12])
def test_the_processes_share_each_batch(count):
    whole = batches_of(15, augment=noisy)
    shares = [batches_of(15, augment=noisy, process_index=index, process_count=count) for index in range(count)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert {len(part["image"]) for part in parts} == {12 // count}
        for key in batch:
            np.testing.assert_array_equal(np.concatenate([part[key] for part in parts]), batch[key])


@pytest.mark.parametrize("done", [0, 1, 2, 5, 11])
@pytest.mark.parametrize("threads", [0, 2])
def test_resuming_goes_on_exactly(done, threads):
    options = {"classes_per_batch": 3, "images_per_class": 4, "seed": 5, "augment": noisy, "threads": threads}
    iterator = balanced_batches(uneven(), **options)
    list(itertools.islice(iterator, done))
    state = json.loads(json.dumps(iterator.get_state()))
    expected = list(itertools.islice(iterator, 6))
    resumed = balanced_batches(uneven(), **options)
    resumed.set_state(state)
    assert_same(list(itertools.islice(resumed, 6)), expected)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"classes_per_batch": 6}, "classes_per_batch must be from 1 to the 5 classes, not 6"),
        ({"classes_per_batch": 0}, "classes_per_batch must be from 1 to the 5 classes, not 0"),
        ({"images_per_class": 0}, "images_per_class must be a whole number of at least 1, not 0"),
        ({"process_count": 5}, "process_count must be at least 1 and divide batch_size, 12, not 5"),
        ({"process_index": 1}, "process_index must be from 0 to 0, not 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0, not -1"),
    ],
)
def test_bad_arguments_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        batches_of(1, **options)


def test_a_class_without_images_is_named():
    with pytest.raises(ValueError, match=r"Arrays\(.*\) must have an image of every class, but has none of b, d"):
        batches_of(1, uneven((2, 0, 1, 0)))


@pytest.mark.usefixtures("untyped")
def test_a_source_without_labels_is_refused():
    with pytest.raises(ValueError, match=r"source must have labels, .*, not Mapped\("):
        batches_of(1, Mapped(uneven(), lambda record: record))
