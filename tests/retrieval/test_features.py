"""The best of an image's features."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from vtnjax.retrieval import LocalFeatures


def drawn(count):
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 6, count).astype(np.float32)
    return LocalFeatures(rng.random((count, 2)), rng.random((count, 3)), scores, np.arange(count, dtype=np.float64))


def test_the_best_are_those_of_the_highest_scores_and_equals_stay_in_order():
    features = drawn(40)
    found = features.best(12)
    order = sorted(range(40), key=lambda i: (-features.scores[i], i))[:12]
    for each, whole in zip(found, features, strict=True):
        assert_array_equal(each, whole[order])


def test_none_is_below_the_threshold_and_some_may_be_at_it():
    features = drawn(40)
    found = features.best(1000, threshold=3.0)
    assert len(found.scores) == (features.scores >= 3).sum() > 0
    assert found.scores.min() == 3
    assert len(features.best(1000).scores) == 40
    assert len(drawn(0).best(5).scores) == 0


def test_a_number_below_1_is_refused(untyped):
    with pytest.raises(ValueError, match="most must be a whole number of at least 1, not 0"):
        drawn(3).best(0)
