import numpy as np

from vtnjax.data import Stamps, load_source, write_stamps


def test_the_stamps_are_polygons_of_their_species(tmp_path):
    write_stamps(tmp_path)
    source = Stamps(tmp_path, "all")
    assert len(source) == len(source.classes) == 12
    assert set(source.families) == {"animals/birds", "plants/flowers"}
    # A regular polygon of n sides covers n / 2 sin(2 pi / n) of its radius squared.
    for name, sides in (("triangle", 3), ("square", 4), ("octagon", 8)):
        mask = next(record["mask"] for record in source if source.classes[record["label"]] == name)
        area = sides / 2 * np.sin(2 * np.pi / sides) * 56**2
        assert abs(mask.sum() / area - 1) < 0.04, name


def test_the_seed_fixes_the_files(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_stamps(tmp_path / name, seed=seed)
    found = [{p.name: p.read_bytes() for p in (tmp_path / name).rglob("*.png")} for name in "abc"]
    assert found[0] == found[1] != found[2]


def test_drawn_scenes_need_nothing_else():
    train, test = (load_source("drawn:scenes", split, size=64, count=12) for split in ("train", "test"))
    assert (train.classes, len(train), len(test)) == (test.classes, 12, 12)
    assert train[0]["image"].shape == (64, 64, 3)
