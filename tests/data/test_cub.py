import re

import fine_grained_trees as trees
import numpy as np
import pytest

from vtnjax.data import Cub


def test_cub(tmp_path):
    root = trees.write_cub(tmp_path)
    source = Cub(tmp_path, "train")
    assert source.classes == ("001.Black_footed_Albatross", "002.Laysan_Albatross")
    assert source.labels.tolist() == [0, 1] == [record["label"] for record in source]
    trees.assert_shows(source[0], 2)
    trees.assert_shows(source[1], 3)
    np.testing.assert_array_equal(source.boxes, [[139, 30, 292, 294], [14.5, 112, 402.5, 298]])
    assert source.boxes.dtype == np.float32
    test = Cub(str(root), "test")
    trees.assert_shows(test[1], 10)
    assert test.labels.tolist() == [0, 1]
    np.testing.assert_array_equal(test.boxes[1], [1, 2, 4, 6])


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("images.txt", "1 a.jpg\n1 b.jpg\n", r"images\.txt: each key must come once, but '1' comes twice: unpack"),
        ("images.txt", "1\n", r"images\.txt: each line must hold a key and a value, not '1': unpack"),
        ("train_test_split.txt", "1 1\n2 1\n3 1\n", r"train_test_split\.txt and .* only one of them has image 10"),
        (
            "bounding_boxes.txt",
            "1 1 2 3 4\n2 1 2 x 4\n3 1 2 3 4\n10 1 2 3 4\n",
            r"the box of image 2 must be four numbers, .*, not '1 2 x 4'",
        ),
        (
            "bounding_boxes.txt",
            "1 1 2 3 4\n2 1 2 3\n3 1 2 3 4\n10 1 2 3 4\n",
            r"the box of image 2 must be four numbers, .*, not '1 2 3'",
        ),
        (
            "bounding_boxes.txt",
            "1 1 2 3 4\n2 1 2 0 4\n3 1 2 3 4\n10 1 2 3 4\n",
            r"the box of '2' .* not \[1\.0, 2\.0, 1\.0, ",
        ),
        (
            "train_test_split.txt",
            "1 0\n2 0\n3 0\n10 0\n",
            "the lists must name a picture of this split, not none: unpack",
        ),
    ],
)
def test_cub_lists_that_do_not_fit_are_refused(tmp_path, file, content, sentence):
    (trees.write_cub(tmp_path) / file).write_text(content)
    with pytest.raises(ValueError, match=sentence):
        Cub(tmp_path, "train")


@pytest.mark.parametrize(
    ("file", "before", "after", "repeated"),
    [
        ("images.txt", "3 002", "2 002", "key must come once, but '2' comes"),
        ("images.txt", "Footed_Albatross_0046_18", "Footed_Albatross_0009_34", "picture must come once, but .*"),
        ("image_class_labels.txt", "3 2", "2 2", "key must come once, but '2' comes"),
        ("train_test_split.txt", "3 1", "2 1", "key must come once, but '2' comes"),
        ("bounding_boxes.txt", "3 14.5", "2 14.5", "key must come once, but '2' comes"),
        ("classes.txt", "2 002", "1 002", "key must come once, but '1' comes"),
    ],
)
def test_what_a_cub_list_repeats_is_named(tmp_path, file, before, after, repeated):
    trees.spoil(trees.write_cub(tmp_path) / file, before, after)
    with pytest.raises(ValueError, match=rf"{re.escape(file)}: each {repeated} twice"):
        Cub(tmp_path, "train")


@pytest.mark.parametrize(
    ("file", "before", "after", "sentence"),
    [
        ("image_class_labels.txt", "3 2", "3 7", r": the class of image 3 must be one of classes\.txt, not '7'"),
        ("image_class_labels.txt", "3 2", "3 two", ": the class of image 3 must be .*, not 'two'"),
        ("image_class_labels.txt", "3 2\n", "", r" and images\.txt .* has image 3"),
        ("train_test_split.txt", "3 1", "3 2", ": the split of image 3 must be 0 or 1, not '2'"),
        ("train_test_split.txt", "3 1", "3 yes", ": the split of image 3 must be 0 or 1, not 'yes'"),
        ("bounding_boxes.txt", "3 14.5", "3 nan", r": the box of '3' .* not \[nan"),
        ("bounding_boxes.txt", "388.0", "inf", ": the box of '3' .* not .*inf"),
    ],
)
def test_a_cub_value_that_makes_no_sense_is_named(tmp_path, file, before, after, sentence):
    trees.spoil(trees.write_cub(tmp_path) / file, before, after)
    with pytest.raises(ValueError, match=re.escape(file) + sentence):
        Cub(tmp_path, "train")
