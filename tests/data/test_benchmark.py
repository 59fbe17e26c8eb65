import numpy as np
import pytest

from vtnjax import data

NAMES = ("roxford5k", "rparis6k", "scenes", "scenes_train")


@pytest.mark.parametrize("name", NAMES)
def test_drawn_benchmarks_need_no_files(name):
    found = data.load_benchmark(f"drawn:{name}", size=64)
    assert isinstance(found, data.Benchmark)
    assert len(found.names) == len(found.database) > len(found.queries) == len(found.ground_truth)
    for images in (found.database, found.queries):
        assert isinstance(images, data.ImageList)
        image = images[len(images) - 1]
        assert image.shape == (*images.sizes[-1], 3)
        assert image.dtype == np.uint8
        assert max(max(size) for size in images.sizes) <= 64
    for truth in found.ground_truth:
        listed = [index for kind in ("easy", "hard", "junk") for index in truth[kind]]
        assert len(listed) == len(set(listed))
        assert set(listed) < set(range(len(found.names)))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "roxford",
            "benchmark must be one of 'roxford5k', 'rparis6k', 'scenes', 'scenes_train', .*, not 'roxford'; did",
        ),
        ("drawn:cub", "benchmark must be one of .*, not"),
        ("scenes", "data_dir must be the folder with the files of benchmark 'scenes', not ''"),
    ],
)
def test_another_name_or_no_folder_gets_a_sentence(name, sentence):
    with pytest.raises(ValueError, match=sentence):
        data.load_benchmark(name)


def test_a_home_folder_is_found(tmp_path, monkeypatch):
    data.write_landmarks("rparis6k", tmp_path / "paris", landmarks=1)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(data.load_benchmark("rparis6k", data_dir="~/paris").queries) == 1
