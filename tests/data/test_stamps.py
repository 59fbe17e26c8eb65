import io

import numpy as np
import pytest
from PIL import Image

from vtnjax.data import Stamps, load_source
from vtnjax.data.stamps import species_of


def rectangle(height=120, width=100, colour=(200, 30, 10), hidden=(255, 255, 255)):
    """An opaque rectangle with 10 transparent pixels on every side, uint8 (height, width, 4)."""
    picture = np.zeros((height, width, 4), np.uint8)
    picture[..., :3] = hidden
    picture[10:-10, 10:-10] = (*colour, 255)
    return picture


def save(folder, name, picture, **options):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    for name in ("animals/birds/wren-2.png", "animals/birds/Auk.PNG", "animals/birds/wren.png", "food/fruit/pear.png"):
        save(tmp_path, name, rectangle(), format="PNG")
    save(tmp_path, "animals/birds/tiny.png", rectangle(40, 50))
    return tmp_path


def test_a_record_has_the_picture_its_species_and_its_mask(folder):
    source = Stamps(folder, "all")
    assert [source.path(index).name for index in range(5)] == [
        "Auk.PNG",
        "tiny.png",
        "wren.png",
        "wren-2.png",
        "pear.png",
    ]
    assert source.classes == ("auk", "pear", "tiny", "wren")
    assert source.labels.tolist() == [0, 2, 3, 3, 1] == [record["label"] for record in source]
    assert source.labels.dtype == np.int32
    assert source.families == (*["animals/birds"] * 4, "food/fruit")
    record = source[0]
    np.testing.assert_array_equal(record["image"], rectangle()[..., :3])
    expected = np.zeros((120, 100), bool)
    expected[10:110, 10:90] = True
    np.testing.assert_array_equal(record["mask"], expected)
    with pytest.raises(IndexError):
        source[5]


def test_grey_and_palette_pictures_with_alpha_are_read_as_they_look(tmp_path):
    picture = rectangle(colour=(90, 90, 90))
    save(tmp_path, "a/grey.png", Image.fromarray(picture).convert("LA"))
    indices = Image.fromarray((picture[..., 3] > 0).astype(np.uint8), "L").convert("P")
    indices.putpalette([1, 2, 3, 90, 90, 90])
    save(tmp_path, "a/palette.png", indices, transparency=0)
    for record in Stamps(tmp_path, "all"):
        np.testing.assert_array_equal(record["mask"], picture[..., 3] > 0)
        assert (record["image"][record["mask"]] == 90).all()


def test_what_is_drawn_and_what_is_hidden_is_left_out(folder):
    left_out = (
        "cartoon/tux/tux.png",
        "animals/birds/cartoon/duck.png",
        "symbols/star.png",
        "animals/mammals/hedgehog.png",
    )
    for name in (*left_out, "backgrounds/train/sky.png", "town/flags/red.png", "animals/birds/._wren.png", "loose.png"):
        save(folder, name, rectangle())
    assert Stamps(folder, "all").classes == ("auk", "pear", "tiny", "wren")


@pytest.mark.parametrize(
    ("stem", "species"),
    [
        ("frog-1", "frog"),
        ("Strawberry2", "strawberry"),
        ("heron_greatblue_flying", "heron greatblue"),
        ("gnu-baby-stand", "gnu"),
        ("fireman240a", "fireman"),
        ("grave-a", "grave"),
        ("1_mercury", "mercury"),
        ("moon_3qt", "moon"),
        ("747", "747"),
        ("flower10", "flower10"),
        ("little-penguin", "little penguin"),
        ("camera_35mm", "camera 35mm"),
    ],
)
def test_views_of_one_species_have_its_name(stem, species):
    assert species_of(stem) == species


def test_a_family_and_a_smallest_side_may_be_chosen(folder):
    birds = Stamps(folder, "all", family="animals/birds", smallest=51)
    assert birds.classes == ("auk", "wren")
    assert len(birds) == 3
    assert Stamps(folder, "all", family="animals", smallest=50).classes == ("auk", "tiny", "wren")
    assert len(load_source("stamps", "all", data_dir=str(folder), family="food", smallest=120)) == 1


def cut(data):
    return data[: len(data) // 2]


def png(picture, mode="RGBA"):
    buffer = io.BytesIO()
    Image.fromarray(picture).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


NOISE = np.random.default_rng(0).integers(0, 256, (60, 60, 4), dtype=np.uint8)
FAINT = np.full((60, 60, 4), 127, np.uint8)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (cut(png(NOISE)), r"hen\.png cannot be read \(.*truncated.*\): remove it or install its package again"),
        (png(NOISE)[:20], r"hen\.png cannot be read \(.*\): remove it"),
        (b"", r"hen\.png cannot be read \(.*\): remove it"),
        (b"seen at sea", r"hen\.png cannot be read \(.*\): remove it"),
        (png(NOISE, "RGB"), r"hen\.png must have an alpha channel, which cuts out the object, but is RGB: remove it"),
        (png(NOISE, "L"), r"hen\.png must have an alpha channel, which cuts out the object, but is L: remove it"),
        (png(FAINT), r"hen\.png must show an object, but its alpha is below 128 everywhere: remove it"),
    ],
)
def test_a_stamp_that_cannot_be_used_is_named(folder, data, sentence):
    (folder / "animals" / "birds" / "hen.png").write_bytes(data)
    with pytest.raises(ValueError, match=sentence):
        [*Stamps(folder, "all")]


def test_a_folder_without_stamps_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"data_dir must be a folder, but there is none at .*none: install the p"
    ):
        Stamps(tmp_path / "none", "all")
    save(tmp_path, "symbols/star.png", rectangle())
    with pytest.raises(ValueError, match=r"must hold stamps, as FAMILY/SPECIES\.png, but holds none: install the p"):
        Stamps(tmp_path, "all")


@pytest.mark.parametrize(
    ("split", "options", "sentence"),
    [
        ("train", {}, "split must be one of 'all', not 'train'"),
        ("all", {"smallest": 0}, "smallest must be a whole number of at least 1, not 0"),
        ("all", {"smallest": 121}, "smallest must be at most the longer side of a stamp of Stamps.*, not 121"),
        (
            "all",
            {"family": "animals/bird"},
            "family must be one of .*, not 'animals/bird'; did you mean 'animals/birds'",
        ),
    ],
)
def test_wrong_arguments_are_named(folder, split, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Stamps(folder, split, **options)
