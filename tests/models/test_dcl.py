"""DCL: what each layer reads, and what the network predicts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run
from flax import nnx
from numpy.testing import assert_allclose
from small_trunk import Trunk

from vtnjax import evaluate, losses, models
from vtnjax.models.pooling import region_means
from vtnjax.nn import VolumetricTransformer

IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 12, 3)), jnp.float32)


class Doubled(nnx.Module):
    """A warp that is easy to see."""

    def __call__(self, features):
        return 2 * features, {"coords": features}


def make(**options):
    return models.DCL(models.SmallTrunk(3, (4, 5, 8), rngs=nnx.Rngs(0)), 3, regions=2, rngs=nnx.Rngs(1), **options)


def test_the_location_is_read_from_the_features_and_all_else_from_the_warped_ones():
    network = make(transformer=Doubled())
    network.eval()
    logits, out = run(network, IMAGE)
    features = np.asarray(out["features"], np.float64)
    assert features.shape == (2, 3, 3, 8)
    pooled = 2 * features.mean((1, 2))
    assert_allclose(out["warped"], 2 * features, rtol=1e-6)
    assert_allclose(logits, pooled @ np.asarray(network.classifier.linear.kernel[...]), atol=1e-5)
    assert_allclose(out["adversarial"], pooled @ np.asarray(network.adversary.kernel[...]), atol=1e-5)
    kernel, bias = (np.asarray(variable[...]) for variable in (network.locator.kernel, network.locator.bias))
    located = (features @ kernel + bias)[..., 0]
    # Regions of 1.5 pixels: both have the middle row and the middle column.
    expected = [[[x[i : i + 2, j : j + 2].mean() for j in (0, 1)] for i in (0, 1)] for x in located]
    assert_allclose(out["places"], expected, atol=1e-5)
    assert out["coords"].shape == features.shape


def test_the_heat_of_a_class_is_that_of_the_features_and_of_what_the_call_classifies():
    network = make(transformer=Doubled(), predict="all")
    network.eval()
    logits, out = run(network, IMAGE)
    seen, told = jax.jit(lambda image: evaluate.with_heat(network, image, jnp.array([0, 2])))(IMAGE)
    assert_allclose(seen, logits, atol=1e-5)
    features = np.asarray(out["features"], np.float64)
    kernel, both = np.asarray(network.classifier.linear.kernel[...]), np.asarray(network.adversary.kernel[...])
    weights = (kernel + both[:, :3] + both[:, 3:])[:, [0, 2]].T * 2 / 9  # a mean over 9 positions, of what is doubled
    assert_allclose(told["heat"], np.maximum(np.einsum("nhwk,nk->nhw", features, weights), 0), atol=1e-5)


def test_only_the_location_has_a_bias():
    network = make()
    assert network.classifier.linear.bias is None
    assert network.adversary.bias is None
    assert network.locator.bias is not None


def test_all_adds_both_halves_of_the_adversarial_layer_in_evaluation_mode_alone():
    network = make(predict="all")
    logits, out = run(network, IMAGE)
    adversarial = np.asarray(out["adversarial"])
    assert adversarial.shape == (2, 6)
    pooled = np.asarray(out["warped"]).mean((1, 2))
    assert_allclose(logits, pooled @ np.asarray(network.classifier.linear.kernel[...]), atol=1e-5)
    network.eval()
    logits, out = run(network, IMAGE)
    pooled, adversarial = np.asarray(out["warped"]).mean((1, 2)), np.asarray(out["adversarial"])
    classified = pooled @ np.asarray(network.classifier.linear.kernel[...])
    assert_allclose(logits, classified + adversarial[:, :3] + adversarial[:, 3:], atol=1e-5)


def test_two_tells_only_shuffled_images_from_others():
    assert run(make(adversarial="two"), IMAGE)[1]["adversarial"].shape == (2, 2)


@pytest.mark.slow
def test_a_vtn_warps_what_is_classified():
    vtn = VolumetricTransformer(8, 4, window=(3, 3), widths=(3,), squeezed=(2,), rngs=nnx.Rngs(0))
    _, out = run(make(transformer=vtn), IMAGE)
    assert out["coords"].shape == (2, 3, 3, 4, 2)
    assert out["places"].shape == (2, 2, 2)


@pytest.mark.parametrize(("size", "regions"), [((14, 14), 7), ((13, 13), 7), ((3, 5), 7), ((7, 4), 3)])
def test_means_of_regions_are_those_of_a_loop(size, regions):
    x = np.random.default_rng(1).normal(size=(2, *size, 3)).astype(np.float32)
    expected = np.zeros((2, regions, regions, 3))
    for i, j in np.ndindex(regions, regions):
        rows, columns = (slice(k * n // regions, -(-(k + 1) * n // regions)) for k, n in zip((i, j), size, strict=True))
        expected[:, i, j] = x[:, rows, columns].mean((1, 2))
    assert_allclose(region_means(jnp.asarray(x), regions), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"adversarial": "three"}, "adversarial must be one of 'classes', 'two', not 'three'"),
        ({"predict": "both"}, "predict must be one of 'classifier', 'all', not 'both'"),
        (
            {"adversarial": "two", "predict": "all"},
            "predict must be 'classifier' where adversarial is 'two', not 'all'",
        ),
        ({"regions": 0}, "regions must be a whole number of at least 1, not 0"),
    ],
)
def test_bad_options_are_refused(options, sentence, untyped):
    with pytest.raises(ValueError, match=sentence):
        models.DCL(**{"trunk": Trunk(nnx.Rngs(0)), "classes": 3, "rngs": nnx.Rngs(0), **options})


# ---- The loss of the places


def test_the_location_loss_of_a_loop():
    rng = np.random.default_rng(2)
    predicted = rng.normal(size=(3, 7, 7))
    places = np.stack([rng.permutation(49).reshape(7, 7) for _ in range(3)])
    errors = [abs(np.tanh(predicted[at]) - (places[at] - 24) / 49) for at in np.ndindex(3, 7, 7)]
    found = losses.location_loss(jnp.asarray(predicted, jnp.float32), jnp.asarray(places))
    assert_allclose(found, np.mean(errors), rtol=1e-5)


def test_places_that_are_known_cost_nothing():
    known = np.arctanh((np.arange(49).reshape(1, 7, 7) - 24) / 49)
    assert_allclose(
        losses.location_loss(jnp.asarray(known, jnp.float32), jnp.arange(49).reshape(1, 7, 7)), 0, atol=1e-6
    )


@pytest.mark.parametrize(
    ("predicted", "places", "sentence"),
    [
        (jnp.zeros((2, 7, 7)), jnp.zeros((2, 7, 7)), "places must be whole numbers, but their dtype is float32"),
        (
            jnp.zeros((2, 7, 7)),
            jnp.zeros((2, 6, 6), jnp.int32),
            "must have the same shape .*, not .2, 7, 7.",
        ),
        (jnp.zeros((2, 7, 6)), jnp.zeros((2, 7, 6), jnp.int32), "must have the same shape"),
        (jnp.zeros((2, 7, 7), jnp.int32), jnp.zeros((2, 7, 7), jnp.int32), "predicted must be floating point"),
    ],
)
def test_places_of_another_kind_are_refused(predicted, places, sentence, untyped):
    with pytest.raises(ValueError, match=sentence):
        losses.location_loss(predicted, places)
