"""The pickles of the revisited benchmarks: what they say, and what no pickle may do.

With the folder of the published files in VTNJAX_REVISITED, the figures of a known ranking are compared with those that
the authors' evaluation gives.
"""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from vtnjax import data, evaluate

FOUND = {
    "imlist": ["a", "b", "c"],
    "qimlist": ["q"],
    "gnd": [{"easy": [0], "hard": [1], "junk": [], "bbx": [1.0, 2.5, 30, 40]}],
}
# mAP and mP@1, 5 and 10 in percent, by the authors' program.
KNOWN = {
    "roxford5k": {
        "easy": [19.5966, 77.941, 60.882, 46.912],
        "medium": [24.7359, 94.286, 76.857, 62.857],
        "hard": [26.3700, 80.000, 66.571, 55.571],
    },
    "rparis6k": {
        "easy": [22.9670, 97.143, 94.286, 86.857],
        "medium": [25.4905, 100, 100, 99.714],
        "hard": [22.7180, 100, 99.714, 96.143],
    },
}
FOLDER = os.environ.get("VTNJAX_REVISITED")


def write(path, found):
    path.write_bytes(pickle.dumps(found, protocol=3))
    return path


def test_a_file_is_read_as_it_is(tmp_path):
    read = data.read_revisited(write(tmp_path / "gnd.pkl", FOUND))
    assert read.images == ("a", "b", "c")
    assert read.queries == ("q",)
    assert read.ground_truth == tuple(FOUND["gnd"])
    ranking = np.array([[0, 2, 1]])
    assert evaluate.revisited(ranking, read.ground_truth, protocol="easy")["map"] == 1


class Hostile:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


@pytest.mark.parametrize("where", ["at the top", "inside", "an array"])
def test_no_class_is_read_and_no_function_called(where, tmp_path):
    touched = tmp_path / "touched"
    harmful = np.arange(3) if where == "an array" else Hostile(touched)
    found = harmful if where == "at the top" else {**FOUND, "imlist": harmful}
    with pytest.raises(ValueError, match="no class is read"):
        data.read_revisited(write(tmp_path / "gnd.pkl", found))
    assert not touched.exists()


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ([1, 2], "must hold the lists imlist, qimlist, gnd"),
        ({**FOUND, "gnd": None}, "must hold the lists imlist, qimlist, gnd"),
        ({**FOUND, "qimlist": ["q", "r"]}, "something of each of the 2 queries, but does so of 1"),
        ({**FOUND, "gnd": [{"easy": [0]}]}, "must have lists of easy, hard and junk images and a box of query 0"),
        ({**FOUND, "gnd": [{**FOUND["gnd"][0], "bbx": [1, 2]}]}, "and a box of query 0"),
        ({**FOUND, "gnd": ["q"]}, "and a box of query 0"),
    ],
)
def test_a_file_that_says_other_things_gets_a_sentence(found, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        data.read_revisited(write(tmp_path / "gnd.pkl", found))


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps(FOUND)[:40]])
def test_a_damaged_file_gets_a_sentence(content, tmp_path):
    path = tmp_path / "gnd.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"gnd.pkl cannot be read \(.*\): the file must be gnd_roxford5k.pkl or"):
        data.read_revisited(path)
    with pytest.raises(FileNotFoundError):
        data.read_revisited(tmp_path / "none.pkl")


@pytest.mark.skipif(not FOLDER, reason="VTNJAX_REVISITED names no folder with the published files")
@pytest.mark.parametrize("name", KNOWN)
def test_figures_of_a_known_ranking_are_those_of_the_authors_program(name):
    found = data.read_revisited(Path(str(FOLDER)) / f"gnd_{name}.pkl")
    image, query = np.arange(len(found.images))[None], np.arange(len(found.queries))[:, None]
    scores = (image + 1) * (query + 1) * 7919 % 104_729
    for row, truth in zip(scores, found.ground_truth, strict=True):
        row[sorted(truth["easy"] + truth["hard"])[::3]] += 60_000
    ranking = np.argsort(-scores, axis=1, kind="stable")
    for protocol, percents in KNOWN[name].items():
        figures = evaluate.revisited(ranking, found.ground_truth, protocol=protocol)
        assert [100 * value for value in figures.values()] == pytest.approx(percents, abs=6e-4)
