import logging
import sys
import types

import numpy as np
import pytest
from pictures import encode, photo

from vtnjax.data import backgrounds
from vtnjax.data.backgrounds import load_backgrounds, random_crop

SPLITS = ("train", "validation", "test")


def write(path, height=60, width=80, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(photo(height, width, seed), "PNG"))


@pytest.fixture
def packages(monkeypatch, tmp_path):
    """A scikit-image whose every photograph is another, and the folders of two packages."""
    every = [name for names in backgrounds._SCIKIT_IMAGE.values() for name in names]
    made = {name: photo(seed=number) for number, name in enumerate(every)}
    loaders = {name: (lambda picture=picture: picture) for name, picture in made.items()}
    loaders["stereo_motorcycle"] = lambda: (made["stereo_motorcycle"], photo(seed=99), np.zeros((48, 64)))
    skimage = types.ModuleType("skimage")
    skimage.data = types.SimpleNamespace(**loaders)
    monkeypatch.setitem(sys.modules, "skimage", skimage)
    folders = {tmp_path / folder.name: names for folder, names in backgrounds._DEBIAN.items()}
    monkeypatch.setattr(backgrounds, "_DEBIAN", folders)
    return folders


def test_no_photograph_serves_two_splits(packages, tmp_path):
    for folder, splits in packages.items():
        for number, name in enumerate(name for names in splits.values() for name in names):
            write(folder / f"{name}.jpg", seed=100 + len(folder.name) * 20 + number)
    loaded = {split: load_backgrounds(tmp_path, split, 100) for split in SPLITS}
    assert {split: len(found) for split, found in loaded.items()} == {"train": 19, "validation": 5, "test": 7}
    every = [picture.tobytes() for found in loaded.values() for picture in found.values()]
    assert len(set(every)) == len(every) == 31


def test_only_what_is_installed_is_used_and_the_log_counts_it(packages, tmp_path, caplog):
    write(next(iter(packages)) / "Dune.jpg")
    caplog.set_level(logging.INFO)
    found = load_backgrounds(tmp_path, "train", 100)
    assert [*found] == [*backgrounds._SCIKIT_IMAGE["train"], "Dune"]
    np.testing.assert_array_equal(found["stereo_motorcycle"], photo(seed=2))  # the left one of the pair
    assert "4 photographs as backgrounds of split 'train': astronaut, " in caplog.text
    assert [*load_backgrounds(tmp_path, "test", 100)] == ["chelsea", "rocket"]


def test_the_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ModuleNotFoundError, match=r'needs the extra "scenes": pip install "vtnjax\[scenes\]"'):
        load_backgrounds(tmp_path, "test", 100)


def test_a_folder_of_backgrounds_takes_the_place_of_the_packages(tmp_path):
    write(tmp_path / "backgrounds" / "train" / "b.png", 300, 500)
    write(tmp_path / "backgrounds" / "train" / "a.png", 60, 80)
    write(tmp_path / "backgrounds" / "train" / ".a.png")
    found = load_backgrounds(tmp_path, "train", 50)
    assert {name: picture.shape for name, picture in found.items()} == {"a.png": (60, 80, 3), "b.png": (100, 167, 3)}
    np.testing.assert_array_equal(found["a.png"], photo(60, 80))
    with pytest.raises(ValueError, match="test must hold photographs as backgrounds, but holds none"):
        load_backgrounds(tmp_path, "test", 50)
    (tmp_path / "backgrounds" / "train" / "c.png").write_bytes(b"seen at sea")
    with pytest.raises(ValueError, match=r"c\.png cannot be read \(.*\): remove it or put it there again"):
        load_backgrounds(tmp_path, "train", 50)


def test_a_crop_is_a_part_of_the_photograph_or_its_mirror_image():
    rows, columns = np.indices((60, 90))
    picture = np.stack([rows, columns, np.zeros_like(rows)], axis=2).astype(np.uint8)
    seen = set()
    for seed in range(40):
        crop = random_crop(picture, (20, 20), np.random.default_rng(seed), (1 / 3, 1 / 3)).astype(int)
        top, left = crop[0, 0, 0], crop[0, :, 1].min()
        part = picture[top : top + 20, left : left + 20]
        mirrored = crop[0, 0, 1] > crop[0, -1, 1]
        np.testing.assert_array_equal(crop, part[:, ::-1] if mirrored else part)
        seen.add((top, left, mirrored))
    tops, lefts, mirrors = zip(*seen, strict=True)
    assert (min(tops) < 8, max(tops) > 32, min(lefts) < 10, max(lefts) > 60) == (True,) * 4
    assert set(mirrors) == {True, False}


def test_a_crop_of_the_greatest_length_touches_two_sides():
    picture = np.zeros((40, 90, 3), np.uint8)
    picture[0], picture[-1] = 255, 255
    crop = random_crop(picture, (20, 30), np.random.default_rng(0), (1.0, 1.0))
    assert crop.shape == (20, 30, 3)
    assert crop[0].min() > 100
    assert crop[-1].min() > 100
