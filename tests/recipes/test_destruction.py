"""DCL's losses inside the training step, and configs/cub_dcl.py."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from config_files import get_config, read, shapes
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import distort
from vtnjax.recipes import Consistency, ConsistentDestruction, Destruction
from vtnjax.recipes.networks import parameter_rates

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.normal(size=(4, 6, 6, 2)), jnp.float32)
BATCH = {"image": IMAGES, "label": jnp.array([0, 2, 2, 0])}
KEY = jax.random.key(7)
OPTIONS = {"reach": 2, "scheme": "reference"}


class Told(nnx.Module):
    """A network whose outputs are sums over parts of the image; it keeps what it was shown."""

    regions = 3

    def __init__(self, adversaries=6):
        self.adversaries, self.shown = adversaries, nnx.data([])

    def __call__(self, image):
        self.shown.append(image)
        sums = image.sum((1, 2)) + 9 * image[:, 0, 0]  # what a shuffled image has otherwise
        logits, adversarial = (jnp.tile(sums, (1, n // 2 + 1))[:, :n] * 0.1 for n in (3, self.adversaries))
        places = image[:, ::2, ::2, 0]
        return logits, {"adversarial": adversarial, "places": places, "features": image, "warped": image * 3}


def cross_entropy(logits, labels):
    logits = np.asarray(logits, np.float64)
    return np.mean(np.log(np.exp(logits).sum(-1)) - logits[np.arange(len(labels)), labels])


@pytest.mark.parametrize("adversaries", [6, 2])
@pytest.mark.daily("2")
def test_the_loss_is_the_sum_over_images_as_they_are_and_shuffled(adversaries):
    @jax.jit
    def run(batch):
        network = Told(adversaries)
        return *Destruction(adversarial=0.5, location=0.2, **OPTIONS)(network, batch, KEY), network.shown

    loss, logged, (shown,) = run(BATCH)
    key = jax.random.fold_in(KEY, 3)
    shuffle = jax.jit(functools.partial(distort.shuffle_regions, regions=3, **OPTIONS))
    shuffled, came = zip(*map(shuffle, jax.random.split(key, 4), IMAGES), strict=True)
    assert_array_equal(shown[::2], IMAGES)
    assert_allclose(shown[1::2], jnp.stack(shuffled), atol=1e-6)
    assert not np.allclose(shown[1::2], IMAGES)

    logits, out = Told(adversaries)(shown)
    labels = np.repeat(np.asarray(BATCH["label"]), 2)
    told = labels + np.tile([0, 3], 4) if adversaries == 6 else np.tile([1, 0], 4)
    places = np.stack([each for pair in zip([np.arange(9).reshape(3, 3)] * 4, came, strict=True) for each in pair])
    location = np.mean(np.abs(np.tanh(np.asarray(out["places"])) - (places - 4) / 9))
    adversarial = cross_entropy(out["adversarial"], told)
    assert_allclose(logged["adversarial_loss"], adversarial, rtol=1e-5)
    assert_allclose(logged["location_loss"], location, rtol=1e-5)
    assert_allclose(loss, cross_entropy(logits, labels) + 0.5 * adversarial + 0.2 * location, rtol=1e-5)
    right = np.asarray(logits)[::2].argmax(-1) == np.asarray(BATCH["label"])
    assert_allclose(logged["accuracy"], right.mean())


@pytest.mark.slow
def test_the_consistency_loss_is_that_of_images_as_they_are():
    options = {"weight": 0.3, "margin": 1.0, "positions": "mean", "normalise": False}
    loss, logged = ConsistentDestruction(**options, **OPTIONS)(Told(), BATCH, KEY)
    plain, _ = Destruction(**OPTIONS)(Told(), BATCH, KEY)
    alone = Consistency(**options).consistency(None, {"warped": IMAGES * 3}, BATCH, KEY)
    assert alone > 0
    assert_allclose(logged["consistency"], alone, rtol=1e-6)
    assert_allclose(loss, plain + 0.3 * alone, rtol=1e-6)


def test_each_step_shuffles_anew():
    @jax.jit
    def shown(key):
        network = Told()
        Destruction()(network, BATCH, key)
        return network.shown[0]

    first, second = map(shown, jax.random.split(KEY, 2))
    assert not np.allclose(first[1::2], second[1::2])


def test_a_network_that_places_nothing_is_refused():
    class Plain(nnx.Module):
        pass

    with pytest.raises(ValueError, match=r"objective.name must not be 'destruction' for a network other than 'dcl'"):
        Destruction()(Plain(), BATCH, KEY)


def test_images_with_several_labels_are_refused():
    with pytest.raises(ValueError, match=r"objective.name must not be 'destruction' for images with several labels"):
        Destruction()(Told(), {**BATCH, "label": jnp.zeros((4, 2), jnp.int32)}, KEY)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"location": -1.0}, "location must be at least 0 and finite, not -1.0"),
        ({"adversarial": -0.5}, "adversarial must be at least 0 and finite, not -0.5"),
        ({"reach": -1}, "reach must be a whole number of at least 0, not -1"),
        ({"reach": 1.5}, "reach must be a whole number of at least 0, not 1.5"),
        ({"scheme": "none"}, "scheme must be one of 'paper', 'reference', not 'none'"),
    ],
)
def test_bad_options_are_refused(options, sentence, untyped):
    with pytest.raises(ValueError, match=sentence):
        Destruction(**options)


# ---- The configs

VARIANTS = list(itertools.product(("none", "vtn", "stn"), ("classifier", "all"), ("reference", "paper")))


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS, ids="-".join)
def test_every_variant_takes_a_step(variant):
    """Nothing is computed."""
    warp, predict, scheme = variant
    variants = f"smoke,backbone=resnet18,warp={warp},predict={predict},scheme={scheme}"
    config = get_config("cub_dcl", variants)
    recipe = read(config, "cub_dcl", "smoke")
    params, metrics, (logits, out) = shapes(recipe, optax.sgd(0.1))
    classes = len(recipe.train.classes)
    assert params["params/adversary/kernel"].shape == (512, 2 * classes)
    assert logits.shape == (8, classes)
    assert out["places"].shape == (8, 7, 7)
    assert ("coords" in out) == (warp != "none")
    assert {"adversarial_loss", "location_loss", "accuracy"} <= set(metrics)
    assert ("consistency" in metrics) == (warp == "vtn")


def test_the_recipe_is_the_reference_codes():
    config = get_config("cub_dcl")
    steps = 5994 // 16
    assert config.steps == 360 * steps
    assert (config.learning_rate, config.momentum, config.weight_decay, config.head_multiplier) == (
        8e-4,
        0.9,
        0.0,
        10.0,
    )
    assert config.decay_factor == 0.1
    assert_allclose(np.array(config.boundaries) * 360, [60, 120, 180, 240, 300])
    of = parameter_rates(config)
    assert of is not None
    assert [of((name,))[0] for name in ("classifier", "adversary", "locator", "backbone")] == [10.0] * 3 + [1.0]
    sets = ("cub", "cars", "aircraft")
    assert [get_config("cub_dcl", f"dataset={name}").objective.location for name in sets] == [1.0, 0.01, 0.01]


@pytest.mark.parametrize("warp", ["none", "vtn"])
@pytest.mark.daily("none")
def test_scenes_are_learned_by_destruction_too(warp):
    variant = f"smoke,trunk=small,dcl,warp={warp}"
    recipe = read(get_config("scenes", variant), "scenes", "smoke,trunk=small")
    _, metrics, (_, out) = shapes(recipe, optax.sgd(0.1))
    assert "location_loss" in metrics
    assert ("consistency" in metrics) == ("coords" in out) == (warp == "vtn")


@pytest.mark.parametrize("other", ["frozen", "head=isqrt"])
def test_stored_features_and_other_heads_are_not_for_destruction(other):
    with pytest.raises(ValueError, match="dcl must stand beside neither frozen nor a head other than pooled"):
        get_config("scenes", f"dcl,{other}")
