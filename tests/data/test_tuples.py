"""Pairs, hard negatives against a plain loop, and batches that are drawn anew at every renewal."""

import json

import numpy as np
import pytest

from vtnjax.data import Arrays, Mapped, TupleBatches, hard_negatives
from vtnjax.data.tuples import draw_pairs

SIZES = (4, 1, 3, 5, 2, 6)  # of the classes


def numbered(pairs=None, sizes=SIZES):
    """A source whose record i is the picture of the number i, its classes mixed up."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    images = np.broadcast_to(np.arange(len(labels), dtype=np.uint8)[:, None, None, None], (len(labels), 2, 3, 1))
    source = Arrays(images.copy(), labels, tuple("abcdefgh"[: len(sizes)]))
    if pairs is not None:
        source.pairs = np.array(pairs)
    return source


def slow_negatives(similarities, query_labels, pool_labels, count):
    """Walking down each query's list, one image after the other."""
    found = []
    for query, label in enumerate(query_labels):
        taken, chosen = {label}, []
        for place in sorted(range(len(pool_labels)), key=lambda place, row=query: (-similarities[row, place], place)):
            if pool_labels[place] not in taken and len(chosen) < count:
                taken.add(pool_labels[place])
                chosen.append(place)
        found.append(chosen)
    return np.array(found)


@pytest.mark.parametrize("seed", range(5))
def test_negatives_are_those_of_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    labels, own = rng.integers(0, 9, 80), rng.integers(0, 12, 13)
    similarities = rng.integers(0, 20, (13, 80)) / 20  # with many ties
    found = hard_negatives(similarities, own, labels, 5)
    np.testing.assert_array_equal(found, slow_negatives(similarities, own, labels, 5))
    for row, (label, places) in enumerate(zip(own, found, strict=True)):
        assert label not in labels[places]
        assert len({*labels[places]}) == 5
        assert (np.diff(similarities[row, places]) <= 0).all()


def test_a_pool_of_too_few_classes_is_refused():
    with pytest.raises(ValueError, match="the pool must have images of 6 classes for 5 negatives, not of 3"):
        hard_negatives(np.zeros((1, 3)), np.zeros(1, int), np.arange(3), 5)


def test_pairs_are_drawn_from_the_labels():
    source = numbered()
    pairs = draw_pairs(source, 100, np.random.default_rng(1))
    assert len(pairs) == len({*pairs[:, 0]}) == sum(SIZES) - 1  # that of the class of one image is no query
    assert (source.labels[pairs[:, 0]] == source.labels[pairs[:, 1]]).all()
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert len(draw_pairs(source, 7, np.random.default_rng(1))) == 7
    many = np.concatenate([draw_pairs(source, 100, np.random.default_rng(seed)) for seed in range(50)])
    query = np.flatnonzero(source.labels == 3)[0]
    assert {*many[many[:, 0] == query, 1]} == {*np.flatnonzero(source.labels == 3)} - {query}  # any other


def test_pairs_of_the_set_are_drawn_without_repetition():
    pairs = [[0, 5], [0, 7], [3, 1], [9, 2]]
    drawn = draw_pairs(numbered(pairs), 3, np.random.default_rng(0))
    assert len(drawn) == len({*map(tuple, drawn)}) == 3
    assert {*map(tuple, drawn)} < {*map(tuple, pairs)}


# The position of an image on a circle stands for what a network sees of it, which changes with what it is asked by.
def mine_by(source, negatives):
    def mine(turn, queries, pool):
        angles = [np.stack([np.cos(turn * x), np.sin(turn * x)], -1) for x in (queries, pool)]
        similarities = angles[0] @ angles[1].T
        return hard_negatives(similarities, source.labels[queries], source.labels[pool], negatives)

    return mine


def batches_of(source=None, negatives=2, **options):
    source = source or numbered()
    given = {"batch_size": 8, "renew_every": 3, "queries": 6, "pool": 15, "seed": 0, "threads": 0}
    return TupleBatches(source, negatives=negatives, mine=mine_by(source, negatives), **{**given, **options})


def take(batches, first, last):
    """The numbers of the images of batches, with a renewal where one is due."""
    found = []
    for step in range(first, last):
        if step % batches.renew_every == 0:
            batches.renew(step, 0.7 + step)
        batch = next(batches)
        np.testing.assert_array_equal(batch["label"], numbered().labels[batch["image"][..., 0, 0, 0]])
        found.append(batch["image"])
    return np.array(found)


def test_a_batch_has_whole_tuples():
    batches = batches_of()
    found = take(batches, 0, 3)
    assert found.shape == (3, 2, 4, 2, 3, 1)
    tuples = found[..., 0, 0, 0].reshape(-1, 4)
    assert sorted(map(tuple, tuples)) == sorted(map(tuple, batches.mined))  # each of the six once
    labels = numbered().labels[tuples]
    assert (labels[:, 0] == labels[:, 1]).all()
    assert all(len({*row[1:]}) == 3 for row in labels)


def test_tuples_come_again_in_another_order_until_they_are_renewed():
    batches = batches_of(renew_every=6)
    rounds = take(batches, 0, 6)[..., 0, 0, 0].reshape(2, 6, 4)
    assert (np.sort(rounds[0], 0) == np.sort(rounds[1], 0)).all()
    assert (rounds[0] != rounds[1]).any()


def test_every_renewal_draws_other_tuples_and_seeds_others_yet():
    found = [take(batches_of(), 0, 6), take(batches_of(), 0, 6), take(batches_of(seed=1), 0, 6)]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()
    assert (found[0][:3] != found[0][3:]).any()


@pytest.mark.parametrize("at", range(1, 9))
@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.daily("0-4")
def test_a_position_is_gone_on_with_in_a_stretch_and_at_its_border(at, threads):
    def noisy(record, rng):
        noise = np.zeros((2, 3, 1), np.uint8)
        noise[1] = rng.integers(0, 100)
        return {**record, "image": record["image"] + noise}

    whole = take(batches_of(threads=threads, augment=noisy), 0, 9)
    first = batches_of(threads=threads, augment=noisy)
    before = take(first, 0, at)
    state = json.loads(json.dumps(first.get_state()))
    other = batches_of(threads=threads, augment=noisy)
    other.set_state(state)
    np.testing.assert_array_equal(np.concatenate([before, take(other, at, 9)]), whole)


def test_no_batch_is_made_before_its_renewal():
    seen = []

    def watch(record, rng):
        seen.append(record["label"])
        return record

    batches = batches_of(augment=watch, threads=2, prefetch=8)
    take(batches, 0, 2)
    next(batches)
    assert len(seen) == 3 * 8
    with pytest.raises(ValueError, match="renew must be called before every 3 batches"):
        next(batches)
    with pytest.raises(ValueError, match="renew must be called before every 3 batches"):
        next(batches_of())


def test_a_position_before_the_first_renewal_can_be_kept():
    batches = batches_of()
    batches.set_state(json.loads(json.dumps(batches_of().get_state())))
    np.testing.assert_array_equal(take(batches, 0, 3), take(batches_of(), 0, 3))


def test_the_augmentation_does_not_repeat_itself():
    drawn = []

    def watch(record, rng):
        drawn.append(rng.integers(0, 2**62))
        return record

    take(batches_of(augment=watch), 0, 6)
    assert len({*drawn}) == 6 * 8


def test_the_shares_of_processes_make_up_the_batch():
    shares = [take(batches_of(process_index=index, process_count=2), 0, 6) for index in range(2)]
    np.testing.assert_array_equal(np.concatenate(shares, axis=1), take(batches_of(), 0, 6))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 6}, "batch_size must be a multiple of 4 images for each of 1 processes, not 6"),
        ({"process_count": 4}, "batch_size must be a multiple of 4 images for each of 4 processes, not 8"),
        ({"renew_every": 0}, "renew_every must be a whole number of at least 1, not 0"),
        ({"queries": 0}, "queries must be a whole number of at least 1, not 0"),
        ({"pool": -1}, "pool must be a whole number of at least 1, not -1"),
        ({"source": numbered(sizes=(1, 1, 1))}, "source must have two images of a class, or pairs, but .* has none"),
    ],
)
def test_what_cannot_be_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        batches_of(**options)


@pytest.mark.usefixtures("untyped")
def test_a_source_without_labels_is_refused():
    with pytest.raises(ValueError, match=r"source must have labels, .*, not Mapped\("):
        batches_of(Mapped(numbered(), lambda record: record))
