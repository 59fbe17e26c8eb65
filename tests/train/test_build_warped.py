"""The configs of warped features: every variant builds, and some run."""

import functools
import runpy
import signal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import train_runs as runs
from flax import nnx

from vtnjax import data, recipes, train
from vtnjax.train.state import named_leaves

# Every row of VTN's Table 1.
ABLATIONS = ("mixing", "grouping", "probability", "consistency")
WARPS = ("none", "stn", "ssn", "deformable", "vtn")
ROWS = [*(f"warp={warp}" for warp in WARPS), *(f"ablation={part}" for part in ABLATIONS)]
SETS = ("cub", "cars", "aircraft", "inat2017")


def get_config(name, variant):
    return runpy.run_path(str(runs.ROOT / "configs" / f"{name}.py"))["get_config"](variant)


@functools.cache
def sources(name, variant):
    return recipes.build_sources(get_config(name, variant))


def assert_builds(name, variant, of):
    """The model and a training step of a variant have the shapes they should; nothing is computed."""
    config = get_config(name, variant)
    train_set, _ = sources(name, of)
    batch = recipes.abstract_batch(config, train_set)

    def one_step(batch):
        optimiser = optax.sgd(0.1)  # optax breaks strict dtype promotion in others
        graphdef, before = train.create_state(recipes.build_model(config, train_set), optimiser, 0)
        consistency = recipes.build_objective(config)
        step = train.make_train_step(graphdef, optimiser, recipes.build_prepare(config), consistency)
        after, metrics = step(before, batch)
        return named_leaves(before), named_leaves(after), metrics

    before, after, metrics = jax.eval_shape(one_step, batch)
    assert before == after
    assert all(value.shape == () for value in metrics.values())
    assert ("consistency" in metrics) == bool(config.consistency.weight if "consistency" in config else 0)


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
    config = get_config("cub_vtn", variant)
    train_set, test_set = sources("cub_vtn", variant)
    assert test_set[0]["image"].shape == (64, 64, 3)
    batch = next(recipes.build_batches(config, train_set))
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
    config = get_config("composites", "smoke,consistency=unit,triplets=own")
    batches = recipes.build_batches(config, sources("composites", "smoke")[0])
    assert isinstance(batches, data.WithTriplets)
    batch = next(batches)
    abstract = recipes.abstract_batch(config, sources("composites", "smoke")[0])
    assert {k: (v.shape, v.dtype) for k, v in batch.items()} == {k: (v.shape, v.dtype) for k, v in abstract.items()}
    config.images_per_class = 5
    with pytest.raises(ValueError, match=r"config.images_per_class must divide the batch of 32, but it is 5"):
        recipes.build_batches(config, sources("composites", "smoke")[0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"batch_size": 16},
            r"config.batch_size must be at most 12, config.images_per_class \(2\) .* 6 classes, not 16",
        ),
        ({"images_per_class": 1}, "config.images_per_class must be at least 2 and less than config.batch_size, 8, or"),
        (
            {"images_per_class": 8},
            "less than config.batch_size, 8, or the consistency loss has no triplets, not 8",
        ),
        ({"images_per_class": 0, "triplet_batch": 8}, "config.triplet_batch must be 0 without config.images_per_class"),
        ({"triplet_batch": 16}, "config.triplet_batch must be at most 12, "),
        ({"photo": {"crop": 80}}, "config.photo: crop is 80, but it must be from 1 to size, 72"),
        ({"photo": {"rotation": -1.0}}, "config.photo: rotation is -1.0"),
    ],
)
def test_batches_that_cannot_be_are_named_by_the_configs_keys(changes, said):
    config = get_config("cub_vtn", "smoke")
    source, _ = sources("cub_vtn", "smoke")
    config.update(changes)
    with pytest.raises(ValueError, match=said):
        recipes.build_batches(config, source)


def test_without_a_consistency_loss_a_batch_may_have_an_image_of_each_class():
    config = get_config("cub_vtn", "smoke,ablation=consistency")
    config.update({"images_per_class": 1, "batch_size": 6})
    batch = next(recipes.build_batches(config, sources("cub_vtn", "smoke")[0]))
    assert sorted(batch["label"]) == list(range(6))


def test_options_of_a_warp_are_named_by_the_configs_keys():
    source, _ = sources("composites", "smoke")
    for changes, said in (
        ({"warp_options": {"temperature": 0.0}}, r"config.warp_options: temperature must be above 0, not 0\.0"),
        ({"warp": "vtm"}, "config.warp must be one of .* not 'vtm'; did you mean 'vtn'"),
        ({"warp_options": {"temprature": 1.0}}, "config.warp_options: .* unexpected keyword argument 'temprature'"),
    ):
        config = get_config("composites", "smoke")
        with config.unlocked():
            config.update(changes)
        with pytest.raises(ValueError, match=said):
            recipes.build_model(config, source)


def test_pretrained_weights_are_not_asked_for_where_a_checkpoint_has_them(tmp_path):
    config = get_config("cub_vtn", "smoke,backbone=squeezenet,warp=none")
    source, _ = sources("cub_vtn", "smoke")
    config.pretrained = str(tmp_path / "moved.pth")
    with pytest.raises((OSError, ValueError), match=r"moved\.pth"):
        recipes.build_model(config, source)
    found = nnx.state(recipes.build_model(config, source, pretrained=False), nnx.Param)
    config.pretrained = ""
    chex.assert_trees_all_equal_shapes_and_dtypes(found, nnx.state(recipes.build_model(config, source), nnx.Param))


def test_photographs_are_normalised_as_imagenets():
    config = get_config("cub_vtn", "smoke")
    found = recipes.build_input(config)(jnp.full((1, 2, 2, 3), 255, jnp.uint8))
    np.testing.assert_allclose(
        found[0, 0, 0], [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225], rtol=1e-5
    )


def test_the_papers_settings_are_the_defaults():
    config = get_config("cub_vtn", "")
    assert (config.photo.size, config.photo.crop) == (512, 448)
    options = config.warp_options
    assert (options.groups, options.window, options.temperature) == (32, (11, 11), 10.0)
    assert (config.consistency.weight, config.consistency.margin, config.consistency.positions) == (1.0, 30.0, "sum")
    assert get_config("cub_vtn", "backbone=vgg19").consistency.margin == 20.0
    assert get_config("cub_vtn", "ablation=consistency").consistency.weight == 0
    assert get_config("cub_vtn", "ablation=grouping").warp_options.groups == 2048
    with pytest.raises(ValueError, match="ablation=mixing belongs to warp=vtn, not to warp=stn"):
        get_config("cub_vtn", "warp=stn,ablation=mixing")


def test_an_unknown_trunk_and_missing_weights_are_named(tmp_path):
    config = get_config("cub_vtn", "smoke,backbone=squeezenet")
    config.pretrained = str(tmp_path / "none.safetensors")
    train_set = sources("cub_vtn", "smoke")[0]
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        recipes.build_model(config, train_set)
    config.backbone = "resnet51"
    with pytest.raises(ValueError, match="did you mean 'resnet50'"):
        recipes.build_model(config, train_set)


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
    config = get_config("composites", variant)
    source = data.load_source(config.dataset, "train", **config.source_options)
    model = nnx.eval_shape(lambda: recipes.build_model(config, source))
    return recipes.build_rates(config, model), named_leaves(nnx.state(model, nnx.Param))


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
