"""From names in a config to objects."""

import re
from pathlib import Path

import config_files
import numpy as np
import pytest

from vtnjax import data, recipes
from vtnjax.recipes.recipe import check_config, read_recipe

TABLES = {
    "network": recipes.NETWORKS,
    "input": recipes.INPUTS,
    "batches": recipes.BATCHES,
    "objective": recipes.OBJECTIVES,
    "evaluation": recipes.EVALUATIONS,
    "picture": recipes.PICTURES,
}


def sets():
    return data.Generated("train", count=64), data.Generated("test", count=20)


@pytest.mark.parametrize("part", TABLES)
def test_a_wrong_name_is_answered_with_the_nearest(part):
    config = config_files.get_config("digits_stn", "smoke")
    right = next(iter(TABLES[part]))
    config[part].name = right[:-1]
    with pytest.raises(ValueError, match=rf"config\.{part}\.name must be one of .*; did you mean '{right}'\?"):
        check_config(config)


@pytest.mark.parametrize(
    ("name", "part", "wrong", "right"),
    [
        ("composites", "trunk", "smal", "small"),
        ("composites", "warp", "vtm", "vtn"),
        ("composites", "head", "polled", "pooled"),
        ("cub_tasn", "trunk", "resnet55", "resnet50"),
        ("cub_tasn", "attention_trunk", "resnet8", "resnet18"),
        ("cub_stn", "trunk", "incepton", "inception"),
    ],
)
def test_a_wrong_name_inside_a_network_is_found_before_data_are_read(name, part, wrong, right):
    config = config_files.get_config(name, "smoke")
    config.network[part].name = wrong
    sentence = rf"^config\.network\.{part}\.name must be one of .*, not '{wrong}'; did you mean '{right}'\?"
    with pytest.raises(ValueError, match=sentence):
        check_config(config)


@pytest.mark.parametrize(("name", "part"), [("composites", "head"), ("cub_tasn", "attention_trunk")])
def test_a_part_of_a_network_that_is_missing_is_named_before_data_are_read(name, part):
    config = config_files.get_config(name, "smoke")
    with config.unlocked():
        del config.network[part]
    with pytest.raises(ValueError, match=rf"^config\.network must have .*'{part}', for which there is no default"):
        check_config(config)


def test_a_part_of_a_network_may_be_no_dictionary():
    config = config_files.get_config("composites", "smoke")
    config.network = {"name": "warped_features", "trunk": {"name": "small"}, "warp": "vtn", "head": {"name": "pooled"}}
    with pytest.raises(ValueError, match=r"^config\.network\.warp must be a dictionary with a name, not 'vtn'"):
        check_config(config)


@pytest.mark.parametrize("part", TABLES)
@pytest.mark.daily("evaluation", "picture")
def test_an_option_that_nothing_takes_is_named(part):
    config = config_files.get_config("digits_stn", "smoke")
    with config.unlocked():
        config[part].colour = "red"
    with pytest.raises(ValueError, match=rf"config\.{part}.*colour"):
        read_recipe(config, sources=sets()).network(0)


def test_nothing_in_the_room_asks_whether_a_key_is_there():
    for path in sorted(Path(recipes.__file__).parent.glob("*.py")):
        found = re.findall(r'.*(?:"\w+" in config|config\.get\(|hasattr\(config).*', path.read_text())
        assert not found, (path.name, found)


def test_every_config_of_the_project_has_the_same_parts():
    for path in sorted(config_files.CONFIGS.glob("*.py")):
        config = config_files.get_config(path.stem)
        check_config(config)
        assert set(TABLES) <= set(config.keys()), path.stem


def test_sets_of_ones_own_are_trained_on():
    config = config_files.get_config("digits_stn", "smoke,distortion=none,model=fcn")
    recipe = read_recipe(config, sources=sets())
    assert (len(recipe.train), len(recipe.test)) == (64, 20)
    batch = next(recipe.batches(0))
    assert {name: (array.shape, array.dtype) for name, array in batch.items()} == {
        name: (spec.shape, spec.dtype) for name, spec in recipe.spec.items()
    }


def test_the_processes_shares_make_up_the_batch():
    recipe = read_recipe(config_files.get_config("digits_stn", "smoke"), sources=sets())
    whole = next(recipe.batches(3))
    halves = [next(recipe.batches(3, process_index=index, process_count=2)) for index in range(2)]
    np.testing.assert_array_equal(np.concatenate([half["image"] for half in halves]), whole["image"])


def test_sets_of_different_classes_are_refused():
    train, _ = sets()
    other = data.Arrays(np.zeros((2, 28, 28, 1), np.uint8), np.array([0, 1]), ("a", "b"))
    with pytest.raises(ValueError, match="the training and the test set must have the same classes"):
        read_recipe(config_files.get_config("digits_stn", "smoke"), sources=(train, other))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objective": {"name": "consistency", "weight": -1.0, "margin": 1.0}}, "weight must be above 0"),
        ({"objective": {"name": "consistency", "weight": float("nan"), "margin": 1.0}}, "weight must be above 0"),
        ({"objective": {"name": "consistency", "weight": 1.0, "margin": -3.0}}, "margin must be at least 0"),
        ({"objective": {"name": "distillation", "temperature": 0.0}}, "temperature must be above 0"),
        ({"objective": {"name": "distillation", "heads": -0.5}}, "heads must be at least 0"),
        ({"objective": {"name": "distillation", "soft": float("nan")}}, "soft must be at least 0"),
        (
            {"objective": {"name": "distillation", "attention": 0.0, "heads": 0.0, "soft": 0.0}},
            "must be above 0, not all of them 0, or nothing is learned",
        ),
    ],
)
def test_numbers_of_an_objective_that_make_no_sense_are_named(change, words):
    config = config_files.get_config("digits_stn", "smoke")
    with config.unlocked():
        config.update(change)
    with pytest.raises(ValueError, match=rf"^config\.objective: .*{words}"):
        check_config(config)


def test_an_objective_without_its_weight_is_refused():
    config = config_files.get_config("digits_stn", "smoke")
    with config.unlocked():
        config.objective = {"name": "consistency"}
    with pytest.raises(ValueError, match=r"^config\.objective must have 'weight'.*, for which there is no default$"):
        check_config(config)


def test_a_dtype_that_no_network_computes_in_is_refused():
    config = config_files.get_config("digits_stn", "smoke")
    config.dtype = "float16"
    with pytest.raises(ValueError, match=r"^config\.dtype must be one of 'float32', 'bfloat16', not 'float16'; did"):
        check_config(config)


def test_a_network_that_is_nothing_is_refused():
    config = config_files.get_config("digits_stn", "smoke")
    with config.ignore_type(), config.unlocked():
        config.network = None
    with pytest.raises(ValueError, match=r"^config\.network must be a dictionary with a name, not None"):
        check_config(config)
