import json

import fine_grained_trees as trees
import numpy as np
import pytest

from vtnjax.data import INaturalist2017


def spoil_json(path, change):
    contents = json.loads(path.read_text())
    change(contents)
    path.write_text(json.dumps(contents))


def test_inaturalist(tmp_path):
    trees.write_inat2017(tmp_path)
    source = INaturalist2017(tmp_path, "train")
    assert source.classes == ("Passer domesticus", "Bellis perennis", "Larus fuscus")
    assert source.super_classes == ("Aves", "Plantae")
    assert source.super_labels.tolist() == [0, 1, 0]
    assert source.super_labels.dtype == np.int32
    assert source.labels.tolist() == [2, 0] == [record["label"] for record in source]
    trees.assert_shows(source[0], 7)
    trees.assert_shows(source[1], 3)
    for split in ("val", "test"):
        trees.assert_shows(INaturalist2017(tmp_path, split)[0], 5)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda c: c.pop("annotations"),
            r"train2017\.json must hold a list 'annotations' of objects with category_id, ",
        ),
        (lambda c: c["images"][0].pop("file_name"), "must hold a list 'images' of objects with file_name, id: unpack"),
        (lambda c: c["categories"].append(3), "must hold a list 'categories' of objects with id, name, supercategory"),
        (lambda c: c["images"].clear(), "the lists must name a picture of this split, not none"),
    ],
)
def test_inaturalist_lists_of_another_format_are_refused(tmp_path, change, sentence):
    spoil_json(trees.write_inat2017(tmp_path) / "train2017.json", change)
    with pytest.raises(ValueError, match=sentence):
        INaturalist2017(tmp_path, "train")


@pytest.mark.parametrize("content", ['{"images": [', "[]"])
def test_inaturalist_lists_that_are_damaged_are_refused(tmp_path, content):
    (trees.write_inat2017(tmp_path) / "train2017.json").write_text(content)
    with pytest.raises(ValueError, match=r"train2017\.json must (be a whole JSON file|hold a list 'images')"):
        INaturalist2017(tmp_path, "train")


def again(rows, **other):
    rows.append({**rows[0], **other})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: again(c["images"]), r"train2017\.json: each image must come once, but 7 comes twice: unpack"),
        (
            lambda c: again(c["images"], file_name="else.jpg"),
            r"train2017\.json: each image must come once, but 7 comes twice",
        ),
        (
            lambda c: again(c["annotations"]),
            r"train2017\.json: each annotated image must come once, but 3 comes twice: unpack",
        ),
        (
            lambda c: again(c["annotations"], category_id=1),
            r"train2017\.json: each annotated image must come once, but 3 comes twice",
        ),
        (lambda c: again(c["categories"]), r"train2017\.json: each category must come once, but 2 comes twice: unpack"),
        (
            lambda c: (again(c["images"], id=8), again(c["annotations"], image_id=8)),
            r"each picture must come once, but 'train_val_images/Aves/Larus fuscus/0+7\.jpg' comes twice",
        ),
        (
            lambda c: c["annotations"].pop(),
            r"train2017\.json must annotate every image, but does not annotate 7: unpack",
        ),
        (lambda c: c["annotations"][0].update(category_id=9), r"category of image 3 must be a listed one, not 9"),
        (
            lambda c: c["images"][0].update(id=[7]),
            r"train2017\.json: id in 'images' must be a whole number, not \[7\]",
        ),
        (
            lambda c: c["annotations"][0].update(image_id=None),
            "image_id in 'annotations' must be a whole number, not None",
        ),
        (
            lambda c: c["annotations"][0].update(category_id="0"),
            "category_id in 'annotations' must be a whole number, not '0'",
        ),
        (lambda c: c["categories"][0].update(id=1.5), r"id in 'categories' must be a whole number, not 1\.5"),
        (lambda c: c["categories"][0].update(id=True), "id in 'categories' must be a whole number, not True"),
        (lambda c: c["images"][0].update(file_name=7), "file_name in 'images' must be text, not 7"),
        (lambda c: c["categories"][0].update(name=None), "name in 'categories' must be text, not None"),
        (lambda c: c["categories"][0].update(supercategory=0), "supercategory in 'categories' must be text, not 0"),
    ],
)
def test_inaturalist_ids(tmp_path, change, sentence):
    spoil_json(trees.write_inat2017(tmp_path) / "train2017.json", change)
    with pytest.raises(ValueError, match=sentence):
        INaturalist2017(tmp_path, "train")
