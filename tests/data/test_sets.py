import re

import numpy as np
import pytest

from vtnjax.data.drawing import draw_polygon
from vtnjax.data.sets import SETS


@pytest.mark.parametrize("name", [name for name, entry in SETS.items() if entry.write])
def test_a_reader_reads_what_its_writer_wrote(tmp_path, name):
    entry, rng = SETS[name], np.random.default_rng(0)
    drawings = [draw_polygon(label, 3, number, number < 2, rng) for label in range(3) for number in range(3)]
    entry.write(tmp_path, drawings, 3)
    train, test = (entry.read(tmp_path, split) for split in ("train", "test"))
    assert sorted(train.labels) == [0, 0, 1, 1, 2, 2]
    assert sorted(test.labels) == [0, 1, 2]
    for source, chosen in ((train, drawings[:2]), (test, drawings[2:3])):
        first = [record["image"] for record in source if record["label"] == 0]
        for drawing in chosen:
            picture = drawing.image[..., ::-1].astype(int)
            assert min(np.abs(image - picture).mean() for image in first) < 6  # a JPEG's loss


@pytest.mark.parametrize("name", [name for name, entry in SETS.items() if entry.train_images])
def test_the_number_of_photographs_is_what_the_readers_docs_say(name):
    said = re.search(r"([\d,]+) photographs to\s+train on", SETS[name].read.__doc__)
    assert SETS[name].train_images == int(said[1].replace(",", ""))


def test_published_photographs_can_be_drawn():
    assert [name for name, entry in SETS.items() if entry.train_images] == [n for n, e in SETS.items() if e.write]
