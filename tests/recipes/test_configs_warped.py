"""The configs of warped features: every variant builds, and some run."""

import signal

import chex
import numpy as np
import optax
import pytest
import train_runs as runs
from config_files import get_config, read, shapes
from flax import nnx

from vtnjax import data
from vtnjax.recipes import PICTURES, Consistency
from vtnjax.train.state import named_leaves

# Every row of VTN's Table 1.
ABLATIONS = ("mixing", "grouping", "probability", "consistency")
WARPS = ("none", "stn", "ssn", "deformable", "vtn")
ROWS = [*(f"warp={warp}" for warp in WARPS), *(f"ablation={part}" for part in ABLATIONS)]
SETS = ("cub", "cars", "aircraft", "inat2017")


def assert_builds(name, variant, of):
    """The model and a training step of a variant have the shapes they should; nothing is computed."""
    recipe = read(get_config(name, variant), name, of)
    _, metrics, (logits, out) = shapes(recipe, optax.sgd(0.1))  # optax breaks strict dtype promotion in others
    assert ("consistency" in metrics) == isinstance(recipe.objective, Consistency)
    assert logits.shape[-1] == len(recipe.train.classes)
    if "coords" not in out:
        assert recipe.picture in (PICTURES["gallery"], PICTURES["projections"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "row"),
    [
        *(("resnet18", row) for row in ROWS),
        ("resnet50", "warp=vtn"),
        ("vgg19", "warp=vtn"),
        ("vgg19", "ablation=grouping"),
    ],
)
def test_every_row_of_table_1_builds(backbone, row):
    assert_builds("cub_vtn", f"smoke,backbone={backbone},{row}", "smoke")


@pytest.mark.parametrize("variant", ["smoke,backbone=resnet18", "smoke,backbone=squeezenet,warp=deformable"])
def test_small_trunks_build(variant):
    assert_builds("cub_vtn", variant, "smoke")


@pytest.mark.parametrize("name", SETS)
def test_every_set_is_read_cropped_and_balanced(name):
    variant = f"smoke,dataset={name}"
    recipe = read(get_config("cub_vtn", variant), "cub_vtn", variant)
    assert recipe.test[0]["image"].shape == (64, 64, 3)
    batch = next(recipe.batches(0))
    assert batch["image"].shape == (8, 64, 64, 3)
    assert np.unique(batch["label"], return_counts=True)[1].tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize(
    "variant",
    [*(f"warp={w}" for w in ("none", "affine_groups", "vtn_one", "deformable")), "ablation=grouping,consistency=eq4"],
)
def test_composites_build(variant):
    assert_builds("composites", f"smoke,{variant}", "smoke")


@pytest.mark.parametrize("variant", ["model=vtn_two,frozen", "model=affine_channels,label=sum", "model=2xst_fcn"])
def test_two_digits_build(variant):
    label = "smoke,label=sum" if "label=sum" in variant else "smoke"
    assert_builds("two_digits", f"smoke,{variant}", label)


@pytest.mark.parametrize("variant", ["smoke,model=st_cnn", "smoke,model=fcn", "dataset=generated", "short"])
def test_digits_in_volumes_build(variant):
    assert_builds("volume_digits", variant, "smoke")


def test_triplets_of_their_own_come_beside_shuffled_batches():
    recipe = read(get_config("composites", "smoke,consistency=unit,triplets=own"), "composites", "smoke")
    batches = recipe.batches(0)
    assert isinstance(batches, data.WithTriplets)
    found = {name: (array.shape, array.dtype) for name, array in next(batches).items()}
    assert found == {name: (spec.shape, spec.dtype) for name, spec in recipe.spec.items()}


def balanced(each, triplets=None):
    own = {} if triplets is None else {"name": "with_triplets", "triplet_batch": triplets}
    return {"batches": {"images_per_class": each, **own}}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"batch_size": 16},
            r"config.batch_size must be at most 12, config.batches.images_per_class \(2\) .* 6 classes, not 16",
        ),
        (balanced(1), "config.batches.images_per_class must be at least 2 and less than config.batch_size, 8, or"),
        (balanced(8), "less than config.batch_size, 8, or the consistency loss has no triplets, not 8"),
        (balanced(5), "config.batches.images_per_class must divide the batch of 8, not 5"),
        (balanced(0), "config.batches: images_per_class must be a whole number of at least 1, not 0"),
        (balanced(2, 16), "config.batches.triplet_batch must be at most 12, "),
        (balanced(2, -8), "config.batches: triplet_batch must be a whole number of at least 1, not -8"),
        ({"input": {"crop": 80}}, "config.input: crop must be from 1 to size, 72, not 80"),
    ],
)
def test_batches_that_cannot_be_are_named_by_the_configs_keys(changes, said):
    config = get_config("cub_vtn", "smoke")
    config.update(changes)
    with pytest.raises(ValueError, match=said):
        read(config, "cub_vtn", "smoke")


def test_without_a_consistency_loss_a_batch_may_have_an_image_of_each_class():
    config = get_config("cub_vtn", "smoke,ablation=consistency")
    config.update({"batches": {"images_per_class": 1}, "batch_size": 6})
    batch = next(read(config, "cub_vtn", "smoke").batches(0))
    assert sorted(batch["label"]) == list(range(6))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"warp": {"temperature": 0.0}}, r"config.network.warp: temperature must be above 0, not 0\.0"),
        ({"warp": {"name": "vtm"}}, "config.network.warp.name must be one of .* not 'vtm'; did you mean 'vtn'"),
        ({"warp": {"temprature": 1.0}}, "config.network.warp: .* unexpected keyword argument 'temprature'"),
        (
            {"head": {"name": "flt"}},
            "config.network.head.name must be one of 'pooled', 'flat', not 'flt'; did you mean",
        ),
        ({"head": {"width": -1.0, "hat": 1}}, "config.network.head: .* unexpected keyword argument 'hat'"),
        ({"trunk": {"widths": (4, 8), "name": "smal"}}, "config.network.trunk.name must be .* did you mean 'small'"),
        ({"trunk": {"strides": 2}}, "config.network.trunk: .* unexpected keyword argument 'strides'"),
        ({"tail": 1}, "config.network: .* unexpected keyword argument 'tail'"),
        (
            {"name": "warped_map"},
            "config.network.name must be one of .*, not 'warped_map'; did you mean 'warped_features'",
        ),
    ],
)
def test_options_of_a_network_are_named_by_the_configs_keys(changes, said):
    config = get_config("composites", "smoke")
    with config.unlocked():
        config.network.update(changes)
    with pytest.raises(ValueError, match=said):
        read(config, "composites", "smoke").network(0)


@pytest.mark.parametrize("head", ["pooled", "flat"])
@pytest.mark.parametrize("trunk", ["small", "resnet18"])
@pytest.mark.parametrize("warp", ["stn", "asn", "deformable"])
def test_any_warp_and_any_head_go_with_any_trunk(warp, trunk, head):
    config = get_config("cub_vtn", "smoke,warp=none")
    config.network.warp.name, config.network.head.name = warp, head
    widths = {"widths": (4, 8, 8)} if trunk == "small" else {}
    config.network.trunk = {"name": trunk, **widths}
    _, _, (logits, out) = shapes(read(config, "cub_vtn", "smoke"), optax.sgd(0.1))
    assert (logits.shape, "coords" in out) == ((8, 6), warp != "deformable")


def test_pretrained_weights_are_not_asked_for_where_a_checkpoint_has_them(tmp_path):
    config = get_config("cub_vtn", "smoke,backbone=squeezenet,warp=none")
    config.pretrained = str(tmp_path / "moved.pth")
    recipe = read(config, "cub_vtn", "smoke")
    with pytest.raises((OSError, ValueError), match=r"moved\.pth"):
        recipe.network(0)
    found = nnx.state(recipe.network(0, pretrained=False), nnx.Param)
    config.pretrained = ""
    wanted = nnx.state(read(config, "cub_vtn", "smoke").network(0), nnx.Param)
    chex.assert_trees_all_equal_shapes_and_dtypes(found, wanted)


def test_a_small_trunk_has_no_pretrained_weights():
    config = get_config("composites", "smoke")
    config.pretrained = "timm/resnet18"
    with pytest.raises(ValueError, match=r"config.pretrained must be empty for the trunk 'small', not 'timm/resnet18'"):
        read(config, "composites", "smoke").network(0)


def test_the_papers_settings_are_the_defaults():
    config = get_config("cub_vtn", "")
    assert (config.input.size, config.input.crop) == (512, 448)
    warp = config.network.warp
    assert (warp.groups, warp.window, warp.temperature) == (32, (11, 11), 10.0)
    objective = config.objective
    assert (objective.weight, objective.margin, objective.positions) == (1.0, 30.0, "sum")
    assert get_config("cub_vtn", "backbone=vgg19").objective.margin == 20.0
    assert get_config("cub_vtn", "ablation=consistency").objective.name == "cross_entropy"
    assert get_config("cub_vtn", "ablation=grouping").network.warp.groups == 2048
    with pytest.raises(ValueError, match="ablation=mixing belongs to warp=vtn, not to warp=stn"):
        get_config("cub_vtn", "warp=stn,ablation=mixing")


def test_steps_in_epochs_follow_the_batch():
    config = get_config("cub_vtn", "")
    assert (config.steps, config.eval_every) == (180 * (5994 // 32), 5 * (5994 // 32))
    config.batch_size = 64
    assert (config.steps, config.eval_every, config.checkpoint_every) == (180 * 93, 5 * 93, 5 * 93)
    config.steps = 7
    config.batch_size = 32
    assert (config.steps, config.eval_every) == (7, 5 * 187)


# ---- Whole runs

SMOKES = [
    "cub_vtn:backbone=squeezenet",
    "cub_vtn:backbone=resnet18,warp=deformable,dataset=aircraft",
    "two_digits:model=vtn_two",
    "volume_digits:model=st_fcn",
    "volume_digits:model=cnn",
]


@pytest.mark.slow
@pytest.mark.parametrize("name", SMOKES)
def test_smoke_runs_end_with_a_figure_and_a_picture(tmp_path, name):
    config, _, variant = name.partition(":")
    out, _ = runs.run(tmp_path, config=f"configs/{config}.py:smoke,{variant}")
    assert out.splitlines()[-1].startswith("finished: step ")
    assert "test/accuracy" in runs.metrics(tmp_path)[-1]
    assert (tmp_path / "figures" / "test.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_killed_run_with_triplets_of_their_own_ends_as_if_never_killed(tmp_path):
    options = {
        "config": "configs/composites.py:smoke,warp=none,consistency=unit,triplets=own",
        "steps": 60,
        "log_every": 4,
        "eval_every": 25,
        "checkpoint_every": 7,
    }
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    runs.run(unbroken, **options)
    process = runs.start(killed, **options)
    runs.stop_when(process, runs.reached(killed, 20))
    assert process.wait(60) == -signal.SIGKILL
    runs.kill(process)
    out, _ = runs.run(killed, **options)
    assert "resuming from step" in out
    runs.assert_same_run(killed, unbroken, 60)
    assert all("train/consistency" in line for line in runs.metrics(killed) if "train/loss" in line)


def made_rates(variant):
    recipe = read(get_config("composites", variant), "composites", "smoke")
    model = nnx.eval_shape(lambda: recipe.network(0))
    return recipe.rates, named_leaves(nnx.state(model, nnx.Param))


@pytest.mark.parametrize(
    ("warp", "frozen"), [("deformable", "predictor"), ("vtn", "transformer"), ("stn", "transformer")]
)
def test_frozen_reaches_what_places_the_warp_and_nothing_else(warp, frozen):
    rates, params = made_rates(f"smoke,warp={warp},frozen")
    factors = {name: rates(tuple(name.split("/")))[0] for name in params}
    assert {name for name, factor in factors.items() if factor == 0} == {name for name in params if frozen in name}
    assert {*factors.values()} == {0.0, 1.0}


def test_freezing_a_network_that_warps_nothing_is_refused():
    with pytest.raises(ValueError, match="localiser_multiplier must be 1 for a network that warps nothing"):
        made_rates("smoke,warp=none,frozen")


def test_frozen_statistics_are_those_of_the_trunk():
    config = get_config("cub_vtn", "smoke,backbone=resnet18,warp=vtn")
    config.frozen_statistics = True
    frozen = read(config, "cub_vtn", "smoke").frozen_statistics
    assert frozen(("backbone", "stem", "norm"))
    assert not frozen(("transformer", "norms", "0"))


def test_frozen_statistics_of_a_network_without_any_are_refused():
    config = get_config("cub_vtn", "smoke,backbone=squeezenet,warp=none")
    config.frozen_statistics = True
    with pytest.raises(ValueError, match=r"config.frozen_statistics must be False for a network without a trunk that"):
        read(config, "cub_vtn", "smoke").network(0)
