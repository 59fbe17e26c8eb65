import json

import jax
import pytest

from vtnjax import data, recipes, train


def test_a_run_of_before_configs_had_names_is_answered_with_a_sentence(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.json").write_text(json.dumps({"model": "fcn", "steps": 3}))
    with pytest.raises(ValueError, match=r"config.json must say what its network is .* of an older version: train the"):
        recipes.load_member(tmp_path, data.Generated("train", count=4), train.data_mesh(jax.devices()[:1]), print)


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be the workdir of a trained run, but it has no checkpoints"):
        recipes.load_member(tmp_path, data.Generated("train", count=4), train.data_mesh(jax.devices()[:1]), print)
    with pytest.raises(ValueError, match=r"must be the workdir of a run, but it has no config\.json"):
        recipes.read_trained(tmp_path)
