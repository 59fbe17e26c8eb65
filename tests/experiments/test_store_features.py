"""Features of a frozen trunk, and a run that trains on them."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import train_runs as runs
from numpy.testing import assert_allclose

from vtnjax import data, experiments, recipes
from vtnjax.experiments import store_features

CONFIG = "scenes:smoke,trunk=small,warp=none"


def test_stored_features_are_those_of_the_network(tmp_path, capsys):
    store_features.main([CONFIG, "--out", str(tmp_path), "--config.input.size=48", "--config.input.crop=40"])
    assert "feature maps" in capsys.readouterr().out
    table = experiments.Table("", "scenes", {})
    config = experiments.Runner("", table, (), tmp_path, tmp_path).load(CONFIG.partition(":")[2])
    config.input.size, config.input.crop = 48, 40
    recipe = recipes.read_recipe(config)
    network, stored = recipe.network(0), data.Stored(tmp_path, "test")
    network.eval()
    assert len(stored) == len(recipe.test)
    assert stored.classes == recipe.test.classes
    batch = np.stack([recipe.test[i]["image"] for i in range(3)])
    expected = network.features(recipe.as_input(jnp.asarray(batch)))
    assert_allclose(np.stack([stored[i]["image"] for i in range(3)]), expected, rtol=1e-3, atol=1e-3)
    assert [stored[i]["label"] for i in range(3)] == [recipe.test[i]["label"] for i in range(3)]
    store_features.main([CONFIG, "--out", str(tmp_path)])
    assert "is there already" in capsys.readouterr().out


def test_a_network_without_features_is_refused(tmp_path):
    with pytest.raises(SystemExit, match="store_features: the network of a config must be 'warped_features'"):
        store_features.main(["digits_stn:smoke", "--out", str(tmp_path)])


CONFIG_OF_FEATURES = """
from vtnjax.recipes import presets


def get_config(variant=""):
    return presets.run(
        network={
            "name": "warped_features",
            "trunk": {"name": "none"},
            "warp": {"name": "vtn", "groups": 2, "window": (3, 3)},
            "head": {"name": "isqrt", "reduced": 4},
        },
        picture={"name": "fields"},
        pretrained="",
        dataset="stored",
        steps=4,
        batch_size=4,
        **presets.adam(1e-3),
        **presets.every(2, 4),
    )
"""


@pytest.mark.slow
def test_a_run_trains_on_stored_features(tmp_path):
    for split, count in (("train", 12), ("test", 6)):
        features = np.random.default_rng(0).normal(size=(count, 5, 6, 8))
        batches, labels = [(features, np.arange(count) % 3)], ("a", "b", "c")
        data.stored.write_stored(tmp_path / "kept" / split, batches, count=count, shape=(5, 6, 8), classes=labels)
    (tmp_path / "config.py").write_text(CONFIG_OF_FEATURES)
    said, _ = runs.run(tmp_path / "run", config=str(tmp_path / "config.py"), data_dir=tmp_path / "kept")
    assert "finished: step 4" in said
    assert (tmp_path / "run" / "figures" / "test.png").stat().st_size > 1000
    assert json.loads((tmp_path / "run" / "config.json").read_text())["dataset"] == "stored"
