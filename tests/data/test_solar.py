"""Photographs of solar cells: the splits of the package's own pictures, and drawn ones."""

import collections

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from vtnjax import data
from vtnjax.data.solar import SPLITS, _split_rows


def test_splits_share_no_cell_and_have_the_same_mixture():
    kinds = [("mono", "0.0")] * 200 + [("mono", "1.0")] * 100 + [("poly", "0.333")] * 40
    split = _split_rows(kinds)
    assert sorted(np.concatenate(list(split.values()))) == list(range(340))
    for name, share in zip(SPLITS, (0.6, 0.15, 0.25), strict=True):
        counts = collections.Counter(kinds[i] for i in split[name])
        assert counts == {kind: round(share * kinds.count(kind)) for kind in set(kinds)}
    assert_array_equal(_split_rows(kinds)["test"], split["test"])


def test_the_packages_cells():
    pytest.importorskip("elpv_dataset")
    sources = [data.load_source("solar", split) for split in SPLITS]
    assert sum(map(len, sources)) == 2624
    assert sum(source.labels.sum() for source in sources) == 821
    record = sources[2][0]
    assert record["image"].shape == (300, 300, 1)
    assert record["image"].dtype == np.uint8
    assert record["label"] == sources[2].labels[0]
    assert sources[0].classes == ("sound", "defective")


def test_drawn_cells_are_the_same_each_time_and_only_defective_ones_have_a_crack():
    once, again = (data.load_source("solar", "train", drawn=True, count=6) for _ in range(2))
    other = data.load_source("solar", "test", drawn=True, count=6)
    assert len(once) == 6
    for index in range(6):
        image = once[index]["image"]
        assert_array_equal(image, again[index]["image"])
        assert (image != other[index]["image"]).any()
        between = np.delete(image[..., 0], [*range(46, 55), *range(146, 155), *range(246, 255)], axis=0)
        assert (between.min() < 40) == once[index]["label"] == index % 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"split": "tests"}, "split must be one of .* not 'tests'; did you mean 'test'"),
        ({"split": "test", "count": 3}, "count must be None for real cells, not 3"),
        ({"split": "test", "count": 0, "drawn": True}, "count must be .* at least 1, not 0"),
    ],
)
def test_bad_input_gets_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        data.SolarCells(**options)
