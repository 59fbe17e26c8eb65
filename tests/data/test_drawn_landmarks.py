import hashlib

import numpy as np
import pytest

from vtnjax.data import RevisitedBenchmark, write_landmarks


def coloured(image):
    """The share of pixels that are not of the grey background."""
    return (np.ptp(image.astype(int), axis=2) > 24).mean()


def test_landmarks_become_smaller_and_queries_show_them_alone(tmp_path):
    write_landmarks("roxford5k", tmp_path, landmarks=6)
    found = RevisitedBenchmark(tmp_path, "roxford5k")
    assert len(found.database) == 30
    assert [len(truth["easy"] + truth["hard"] + truth["junk"]) for truth in found.ground_truth] == [5] * 6
    shares = {
        kind: np.mean([coloured(found.database[i]) for truth in found.ground_truth for i in truth[kind]])
        for kind in ("easy", "hard", "junk")
    }
    assert shares["easy"] > 2 * shares["hard"] > 8 * shares["junk"] > 0
    for number, query in enumerate(found.queries):
        assert query.shape[0] == query.shape[1]  # a landmark is a square, and its box is tight
        # The nine colours are those of the landmark's easy image and not those of the next one's.
        own, other = (found.ground_truth[(number + i) % 6]["easy"][0] for i in (0, 1))
        places = [len(query) * i // 6 for i in (1, 3, 5)]
        patches = query[places][:, places]
        near = [
            np.abs(found.database[i][:, :, None].astype(int) - patches.reshape(1, 1, 9, 3)).max(-1).min((0, 1)).max()
            for i in (own, other)
        ]
        assert near[0] < 30 < near[1]


def test_the_seed_fixes_the_files(tmp_path):
    def digest(name, seed):
        write_landmarks("rparis6k", tmp_path / name, landmarks=2, seed=seed)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]

    assert digest("a", 1) == digest("b", 1) != digest("c", 2)


@pytest.mark.parametrize(
    ("name", "landmarks", "sentence"),
    [
        ("oxford5k", 1, "name must be one of 'roxford5k', 'rparis6k', not"),
        ("roxford5k", 0, "landmarks must be a whole"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, name, landmarks, sentence):
    with pytest.raises(ValueError, match=sentence):
        write_landmarks(name, tmp_path, landmarks=landmarks)
