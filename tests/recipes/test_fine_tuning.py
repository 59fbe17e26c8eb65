"""What fine-tuning asks for: smoothed labels, weighted classes, slow or frozen trunks, averaged parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from config_files import get_config, read
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import recipes, train
from vtnjax.recipes import CrossEntropy, Distillation
from vtnjax.train.state import named_leaves

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 4))
LABELS = RNG.integers(0, 4, 6)
WEIGHTS = (0.5, 2.0, 1.0, 3.0)


def loop(logits, labels, smoothing, weights):
    """Image by image, and label by label."""
    total, norm = np.zeros(logits.shape[1]), np.zeros(logits.shape[1])
    for row, own in zip(logits, labels, strict=True):
        for k, (scores, label) in enumerate(zip(row, own, strict=True)):
            chances = np.exp(scores) / np.exp(scores).sum()
            target = np.full(len(scores), smoothing / len(scores))
            target[label] += 1 - smoothing
            weight = weights[label] if weights else 1.0
            total[k] -= weight * (target * np.log(chances)).sum()
            norm[k] += weight
    return total.sum() / norm.sum() * len(norm)


@pytest.mark.parametrize("weights", [(), WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("several", [1, 3])
@pytest.mark.daily("3-0.0-weights1", "3-0.1-weights1")
def test_the_loss_is_that_of_plain_loops(x64, smoothing, weights, several):
    logits, labels = RNG.normal(size=(6, several, 4)), RNG.integers(0, 4, (6, several))
    chosen = CrossEntropy(label_smoothing=smoothing, class_weights=weights)
    given = (logits[:, 0], labels[:, 0]) if several == 1 else (logits, labels)
    found = jax.jit(chosen.cross_entropy)(*map(jnp.asarray, given))
    assert_allclose(found, loop(logits, labels, smoothing, weights), rtol=1e-12)


@pytest.mark.slow
def test_parts_of_an_image_count_as_their_class_does():
    master, part = (jnp.asarray(RNG.normal(size=shape), jnp.float32) for shape in ((6, 4), (6, 2, 4)))
    out = {"master_logits": master, "part_logits": part, "shared_part_logits": part}
    chosen = Distillation(soft=0.0, attention=0.0, heads=1.0, class_weights=WEIGHTS, label_smoothing=0.1)
    loss, _ = chosen.terms(master, out, jnp.asarray(LABELS))
    whole = loop(np.asarray(master)[:, None], LABELS[:, None], 0.1, WEIGHTS)
    parts = loop(np.asarray(part), np.stack([LABELS] * 2, 1), 0.1, WEIGHTS) / 2
    assert_allclose(loss, 2 * whole + 2 * parts, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"label_smoothing": 1.0}, "config.label_smoothing must be at least 0 and below 1, not 1.0"),
        ({"class_weights": (1.0, -1.0)}, r"class_weights must be above 0 and finite, not \(1.0, -1.0\)"),
        ({"class_weights": (1.0, 2.0)}, "config.class_weights must be 10 numbers, one a class, not 2"),
        ({"ema": 1.0}, "config.ema must be at least 0 and below 1, not 1.0"),
        ({"micro_batches": 0}, "config.micro_batches must be a whole number of at least 1, not 0"),
        (
            {"micro_batches": 3},
            "config.micro_batches must cut a device's .* records of image into equal parts, not into 3",
        ),
        ({"trunk_multiplier": -1.0}, "config.trunk_multiplier must be at least 0 and finite, not -1.0"),
        ({"trunk_multiplier": 0.5}, "config.trunk_multiplier must be 1 for a network without a trunk, not 0.5"),
    ],
)
@pytest.mark.daily("options1-*", "options2-*", "options4-*", "options7-*")
def test_wrong_numbers_are_a_sentence(options, said):
    config = get_config("digits_stn", "smoke")
    config.update(options)
    with pytest.raises(ValueError, match=said):
        read(config, "digits_stn", "smoke").network(0)


@pytest.mark.slow
@pytest.mark.parametrize("multiplier", [0.0, 0.25])
@pytest.mark.parametrize("name", ["composites:smoke,warp=stn", "cub_vtn:smoke,backbone=resnet18,warp=stn"])
def test_a_trunk_learns_at_its_own_rate_or_not_at_all(name, multiplier):
    """At 0 its statistics stay too."""
    config = get_config(*name.split(":"))
    config.update({"optimiser": "sgd", "weight_decay": 0.1, "trunk_multiplier": multiplier, "warmup_steps": 0})
    config.update({"clip_norm": 0.0, "schedule": "constant"})
    moved, kept = step_of(config)
    trunk = {name for name in moved if name.startswith("backbone")}
    assert trunk
    assert not kept if multiplier else kept
    if not multiplier:
        assert not any(moved[name].any() for name in trunk)
        assert all(moved[name].any() for name in moved if name.startswith("classifier"))
        return
    config.trunk_multiplier = 1.0
    free, _ = step_of(config)
    for name in moved:
        assert_allclose(moved[name], (multiplier if name in trunk else 1) * free[name], atol=1e-6, err_msg=name)


def step_of(config):
    """How far each parameter moved, and whether the trunk's statistics stayed."""
    recipe = recipes.read_recipe(config)
    optimiser = train.make_optimiser(config, recipe.rates)
    graphdef, state = train.create_state(recipe.network(0), optimiser, 0)
    batch = {name: jnp.asarray(array) for name, array in next(recipe.batches(0)).items()}
    after, _ = jax.jit(recipe.training_step(graphdef, optimiser))(state, batch)
    before, now = (named_leaves(each.params) for each in (state, after))
    statistics = [
        {n: s for n, s in named_leaves(each.statistics).items() if "backbone" in n} for each in (state, after)
    ]
    stayed = all(np.array_equal(each, statistics[1][name]) for name, each in statistics[0].items())
    return {name: np.asarray(now[name] - leaf, np.float64) for name, leaf in before.items()}, stayed


@pytest.mark.slow
def test_a_run_with_an_average_is_evaluated_with_it():
    config = get_config("digits_stn", "smoke")
    config.ema = 0.5
    recipe = read(config, "digits_stn", "smoke")
    optimiser = optax.sgd(0.5)
    graphdef, state = train.create_state(recipe.network(0), optimiser, 0, average=True)
    batch = {name: jnp.asarray(array) for name, array in next(recipe.batches(0)).items()}
    after, _ = jax.jit(recipe.training_step(graphdef, optimiser))(state, batch)
    first, new, averaged = (named_leaves(each) for each in (state.params, after.params, after.average))
    for name in first:
        assert_allclose(averaged[name], 0.1 * first[name] + 0.9 * new[name], atol=1e-6)
    network = named_leaves(nnx.state(train.merged(graphdef, after), nnx.Param))
    for name in network:
        assert_array_equal(network[name], averaged[name])


def test_parts_hold_whole_groups_of_a_class(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    config = get_config("scenes", "smoke,trunk=small,warp=vtn")  # 8 images, 2 of a class side by side
    for count in (2, 4):
        config.micro_batches = count
        assert read(config, "scenes", "smoke").micro_batches == count
    config.micro_batches = 8
    with pytest.raises(ValueError, match="equal parts, whole groups of 2 images of a class, not into 8"):
        read(config, "scenes", "smoke")
