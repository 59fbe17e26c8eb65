"""The configs of warped features: every variant builds, and some run."""

import numpy as np
import optax
import pytest
import train_runs as runs
from config_files import get_config, read, shapes

from vtnjax.recipes import PICTURES, Consistency

# Every row of VTN's Table 1.
ABLATIONS = ("mixing", "grouping", "probability", "consistency")
WARPS = ("none", "stn", "ssn", "asn", "deformable", "vtn")
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
@pytest.mark.daily("*squeezenet*")
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
@pytest.mark.daily("warp=none", "warp=affine_groups")
def test_composites_build(variant):
    assert_builds("composites", f"smoke,{variant}", "smoke")


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["model=vtn_two,frozen", "model=affine_channels,label=sum", "model=2xst_fcn"])
def test_two_digits_build(variant):
    label = "smoke,label=sum" if "label=sum" in variant else "smoke"
    assert_builds("two_digits", f"smoke,{variant}", label)


@pytest.mark.parametrize("variant", ["smoke,model=st_cnn", "smoke,model=fcn", "dataset=generated", "short"])
@pytest.mark.daily("smoke,model=fcn", "short")
def test_digits_in_volumes_build(variant):
    assert_builds("volume_digits", variant, "smoke")


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
    "cub_vtn:backbone=squeezenet,head=mpncov",
    "cub_vtn:backbone=resnet18,warp=deformable,dataset=aircraft",
]
SMALLER = ["two_digits:model=vtn_two", "volume_digits:model=st_fcn", "volume_digits:model=cnn"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SMOKES)
def test_smoke_runs_end_with_a_figure_and_a_picture(tmp_path, name):
    config, _, variant = name.partition(":")
    runs.assert_smoke_run_ends(tmp_path, f"configs/{config}.py:smoke,{variant}")


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLER)
def test_smaller_smoke_runs_end_with_a_figure_and_a_picture(tmp_path, name):
    config, _, variant = name.partition(":")
    options = {"steps": 4, "eval_every": 4, "log_every": 2} if config == "two_digits" else {}
    runs.assert_smoke_run_ends(tmp_path, f"{runs.SMALLER}:{config}:smoke,{variant}", **options)


@pytest.mark.slow
def test_a_killed_run_with_triplets_of_their_own_ends_as_if_never_killed(tmp_path):
    config = f"{runs.SMALLER}:composites:smoke,warp=none,consistency=unit,triplets=own"
    options = {"config": config, "log_every": 4, "eval_every": 25, "checkpoint_every": 7, "batch_size": 8}
    runs.assert_ends_as_if_never_killed(tmp_path, "consistency", kill_at=20, steps=60, **options)
