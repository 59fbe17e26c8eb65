import fine_grained_trees as trees
import numpy as np
import pytest

from vtnjax.data import Aircraft


def test_aircraft(tmp_path):
    root = trees.write_aircraft(tmp_path)
    source = Aircraft(tmp_path, "train")
    assert source.classes == ("707-320", "F-16A/B")
    assert source.labels.tolist() == [0, 1] == [record["label"] for record in source]
    trees.assert_shows(source[0], 1025794, rows=-20)  # the banner is gone
    trees.assert_shows(source[1], 1340192, rows=-20)
    np.testing.assert_array_equal(source.boxes, [[2, 143, 998, 431], [5, 154, 1015, 435]])
    test = Aircraft(root.parent, "test")
    assert test.labels.tolist() == [0]
    np.testing.assert_array_equal(test.boxes, [[0, 0, 900, 500]])


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("images_box.txt", "1025794 1 2 3 4\n", r"the box of image 1340192 must be four numbers, .*, not '': unpack"),
        ("images_box.txt", "1025794 1 2 3 4\n1340192 1 2 3 x\n", r"the box of image 1340192 must be .*, not '1 2 3 x'"),
        ("images_variant_trainval.txt", "1025794\n", r"each line must hold a key and a value, not '1025794'"),
    ],
)
def test_aircraft_lists_that_do_not_fit_are_refused(tmp_path, file, content, sentence):
    (trees.write_aircraft(tmp_path) / file).write_text(content)
    with pytest.raises(ValueError, match=sentence):
        Aircraft(tmp_path, "train")


@pytest.mark.parametrize(
    ("file", "before", "after", "sentence"),
    [
        (
            "images_variant_trainval.txt",
            "1340192",
            "1025794",
            r"trainval\.txt: each key must come once, but '1025794' comes twice",
        ),
        (
            "images_variant_trainval.txt",
            "F-16A/B",
            "A380",
            r"the variant of image 1340192 must be one of variants\.txt, not 'A380'",
        ),
        (
            "variants.txt",
            "F-16A/B",
            "707-320",
            r"variants\.txt: each variant must come once, but '707-320' comes twice",
        ),
        (
            "images_box.txt",
            "1340192",
            "1025794",
            r"images_box\.txt: each key must come once, but '1025794' comes twice",
        ),
        ("images_box.txt", "998", "inf", r"images_box\.txt: the box of '1025794' .* not .*inf"),
    ],
)
def test_aircraft_ids(tmp_path, file, before, after, sentence):
    trees.spoil(trees.write_aircraft(tmp_path) / file, before, after)
    with pytest.raises(ValueError, match=sentence):
        Aircraft(tmp_path, "train")
