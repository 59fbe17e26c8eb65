"""Heads of second-order pooling: in the configs that name them, with every warp, and how they are trained."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import train_runs as runs
from config_files import get_config, read, shapes
from flax import nnx

from vtnjax import train
from vtnjax.recipes import FEATURE_WARPS, POOLINGS
from vtnjax.recipes.networks import parameter_rates
from vtnjax.train.state import named_leaves

# How many numbers each head makes of so many channels.
SIZES = {
    "bp": lambda channels: channels**2,
    "cbp": lambda _: 8192,
    "kp": lambda channels: 1 + channels + 3 * 4096,
    "mpncov": lambda _: 32_896,
    "isqrt": lambda _: 32_896,
}
ALL = [(head, warp) for head in SIZES for warp in FEATURE_WARPS]


@pytest.mark.parametrize(("head", "warp"), ALL, ids=["-".join(pair) for pair in ALL])
@pytest.mark.daily("kp-vtn", "isqrt-none")
def test_every_head_reads_what_every_warp_makes(head, warp):
    """Nothing is computed."""
    config = get_config("composites", f"smoke,warp={warp}")
    with config.unlocked():
        config.network.head = {"name": head}
    recipe = read(config, "composites", "smoke")
    params, _, (logits, out) = shapes(recipe, optax.sgd(0.1))
    size = SIZES[head](out["features"].shape[-1])
    assert params["params/classifier/linear/kernel"].shape == (size, len(recipe.train.classes))
    assert logits.shape == (config.batch_size, len(recipe.train.classes))
    assert out["warped"].shape == out["features"].shape


LEARNT = sorted({*itertools.product(SIZES, ("none", "vtn")), *(("isqrt", warp) for warp in FEATURE_WARPS)})
FEW = {"cbp": {"size": 16}, "kp": {"size": 16}, "mpncov": {"reduced": 4}, "isqrt": {"reduced": 4}}


@pytest.mark.slow
@pytest.mark.parametrize(("head", "warp"), LEARNT, ids=["-".join(pair) for pair in LEARNT])
def test_every_head_learns_alone_and_with_a_vtn_and_roots_with_every_warp(head, warp):
    """Two steps of real numbers, with few of them in the head."""
    config = get_config("composites", f"smoke,warp={warp}")
    with config.unlocked():
        config.network.head = {"name": head, **FEW.get(head, {})}
    recipe = read(config, "composites", "smoke")
    optimiser = train.make_optimiser(config, recipe.rates)
    graphdef, state = train.create_state(recipe.network(0), optimiser, 0)
    before = jax.tree.map(jnp.copy, state.params)
    step = jax.jit(recipe.training_step(graphdef, optimiser))
    for batch in itertools.islice(recipe.batches(0), 2):
        with jax.numpy_dtype_promotion("standard"):  # of optax's schedules
            state, metrics = step(state, batch)
    assert np.isfinite(metrics["loss"])
    assert metrics["gradient_norm"] > 0
    name = "classifier/linear/kernel"
    changed = {path for path, leaf in named_leaves(state.params).items() if (leaf != named_leaves(before)[path]).any()}
    assert any(name in path for path in changed)
    assert any("backbone" in path for path in changed)


@pytest.mark.parametrize("head", POOLINGS)
@pytest.mark.parametrize("warp", ["none", "vtn"])
@pytest.mark.daily("vtn-isqrt")
def test_both_nets_of_a_tasn_pool_what_they_warp(head, warp):
    config = get_config("cub_tasn", f"smoke,backbone=squeezenet,head={head},warp={warp}")
    recipe = read(config, "cub_tasn", "smoke")
    params, metrics, (_, out) = shapes(recipe, optax.sgd(0.1))
    assert ("consistency" in metrics) == ("warped_features" in out) == (warp == "vtn")
    sizes = {params[f"params/{name}_head/kernel"].shape[0] for name in ("master", "part", "shared")}
    assert sizes == {SIZES[head](512)}


def test_roots_of_covariances_read_a_resnet_whose_last_stage_keeps_the_resolution():
    for head, strides in (("isqrt", (1, 2, 2, 1)), ("mpncov", (1, 2, 2, 1)), ("cbp", None), ("pooled", None)):
        assert get_config("cub_vtn", f"head={head}").network.trunk.get("strides") == strides
        assert get_config("cub_tasn", f"head={head}").network.trunk.get("strides") == strides
    assert "strides" not in get_config("cub_vtn", "head=isqrt,backbone=vgg16").network.trunk


def test_only_many_channels_are_reduced_before_their_products():
    assert get_config("cub_vtn", "head=bp").network.head.reduced == 512
    assert "reduced" not in get_config("cub_vtn", "head=bp,backbone=vgg16").network.head


def test_the_schedules_are_those_of_the_heads_authors():
    isqrt, mpncov, cbp = (get_config("cub_vtn", f"head={head}") for head in ("isqrt", "mpncov", "cbp"))
    assert (isqrt.schedule, mpncov.schedule, cbp.schedule) == ("constant", "constant", "step")
    assert isqrt.steps == mpncov.steps == 100 * (5994 // 32)
    assert cbp.head_alone_steps == cbp.steps // 3
    isqrt.batch_size, mpncov.batch_size = 10, 120
    assert (isqrt.learning_rate, mpncov.learning_rate) == pytest.approx((1.2e-3, 3.162e-3), rel=1e-3)
    pooled = get_config("cub_vtn", "")
    assert (pooled.head_multiplier, pooled.head_alone_steps) == (1.0, 0)
    assert "flip" not in pooled.evaluation


# ---- Rates


def test_heads_have_a_rate_of_their_own_and_learn_alone_at_first():
    rates = parameter_rates(get_config("cub_vtn", "head=cbp"))
    alone = get_config("cub_vtn", "head=cbp").head_alone_steps
    assert rates(("classifier", "linear", "kernel")) == (10.0, 0)
    assert rates(("backbone", "stem", "conv", "kernel")) == (1.0, alone)
    assert rates(("transformer", "head", "kernel")) == (1.0, alone)
    rates = parameter_rates(get_config("cub_tasn", "head=isqrt,warp=vtn"))
    assert rates(("pooling", "reduction", "conv", "kernel")) == (5.0, 0)
    assert rates(("part_head", "kernel")) == (5.0, 0)
    assert rates(("attention_network", "classifier", "kernel")) == (1.0, 0)
    assert rates(("trunk", "classifier", "kernel")) == (1.0, 0)


@pytest.mark.slow
def test_what_is_no_head_stays_as_it_was_until_its_first_step():
    config = get_config("composites", "smoke,warp=none")
    config.head_multiplier, config.head_alone_steps = 10.0, 2
    recipe = read(config, "composites", "smoke")
    optimiser = train.make_optimiser(config, recipe.rates)
    graphdef, state = train.create_state(recipe.network(0), optimiser, 0)
    step = jax.jit(train.make_train_step(graphdef, optimiser, recipe.prepare, recipe.objective))
    batches, seen = recipe.batches(0), [named(state)]
    for _ in range(3):
        with jax.numpy_dtype_promotion("standard"):  # as Adam needs it
            state, _ = step(state, jax.tree.map(jnp.asarray, next(batches)))
        seen.append(named(state))
    moved = [  # by each step
        {name for name in seen[0] if (after[name] != before[name]).any()} for before, after in itertools.pairwise(seen)
    ]
    heads = {name for name in seen[0] if name.startswith("classifier")}
    assert moved[0] == moved[1] == heads
    assert moved[2] > heads


def named(state):
    return {name: np.asarray(leaf) for name, leaf in named_leaves(state.params).items()}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"head_multiplier": 0.0}, "config.head_multiplier must be above 0 and finite, not 0.0"),
        ({"head_alone_steps": -1}, "config.head_alone_steps must be a whole number of at least 0, not -1"),
        ({"network": {"head": {"size": 0}}}, "config.network.head: size must be a whole number of at least 1, not 0"),
    ],
)
@pytest.mark.daily("change0-*", "change2-*")
def test_numbers_that_make_no_sense_are_named(change, sentence):
    config = get_config("cub_vtn", "smoke,backbone=squeezenet,head=cbp,warp=none")
    with config.unlocked():
        config.update(change)
    with pytest.raises(ValueError, match=sentence):
        nnx.eval_shape(lambda: read(config, "cub_vtn", "smoke").network(0))


def test_a_network_without_a_head_of_its_own_has_no_rate_for_it():
    config = get_config("digits_stn", "smoke")
    config.head_multiplier = 10.0
    with pytest.raises(ValueError, match=r"head_multiplier must be 1 .* for a network without a head of its own"):
        read(config, "digits_stn", "smoke").network(0)


def test_a_tasn_that_warps_no_features_has_no_consistency():
    config = get_config("cub_tasn", "smoke,backbone=squeezenet,warp=vtn")
    with config.unlocked():
        config.network.warp = {"name": "none"}
    with pytest.raises(ValueError, match="must not be 'consistent_distillation' for a network that does not warp its"):
        shapes(read(config, "cub_tasn", "smoke"), optax.sgd(0.1))


# ---- Whole runs


@pytest.mark.slow
def test_a_killed_run_with_a_sketch_ends_as_if_never_killed(tmp_path):
    config = "configs/cub_vtn.py:smoke,backbone=squeezenet,head=cbp,warp=none"
    options = {"config": config, "log_every": 2, "eval_every": 20, "checkpoint_every": 3, "head_alone_steps": 4}
    runs.assert_ends_as_if_never_killed(tmp_path, "loss", kill_at=8, steps=20, **options)


@pytest.mark.slow
def test_a_checkpoint_holds_the_sketch_and_no_other_fits(tmp_path):
    config = "configs/cub_vtn.py:smoke,backbone=squeezenet,head=cbp,warp=none"
    said, _ = runs.run(tmp_path, config=config, steps=2, **{"network.head.size": 64})
    assert "(of images and their mirror images)" in said.splitlines()[-1]
    held = runs.arrays(tmp_path, 2)
    hashes = next(value for name, value in held.items() if "hashes" in name)
    assert hashes.shape == (2, 512)
    assert hashes.max() < 64
    changed = json.loads((tmp_path / "config.json").read_text())
    changed["network"]["head"]["size"] = 32
    (tmp_path / "config.json").write_text(json.dumps(changed))
    said = runs.complaint(tmp_path, config=config, steps=2, **{"network.head.size": 32})
    assert "classifier" in said
    assert "64" in said
    assert "32" in said
