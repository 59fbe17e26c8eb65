import json

import numpy as np
from numpy.testing import assert_array_equal

from vtnjax.data import Generated, WithTriplets, balanced_batches, train_batches


def batches(threads=0):
    source = Generated("train", count=60)
    triplets = balanced_batches(source, classes_per_batch=3, images_per_class=2, seed=1, threads=threads)
    return WithTriplets(train_batches(source, batch_size=8, seed=1, threads=threads), triplets)


def test_a_batch_for_the_task_stands_beside_one_for_triplets():
    batch = next(iter(batches()))
    assert {name: value.shape for name, value in batch.items()} == {
        "image": (8, 28, 28, 1),
        "label": (8,),
        "triplet_image": (6, 28, 28, 1),
        "triplet_label": (6,),
    }
    assert_array_equal(np.unique(batch["triplet_label"], return_counts=True)[1], [2, 2, 2])


def test_they_go_on_exactly_where_they_were():
    first = batches(threads=2)
    for _ in range(5):
        next(first)
    state = json.loads(json.dumps(first.get_state()))
    expected = [next(first) for _ in range(3)]
    again = batches(threads=1)
    again.set_state(state)
    for batch in expected:
        found = next(again)
        for name, value in batch.items():
            assert_array_equal(found[name], value)
