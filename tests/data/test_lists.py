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
        (lambda c: again(c["images"]), r"train2017\.json names the image 7 twice: unpack"),
        (lambda c: again(c["images"], file_name="else.jpg"), r"train2017\.json names the image 7 twice"),
        (lambda c: again(c["annotations"]), r"train2017\.json annotates the image 3 twice: unpack"),
        (lambda c: again(c["annotations"], category_id=1), r"train2017\.json annotates the image 3 twice"),
        (lambda c: again(c["categories"]), r"train2017\.json names the category 2 twice: unpack"),
        (
            lambda c: (again(c["images"], id=8), again(c["annotations"], image_id=8)),
            r"name the picture 'train_val_images/Aves/Larus fuscus/0+7\.jpg' twice",
        ),
        (lambda c: c["annotations"].pop(), r"train2017\.json does not annotate the image 7: unpack"),
        (lambda c: c["annotations"][0].update(category_id=9), r"gives image 3 the category 9, which it does not list"),
        (
            lambda c: c["images"][0].update(id=[7]),
            r"train2017\.json has in 'images' the id \[7\], but it must be a whole number",
        ),
        (lambda c: c["annotations"][0].update(image_id=None), "has in 'annotations' the image_id None, but it must"),
        (lambda c: c["annotations"][0].update(category_id="0"), "the category_id '0', but it must be a whole number"),
        (lambda c: c["categories"][0].update(id=1.5), r"has in 'categories' the id 1\.5, but it must be a"),
        (lambda c: c["categories"][0].update(id=True), "has in 'categories' the id True, but it must be"),
        (lambda c: c["images"][0].update(file_name=7), "the file_name 7, but it must be text"),
        (lambda c: c["categories"][0].update(name=None), "the name None, but it must be text"),
        (lambda c: c["categories"][0].update(supercategory=0), "the supercategory 0, but it must be text"),
    ],
)
def test_inaturalist_ids(tmp_path, change, sentence):
    spoil_json(trees.write_inat2017(tmp_path) / "train2017.json", change)
    with pytest.raises(ValueError, match=sentence):
        INaturalist2017(tmp_path, "train")


@pytest.mark.parametrize(
    ("file", "before", "after", "sentence"),
    [
        ("images.txt", "3 002", "2 002", r"key '2' comes twice.*images\.txt"),
        (
            "images.txt",
            "Black_Footed_Albatross_0046_18",
            "Black_Footed_Albatross_0009_34",
            r"names the picture .* twice",
        ),
        ("image_class_labels.txt", "3 2", "3 7", r"image_class_labels\.txt gives image 3 the class '7', which classes"),
        ("image_class_labels.txt", "3 2", "3 two", r"image_class_labels\.txt gives image 3 the class 'two', which"),
        ("image_class_labels.txt", "3 2", "2 2", r"key '2' comes twice.*image_class_labels\.txt"),
        ("image_class_labels.txt", "3 2\n", "", r"image_class_labels\.txt and images\.txt .* has image 3"),
        ("train_test_split.txt", "3 1", "3 2", r"train_test_split\.txt gives image 3 the split '2', but .* 0 or 1"),
        ("train_test_split.txt", "3 1", "3 yes", r"train_test_split\.txt gives image 3 the split 'yes', but"),
        ("train_test_split.txt", "3 1", "2 1", r"key '2' comes twice.*train_test_split\.txt"),
        ("bounding_boxes.txt", "3 14.5", "2 14.5", r"key '2' comes twice.*bounding_boxes\.txt"),
        ("bounding_boxes.txt", "3 14.5", "3 nan", r"bounding_boxes\.txt gives '3' the box \[nan"),
        ("bounding_boxes.txt", "388.0", "inf", r"bounding_boxes\.txt gives '3' the box .*inf"),
        ("classes.txt", "2 002", "1 002", r"key '1' comes twice.*classes\.txt"),
    ],
)
def test_cub_ids(tmp_path, file, before, after, sentence):
    spoil(trees.write_cub(tmp_path) / file, before, after)
    with pytest.raises(ValueError, match=sentence):
        Cub(tmp_path, "train")


@pytest.mark.parametrize(
    ("file", "before", "after", "sentence"),
    [
        ("images_variant_trainval.txt", "1340192", "1025794", r"key '1025794' comes twice.*trainval\.txt"),
        ("images_variant_trainval.txt", "F-16A/B", "A380", r"gives image 1340192 the variant 'A380', which variants"),
        ("variants.txt", "F-16A/B", "707-320", r"variants\.txt names the variant '707-320' twice"),
        ("images_box.txt", "1340192", "1025794", r"key '1025794' comes twice.*images_box\.txt"),
        ("images_box.txt", "998", "inf", r"images_box\.txt gives '1025794' the box .*inf"),
    ],
)
def test_aircraft_ids(tmp_path, file, before, after, sentence):
    spoil(trees.write_aircraft(tmp_path) / file, before, after)
    with pytest.raises(ValueError, match=sentence):
        Aircraft(tmp_path, "train")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([(39, 116, 569, 375, 2, "00001.jpg"), (36, 116, 868, 587, 1, "00001.jpg")], r"'cars_train/00001\.jpg' twice"),
        ([(39, 116, 569, 375, 0, "00001.jpg")], r"train_annos\.mat gives '00001\.jpg' the class 0, .* from 1 to 2"),
        ([(39, 116, 569, 375, 3, "00001.jpg")], r"train_annos\.mat gives '00001\.jpg' the class 3, .* from 1 to 2"),
        ([(39, 116, 569, 375, 1.5, "00001.jpg")], r"train_annos\.mat gives '00001\.jpg' the class 1\.5, .* whole"),
        ([(39, 116, 569, 375, "x", "00001.jpg")], r"train_annos\.mat gives '00001\.jpg' the class .* whole"),
        ([(39, 116, 569, 375, [], "00001.jpg")], r"train_annos\.mat gives '00001\.jpg' the class .* whole"),
        ([("x", 116, 569, 375, 1, "00001.jpg")], r"train_annos\.mat .* the bbox_x1 'x', but it must be a number"),
        ([([], 116, 569, 375, 1, "00001.jpg")], r"train_annos\.mat .* the bbox_x1 .*, but it must be a number"),
        ([(39, 116, np.nan, 375, 1, "00001.jpg")], r"train_annos\.mat gives '00001\.jpg' the box .*nan"),
        ([(39, 116, 569, 375, 1, 7)], r"train_annos\.mat has the fname 7, but it must be text"),
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
