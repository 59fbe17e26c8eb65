"""Photographs of single objects, cut out: the stamps of a paint program for children, one for most species."""

import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from vtnjax._checks import check_at_least_1, check_choice
from vtnjax.data.records import Record

BACKGROUNDS = "backgrounds"  # a folder of photographs that may lie beside the families
_ORIGIN = "install the package tuxpaint-stamps-default of Debian or Ubuntu, whose stamps are in /usr/share/tuxpaint"
# Folders of what is drawn, mostly or wholly, and drawn pictures in folders of photographs.
_DRAWN_FOLDERS = {"cartoon", "symbols", "clothes", "naturalforces", "seasonal", "flags", "roadsigns", BACKGROUNDS}
_DRAWN = {
    "animals/insects/bee",
    "animals/mammals/echidna",
    "animals/mammals/hedgehog",
    "food/pizza",
    "household/arttools/highlighter",
    "household/key",
    "medical/tooth",
    "people/body_parts/eye",
    "space/planets/0_sun",
    "town/monuments/inukshuk-outline",
    "vehicles/7spoke256",
    "vehicles/flight/balloon360",
}
# Photographs that are of no use: nearly all of it transparent, a light bar without its car, a picture that comes twice.
_USELESS = {
    "household/dishes/glass",
    "military/fireman240a",
    "sports/rugby_goal_posts",
    "vehicles/emergency/sedan_police",
    "vehicles/emergency/sedan_police_mirror",
}
# Words of a name that tell one view of a species from another.
_VIEWS = {"baby", "closed", "eating", "flying", "mirror", "open", "photo", "profile", "sitting", "stand", "whole"}
_VIEWS |= {"3qt", "crescent", "full"}  # of the moon
_OPAQUE = 128


class Cutout(Record):
    """A record with the pixels of the object: `mask` bool (h, w)."""

    mask: np.ndarray


class Stamps:
    """The photographs among the stamps of Tux Paint, each an object without its background.

    Of the 802 pictures of the package's version 2022.06.04 there remain 311 of 290 species: 125 animals (35 of them
    birds of 34 species), 49 kinds of food, 39 plants, 29 things of the household, 15 vehicles, 15 of space, 13 of
    hobbies, 8 of sports, 8 military, 4 medical, 3 of a town and 3 people. What is drawn is left out: whole folders
    where most pictures are (cartoons, symbols, clothes, seasonal ones, flags, road signs, forces of nature) and twelve
    other pictures. So are five photographs without use. The median animal has 197 x 152 pixels; 271 stamps of 253
    species have a side of 96 pixels or more.

    A class is a species, by the name of its file: "gnu-sitting" and "gnu-stand" are two views of one. Most species have
    one view, so there is nothing to generalise to but other scenes of the same picture, see `Scenes`.

    Attributes:
        classes: The names of the species, sorted.
        labels: int32 (n,), in the order of the records, which is that of their files.
        families: The folder of each record, such as "animals/birds".
    """

    def __init__(self, data_dir: str | Path, split: str, *, family: str | None = None, smallest: int = 1):
        """Lists the stamps; they are read when asked for, except that their sizes are read at once.

        Args:
            data_dir: The folder of the stamps, such as /usr/share/tuxpaint/stamps: DATA_DIR/FAMILY/SPECIES.png.
            split: "all"; stamps have no other split.
            family: A folder of `data_dir`, such as "animals/birds", with the folders in it; None is all.
            smallest: The least length in pixels of the longer side.

        Raises:
            ValueError: If an argument has another value than those above, or there is no such stamp; from a record, if
                its file is cut short, is no picture or has no alpha.
            FileNotFoundError: If there is no such folder.
        """
        check_choice("split", split, ("all",))
        check_at_least_1("smallest", smallest)
        self._root, self._family, self._smallest = Path(data_dir), family, smallest
        if not self._root.is_dir():
            raise FileNotFoundError(f"data_dir must be a folder, but there is none at {self._root}: {_ORIGIN}")
        pictures = (path for path in self._root.rglob("*") if path.suffix.lower() == ".png")
        found = [(name, path) for path in pictures if _is_kept(name := self._name(path))]
        if not found:
            raise ValueError(f"{self._root} must hold stamps, as FAMILY/SPECIES.png, but holds none: {_ORIGIN}")
        found = self._of_family(sorted(found))
        self._paths = [path for _, path in found if max(_size(path)) >= smallest]
        if not self._paths:
            raise ValueError(f"smallest must be at most the longer side of a stamp of {self!r}, not {smallest}")
        self.families = tuple(_family(self._name(path)) for path in self._paths)
        species = [species_of(path.stem) for path in self._paths]
        self.classes = tuple(sorted(set(species)))
        self.labels = np.array([self.classes.index(name) for name in species], np.int32)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Cutout:
        picture = self.rgba(index)
        mask = picture[..., 3] >= _OPAQUE
        return {"image": picture[..., :3], "label": int(self.labels[index]), "mask": mask}

    def rgba(self, index: int) -> np.ndarray:
        """uint8 (h, w, 4): the picture with its alpha, 0 to 255, by which its colours are not multiplied."""
        path = self._paths[index]
        try:
            with Image.open(io.BytesIO(path.read_bytes())) as picture:
                mode, has_alpha = picture.mode, picture.has_transparency_data
                pixels = np.array(picture.convert("RGBA"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise _unreadable(path, error) from error
        if not has_alpha:
            raise ValueError(f"{path} must have an alpha channel, which cuts out the object, but is {mode}: remove it")
        if pixels[..., 3].max() < _OPAQUE:
            raise ValueError(f"{path} must show an object, but its alpha is below {_OPAQUE} everywhere: remove it")
        return pixels

    def path(self, index: int) -> Path:
        """The file of a record."""
        return self._paths[index]

    def __repr__(self) -> str:
        return f"Stamps({str(self._root)!r}, family={self._family!r}, smallest={self._smallest})"

    def _name(self, path: Path) -> str:
        """The path below the folder, without its suffix, with `/`."""
        return path.relative_to(self._root).with_suffix("").as_posix()

    def _of_family(self, found: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
        if self._family is None:
            return found
        parents = {parent.as_posix() for name, _ in found for parent in Path(name).parents} - {"."}
        check_choice("family", self._family, sorted(parents))
        return [(name, path) for name, path in found if name.startswith(f"{self._family}/")]


def species_of(stem: str) -> str:
    """The species that the name of a stamp's file says, without the words and numbers that tell views apart."""
    words = [word for word in re.split("[-_ ]", stem.lower()) if word not in _VIEWS]
    name = " ".join(word for word in words if not re.fullmatch("[0-9]+|[a-z]", word))
    name = re.sub("[0-9]+[a-z]?$", "", name)
    # Numbered flowers are different ones whose species the files do not name.
    return name if name not in ("", "flower") else stem.lower()


def _family(name: str) -> str:
    return name.rpartition("/")[0]


def _is_kept(name: str) -> bool:
    folders = name.split("/")[:-1]
    hidden = any(part.startswith(".") for part in name.split("/"))
    return bool(folders) and not hidden and not _DRAWN_FOLDERS & set(folders) and name not in _DRAWN | _USELESS


def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> ValueError:
    return ValueError(f"{path} cannot be read ({error}): remove it or install its package again")
