"""Lists that contradict themselves or each other: refused by the file and the id, whichever set they belong to."""

import json

import fine_grained_trees as trees
import numpy as np
import pytest
import scipy.io

from vtnjax.data import Aircraft, Cars, Cub, INaturalist2017


def spoil_json(path, change):
    contents = json.loads(path.read_text())
    change(contents)
    path.write_text(json.dumps(contents))


def spoil(path, before, after):
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


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


@pytest.mark.parametrize(
    ("file", "before", "after", "sentence"),
    [
        ("images.txt", "3 002", "2 002", r"images\.txt: each key must come once, but '2' comes twice"),
        (
            "images.txt",
            "Black_Footed_Albatross_0046_18",
            "Black_Footed_Albatross_0009_34",
            r"each picture must come once, but .* twice",
        ),
        (
            "image_class_labels.txt",
            "3 2",
            "3 7",
            r"image_class_labels\.txt: the class of image 3 must be one of classes\.txt, not '7'",
        ),
        (
            "image_class_labels.txt",
            "3 2",
            "3 two",
            r"image_class_labels\.txt: the class of image 3 must be .*, not 'two'",
        ),
        (
            "image_class_labels.txt",
            "3 2",
            "2 2",
            r"image_class_labels\.txt: each key must come once, but '2' comes twice",
        ),
        ("image_class_labels.txt", "3 2\n", "", r"image_class_labels\.txt and images\.txt .* has image 3"),
        ("train_test_split.txt", "3 1", "3 2", r"train_test_split\.txt: the split of image 3 must be 0 or 1, not '2'"),
        (
            "train_test_split.txt",
            "3 1",
            "3 yes",
            r"train_test_split\.txt: the split of image 3 must be 0 or 1, not 'yes'",
        ),
        ("train_test_split.txt", "3 1", "2 1", r"train_test_split\.txt: each key must come once, but '2' comes twice"),
        (
            "bounding_boxes.txt",
            "3 14.5",
            "2 14.5",
            r"bounding_boxes\.txt: each key must come once, but '2' comes twice",
        ),
        ("bounding_boxes.txt", "3 14.5", "3 nan", r"bounding_boxes\.txt: the box of '3' .* not \[nan"),
        ("bounding_boxes.txt", "388.0", "inf", r"bounding_boxes\.txt: the box of '3' .* not .*inf"),
        ("classes.txt", "2 002", "1 002", r"classes\.txt: each key must come once, but '1' comes twice"),
    ],
)
def test_cub_ids(tmp_path, file, before, after, sentence):
    spoil(trees.write_cub(tmp_path) / file, before, after)
    with pytest.raises(ValueError, match=sentence):
        Cub(tmp_path, "train")


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
    spoil(trees.write_aircraft(tmp_path) / file, before, after)
    with pytest.raises(ValueError, match=sentence):
        Aircraft(tmp_path, "train")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            [(39, 116, 569, 375, 2, "00001.jpg"), (36, 116, 868, 587, 1, "00001.jpg")],
            r"'cars_train/00001\.jpg' comes twice",
        ),
        (
            [(39, 116, 569, 375, 0, "00001.jpg")],
            r"train_annos\.mat: the class of '00001\.jpg' must be .* from 1 to 2, not 0",
        ),
        (
            [(39, 116, 569, 375, 3, "00001.jpg")],
            r"train_annos\.mat: the class of '00001\.jpg' must be .* from 1 to 2, not 3",
        ),
        (
            [(39, 116, 569, 375, 1.5, "00001.jpg")],
            r"train_annos\.mat: the class of '00001\.jpg' must be a whole number .*, not 1\.5",
        ),
        (
            [(39, 116, 569, 375, "x", "00001.jpg")],
            r"train_annos\.mat: the class of '00001\.jpg' must be a whole number .*, not .*",
        ),
        (
            [(39, 116, 569, 375, [], "00001.jpg")],
            r"train_annos\.mat: the class of '00001\.jpg' must be a whole number .*, not .*",
        ),
        ([("x", 116, 569, 375, 1, "00001.jpg")], r"train_annos\.mat: the bbox_x1 of .* must be a number, not 'x'"),
        ([([], 116, 569, 375, 1, "00001.jpg")], r"train_annos\.mat: the bbox_x1 of .* must be a number, not .*"),
        ([(39, 116, np.nan, 375, 1, "00001.jpg")], r"train_annos\.mat: the box of '00001\.jpg' .*nan"),
        ([(39, 116, 569, 375, 1, 7)], r"train_annos\.mat: fname must be text, not 7"),
    ],
)
def test_cars_rows(tmp_path, rows, sentence):
    path = trees.write_cars(tmp_path) / "devkit" / "cars_train_annos.mat"
    names = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]
    records = np.empty((1, len(rows)), [(name, object) for name in names])
    for column, row in enumerate(rows):
        records[0, column] = row
    scipy.io.savemat(path, {"annotations": records})
    with pytest.raises(ValueError, match=sentence):
        Cars(tmp_path, "train")
