import itertools
import json
import threading
import time

import cv2
import numpy as np
import pytest

from vtnjax.data import Arrays, Generated, pipeline, train_batches

TOTAL = 10


def numbered(total=TOTAL):
    """A source whose record i is the picture of the number i."""
    images = np.broadcast_to(np.arange(total, dtype=np.uint8)[:, None, None, None], (total, 2, 3, 1))
    return Arrays(images.copy(), np.arange(total) % 3, ("a", "b", "c"))


def noisy(record, rng):
    return {**record, "image": record["image"] + 10 * rng.integers(0, 20, (2, 3, 1), dtype=np.uint8)}


def take(iterator, count):
    return list(itertools.islice(iterator, count))


def numbers(batches):
    """Which record each place of each batch holds."""
    return np.stack([batch["image"][:, 0, 0, 0] for batch in batches])


def assert_same(batches, expected):
    assert len(batches) == len(expected)
    for batch, other in zip(batches, expected, strict=True):
        assert batch.keys() == other.keys()
        for key in batch:
            np.testing.assert_array_equal(batch[key], other[key])


def test_a_batch():
    batch = next(train_batches(numbered(), batch_size=4, seed=0))
    assert batch["image"].shape == (4, 2, 3, 1)
    assert batch["image"].dtype == np.uint8
    assert batch["label"].dtype == np.int32
    np.testing.assert_array_equal(batch["label"], batch["image"][:, 0, 0, 0] % 3)


def test_each_epoch_has_each_record_once_in_another_order():
    # Batches of 4 from 10 records: 25 batches are 10 epochs, and most boundaries fall inside a batch.
    epochs = numbers(take(train_batches(numbered(), batch_size=4, seed=0), 25)).reshape(10, TOTAL)
    np.testing.assert_array_equal(np.sort(epochs), [np.arange(TOTAL)] * 10)
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 10


def test_the_seed_fixes_the_order():
    first, same, other = (take(train_batches(numbered(), batch_size=5, seed=seed), 4) for seed in (1, 1, 2))
    assert_same(first, same)
    assert not np.array_equal(numbers(first), numbers(other))


def test_one_seeds_epochs_are_not_the_nexts_shifted():
    epochs = [numbers(take(train_batches(numbered(), batch_size=TOTAL, seed=seed), 3)) for seed in range(3)]
    assert len({tuple(epoch) for epoch in np.concatenate(epochs).tolist()}) == 9


def test_augmentation_differs_by_record_and_epoch():
    source = Arrays(np.zeros((6, 2, 3, 1), np.uint8), np.zeros(6, int), ("a",))
    images = np.concatenate(
        [batch["image"] for batch in take(train_batches(source, batch_size=6, seed=0, augment=noisy), 3)]
    )
    assert len({image.tobytes() for image in images}) == 18


def test_augmentation_is_independent_of_threads():
    expected = take(train_batches(numbered(), batch_size=4, seed=3, augment=noisy, threads=0), 12)
    wait = np.random.default_rng()

    def jittered(record, rng):
        time.sleep(wait.uniform(0, 0.003))
        return noisy(record, rng)

    for threads in (1, 3):
        assert_same(
            take(train_batches(numbered(), batch_size=4, seed=3, augment=jittered, threads=threads), 12), expected
        )


@pytest.mark.parametrize("count", [2, 4])
def test_the_processes_share_each_batch(count):
    """Also over the boundaries of epochs: 15 batches of 4 are 6 epochs of 10."""
    whole = take(train_batches(numbered(), batch_size=4, seed=0, augment=noisy), 15)
    options = {"batch_size": 4, "seed": 0, "augment": noisy, "process_count": count}
    shares = [take(train_batches(numbered(), process_index=index, **options), 15) for index in range(count)]
    for batch, *parts in zip(whole, *shares, strict=True):
        assert {len(part["image"]) for part in parts} == {4 // count}
        np.testing.assert_array_equal(np.concatenate([part["image"] for part in parts]), batch["image"])


@pytest.mark.parametrize("done", [0, 1, 2, 3, 7, 12])
@pytest.mark.parametrize("threads", [0, 1, 2])
@pytest.mark.daily("0-2")
def test_resuming_goes_on_exactly(done, threads):
    """In the middle of an epoch, at its boundary and epochs later."""
    options = {"batch_size": 4, "seed": 5, "augment": noisy, "threads": threads}
    iterator = train_batches(numbered(), **options)
    take(iterator, done)
    state = json.loads(json.dumps(iterator.get_state()))
    expected = take(iterator, 6)
    resumed = train_batches(numbered(), **options)
    resumed.set_state(state)
    assert_same(take(resumed, 6), expected)
    iterator.set_state(state)
    assert_same(take(iterator, 6), expected)


def test_batches_are_made_ahead():
    made = threading.Semaphore(0)

    def count(record, rng):
        made.release()
        return record

    iterator = train_batches(numbered(), batch_size=5, seed=0, augment=count, prefetch=3)
    next(iterator)
    # The batch taken and three more.
    assert all(made.acquire(timeout=10) for _ in range(20))


def test_opencv_runs_no_threads_of_its_own():
    cv2.setNumThreads(2)
    train_batches(numbered(), batch_size=5, seed=0)
    assert cv2.getNumThreads() == 1


@pytest.mark.parametrize(("batch_size", "count"), [(4, 1), (4, 2), (4, 4), (5, 1), (16, 1), (16, 2), (24, 2)])
def test_a_pass_has_each_record_once(batch_size, count):
    shares = [
        list(pipeline.eval_batches(numbered(), batch_size=batch_size, process_index=index, process_count=count))
        for index in range(count)
    ]
    assert {len(share) for share in shares} == {-(-TOTAL // batch_size)}
    batches = [batch for share in shares for batch in share]
    assert {batch["image"].shape for batch in batches} == {(batch_size // count, 2, 3, 1)}
    assert {batch["mask"].dtype for batch in batches} == {np.dtype(np.float32)}
    masks = np.concatenate([batch["mask"] for batch in batches])
    seen = numbers(batches).ravel()
    assert sorted(seen[masks == 1]) == list(range(TOTAL))
    assert set(seen[masks == 0]) <= {TOTAL - 1}
    assert set(masks) <= {0, 1}


def test_a_pass_is_in_order():
    batches = list(pipeline.eval_batches(numbered(), batch_size=4))
    np.testing.assert_array_equal(numbers(batches), [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 9, 9]])
    np.testing.assert_array_equal(batches[-1]["mask"], [1, 1, 0, 0])
    np.testing.assert_array_equal(batches[0]["label"], [0, 1, 2, 0])
    assert batches[0]["label"].dtype == np.int32


class Located:
    """Records with a box and a mask."""

    classes = ("a", "b", "c")

    def __len__(self):
        return TOTAL

    def __getitem__(self, index):
        box, mask = np.arange(4, dtype=np.float32) + index, np.arange(6).reshape(2, 3) < index
        return {**numbered()[index], "box": box, "mask": mask, "other": index}


def test_boxes_and_masks_of_objects_are_tested_on_and_not_trained_on():
    batches = list(pipeline.eval_batches(Located(), batch_size=4))
    assert {name: (each.shape, each.dtype) for name, each in batches[-1].items()} == {
        "image": ((4, 2, 3, 1), np.uint8),
        "label": ((4,), np.int32),
        "mask": ((4,), np.float32),
        "box": ((4, 4), np.float32),
        "object": ((4, 2, 3), bool),
    }
    boxes, objects = (np.concatenate([batch[name] for batch in batches])[:TOTAL] for name in ("box", "object"))
    np.testing.assert_array_equal(boxes, np.arange(4) + np.arange(TOTAL)[:, None])
    np.testing.assert_array_equal(objects.sum((1, 2)), np.minimum(np.arange(TOTAL), 6))
    assert set(next(train_batches(Located(), batch_size=4, seed=0))) == {"image", "label"}
    assert set(next(pipeline.eval_batches(numbered(), batch_size=4))) == {"image", "label", "mask"}


def test_one_record_makes_batches_of_one():
    batches = take(train_batches(numbered(1), batch_size=1, seed=0), 3)
    assert numbers(batches).tolist() == [[0], [0], [0]]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1, not 0"),
        ({"batch_size": 11}, r"batch_size must be at most the 10 records of Arrays\(.*, not 11"),
        (
            {"batch_size": 5, "process_count": 2},
            "process_count must .* divide batch_size, 5, not 2",
        ),
        ({"batch_size": 5, "process_count": 0}, "process_count must be at least 1 and divide batch_size, 5, not 0"),
        ({"batch_size": 4, "process_count": 2, "process_index": 2}, "process_index must be from 0 to 1, not 2"),
        ({"batch_size": 4, "process_index": -1}, "process_index must be from 0 to 0, not -1"),
        ({"batch_size": 4, "seed": -1}, "seed must be a whole number of at least 0, not -1"),
    ],
)
def test_bad_arguments_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        train_batches(numbered(), **{"seed": 0, **options})


def test_a_bad_share_of_a_pass_is_refused():
    with pytest.raises(ValueError, match="batch_size must be a whole number of at least 1, not 0"):
        pipeline.eval_batches(numbered(), batch_size=0)
    with pytest.raises(ValueError, match="process_count must be at least 1 and divide batch_size, 4, not 3"):
        pipeline.eval_batches(numbered(), batch_size=4, process_count=3)


def test_images_of_several_shapes_are_refused():
    def crop(record, rng):
        return {**record, "image": record["image"][: 1 + record["label"] % 2]}

    with pytest.raises(ValueError, match=r"one shape, not \(1, 3, 1\) and \(2, 3, 1\): give"):
        next(train_batches(numbered(), batch_size=10, seed=0, augment=crop))


def test_an_error_in_augment_reaches_the_caller():
    def fail(record, rng):
        raise KeyError("augment")

    with pytest.raises(KeyError, match="augment"):
        next(train_batches(Generated("test", count=8), batch_size=4, seed=0, augment=fail))
