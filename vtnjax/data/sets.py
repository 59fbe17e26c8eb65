"""The sets whose files lie in a folder, by the name that a config gives them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from vtnjax.data.aircraft import Aircraft, write_aircraft
from vtnjax.data.cars import Cars, write_cars
from vtnjax.data.cub import Cub, write_cub
from vtnjax.data.drawing import Drawing
from vtnjax.data.drawn_numbers import write_house_numbers
from vtnjax.data.drawn_stamps import write_stamps
from vtnjax.data.folder import Folder
from vtnjax.data.house_numbers import HouseNumbers
from vtnjax.data.idx import Idx
from vtnjax.data.inaturalist import INaturalist2017, write_inaturalist
from vtnjax.data.landmark_tuples import LandmarkTuples, write_landmark_tuples
from vtnjax.data.records import Source
from vtnjax.data.scenes import Scenes
from vtnjax.data.stamps import Stamps
from vtnjax.data.stored import Stored

Write = Callable[[Path, list[Drawing], int], None]


class Entry(NamedTuple):
    """A set of files.

    Attributes:
        read: opens it, given its folder, a split, and options by name.
        train_images: how many photographs it has to train on; None if it is no published set of photographs.
        write: writes drawn pictures into a folder in the set's layout, given the number of their classes; None if it
            is no such set.
        draw: writes a small set of drawn pictures into a folder, if its pictures are not those of `write`.
    """

    read: Callable[..., Source]
    train_images: int | None = None
    write: Write | None = None
    draw: Callable[[Path], None] | None = None


SETS: dict[str, Entry] = {
    "idx": Entry(Idx),
    "folder": Entry(Folder),
    "cub": Entry(Cub, 5994, write_cub),
    "cars": Entry(Cars, 8144, write_cars),
    "aircraft": Entry(Aircraft, 6667, write_aircraft),
    "inat2017": Entry(INaturalist2017, 579_184, write_inaturalist),
    "stored": Entry(Stored),
    "svhn": Entry(HouseNumbers, draw=write_house_numbers),
    "stamps": Entry(Stamps, draw=write_stamps),
    "scenes": Entry(Scenes, draw=write_stamps),
    "landmark_tuples": Entry(LandmarkTuples, draw=write_landmark_tuples),
}
