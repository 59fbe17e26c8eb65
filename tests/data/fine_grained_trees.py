"""Tiny folders with the published sets' own files, line for line as their archives hold them."""

import json

import numpy as np
import scipy.io
from pictures import as_seen, encode, photo

BIRDS = {  # image id: (file, class id, in the training set, box); ids, order and fractions as the archive has them
    1: ("001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg", 1, 0, "60.0 27.0 325.0 304.0"),
    2: ("001.Black_footed_Albatross/Black_Footed_Albatross_0009_34.jpg", 1, 1, "139.0 30.0 153.0 264.0"),
    3: ("002.Laysan_Albatross/Laysan_Albatross_0002_1027.jpg", 2, 1, "14.5 112.0 388.0 186.0"),
    10: ("002.Laysan_Albatross/Laysan_Albatross_0082_524.jpg", 2, 0, "1.0 2.0 3.0 4.0"),
}
CARS = {  # split: rows of x1, y1, x2, y2, class, file
    "train": [(39, 116, 569, 375, 2, "00001.jpg"), (36, 116, 868, 587, 1, "00002.jpg")],
    "test": [(30, 52, 246, 147, 2, "00001.jpg")],
}
MODELS = ("AM General Hummer SUV 2000", "Acura RL Sedan 2012")
AIRCRAFT = {  # image: (variant, list, box)
    "1025794": ("707-320", "train", "3 144 998 431"),
    "1340192": ("F-16A/B", "val", "6 155 1015 435"),
    "0056978": ("707-320", "test", "1 1 900 500"),
}
SPECIES = (("Aves", "Passer domesticus"), ("Plantae", "Bellis perennis"), ("Aves", "Larus fuscus"))
SHAPES = {  # image id: (split, category)
    7: ("train", 2),
    3: ("train", 0),
    5: ("val", 1),
}


def image(number):
    """The picture of a record; all differ."""
    return photo(48, 64, seed=number)


def _save(path, number):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(image(number), "JPEG", quality=95))


def _lines(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def write_cub(directory):
    root = directory / "CUB_200_2011"
    for number, (name, *_) in BIRDS.items():
        _save(root / "images" / name, number)
    _lines(root / "classes.txt", ["1 001.Black_footed_Albatross", "2 002.Laysan_Albatross"])
    for column, file in enumerate(["images", "image_class_labels", "train_test_split", "bounding_boxes"]):
        _lines(root / f"{file}.txt", [f"{number} {row[column]}" for number, row in BIRDS.items()])
    return root


def write_cars(directory):
    (directory / "devkit").mkdir()
    scipy.io.savemat(directory / "devkit" / "cars_meta.mat", {"class_names": np.array([MODELS], object)})
    names = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]
    for split, path in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        for row in CARS[split]:
            _save(directory / f"cars_{split}" / row[-1], row[0])
        rows = np.array([CARS[split]], [(name, object) for name in names])
        scipy.io.savemat(directory / path, {"annotations": rows})
    unlabelled = np.array([[row[:4] + row[5:] for row in CARS["test"]]], [(n, object) for n in names if n != "class"])
    scipy.io.savemat(directory / "devkit" / "cars_test_annos.mat", {"annotations": unlabelled})
    return directory


def write_aircraft(directory):
    root = directory / "fgvc-aircraft-2013b" / "data"
    for number in AIRCRAFT:
        _save(root / "images" / f"{number}.jpg", int(number))
    _lines(root / "variants.txt", ["707-320", "F-16A/B"])
    _lines(root / "images_box.txt", [f"{number} {box}" for number, (_, _, box) in reversed(AIRCRAFT.items())])
    for file, lists in {"train": ["train"], "val": ["val"], "trainval": ["train", "val"], "test": ["test"]}.items():
        chosen = [f"{number} {variant}" for number, (variant, kept, _) in AIRCRAFT.items() if kept in lists]
        _lines(root / f"images_variant_{file}.txt", chosen)
    return root


def write_inat2017(directory):
    categories = [{"supercategory": upper, "id": i, "name": name} for i, (upper, name) in enumerate(SPECIES)]
    for split in ("train", "val"):
        images, annotations = [], []
        for number, (kept, category) in SHAPES.items():
            if kept == split:
                upper, species = SPECIES[category]
                name = f"train_val_images/{upper}/{species}/{number:032x}.jpg"
                _save(directory / name, number)
                images.append({"id": number, "file_name": name, "width": 64, "height": 48, "license": 3})
                annotations.append({"id": number, "image_id": number, "category_id": category})
        # Neither list follows the other, as the format allows.
        contents = {"info": {}, "images": images, "annotations": annotations[::-1], "categories": categories[::-1]}
        (directory / f"{split}2017.json").write_text(json.dumps(contents))
    return directory


def assert_shows(record, number, rows=None):
    """The record is the picture of that number, but for what JPEG loses."""
    assert record["image"].dtype == np.uint8
    expected = as_seen(encode(image(number), "JPEG", quality=95))[:rows]
    np.testing.assert_array_equal(record["image"], expected)


def spoil(path, before, after):
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))
