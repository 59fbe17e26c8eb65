"""The losses of tuples inside an objective, in float64 against a plain loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vtnjax import losses
from vtnjax.recipes import Contrastive, Triplet

KEY = jax.random.key(0)
TUPLES, NEGATIVES = 3, 2
TERM = {"weight": 2.0, "margin": 0.5, "positions": "mean", "normalise": True}


class Given:
    """A network that describes an image by its first pixels, and warps nothing, or doubles the features."""

    def __init__(self, transformer=None):
        self.transformer = transformer

    def __call__(self, images):
        assert images.ndim == 4
        features = images if self.transformer is None else self.transformer(images)
        pixels = images.reshape(len(images), -1)[:, :4]
        return pixels / jnp.linalg.norm(pixels, axis=1, keepdims=True), {"warped": features}


def inputs():
    images = np.random.default_rng(0).standard_normal((TUPLES, 2 + NEGATIVES, 2, 3, 3))
    batch = {"image": jnp.asarray(images, jnp.float32), "label": jnp.zeros((TUPLES, 2 + NEGATIVES), jnp.int32)}
    return Contrastive().inputs(batch, KEY, lambda key, x: 2 * x)


def unit(images):
    pixels = np.asarray(images, np.float64).reshape(*images.shape[:2], -1)[..., :4]
    return pixels / np.linalg.norm(pixels, axis=-1, keepdims=True)


def by_loop(kind, margin):
    total = 0
    for query, positive, *negatives in unit(inputs()["image"]):
        if kind is Contrastive:
            total += ((query - positive + 1e-6) ** 2).sum() / 2
            away = [np.sqrt(((query - n + 1e-6) ** 2).sum()) for n in negatives]
            total += sum(max(0, margin - each) ** 2 / 2 for each in away)
        else:
            near = ((query - positive) ** 2).sum()
            total += sum(max(0, near - ((query - n) ** 2).sum() + margin) for n in negatives)
    return total / TUPLES


@pytest.mark.parametrize("kind", [Contrastive, Triplet])
@pytest.mark.parametrize("margin", [None, 1.4])
@pytest.mark.daily("1.4-Triplet")
def test_the_loss_is_the_mean_over_tuples_of_sums_over_negatives(kind, margin):
    objective = kind() if margin is None else kind(margin=margin)
    loss, logged = objective(Given(), inputs(), KEY)
    assert float(loss) == pytest.approx(by_loop(kind, margin or {Contrastive: 0.85, Triplet: 0.1}[kind]), rel=1e-5)
    described = unit(inputs()["image"])
    apart = np.linalg.norm(described[:, :1] - described[:, 1:], axis=-1)
    assert sorted(logged) == ["negative_distance", "positive_distance"]
    assert float(logged["positive_distance"]) == pytest.approx(apart[:, 0].mean(), rel=1e-5)
    assert float(logged["negative_distance"]) == pytest.approx(apart[:, 1:].mean(), rel=1e-5)


def test_images_are_prepared_tuple_by_tuple():
    images = np.random.default_rng(0).standard_normal((TUPLES, 2 + NEGATIVES, 2, 3, 3))
    np.testing.assert_allclose(inputs()["image"], 2 * images, rtol=1e-6)


def test_consistency_is_that_of_query_positive_and_hardest_negative():
    model, x = Given(transformer=lambda features: features + 0.5), inputs()
    loss, logged = Contrastive(consistency=TERM)(model, x, KEY)
    warped = x["image"] + 0.5
    options = {name: value for name, value in TERM.items() if name != "weight"}
    expected = losses.consistency_loss(warped[:, 0], warped[:, 1], warped[:, 2], **options)
    assert float(logged["consistency"]) == pytest.approx(float(expected), rel=1e-6)
    assert float(loss) == pytest.approx(by_loop(Contrastive, 0.85) + 2 * float(expected), rel=1e-5)
    with pytest.raises(ValueError, match=r"config.objective.consistency must be empty for a network that warps noth"):
        Contrastive(consistency=TERM)(Given(), x, KEY)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"margin": -1.0}, "margin must be at least 0 and finite, not -1.0"),
        ({"consistency": {**TERM, "weight": 0.0}}, "config.objective.consistency: weight must be above 0"),
        ({"consistency": {**TERM, "positions": "all"}}, "config.objective.consistency: positions must be one of"),
        ({"consistency": {"weight": 1.0}}, "config.objective.consistency must have 'margin'"),
        ({"consistency": {**TERM, "scale": 1}}, "config.objective.consistency must not have 'scale'"),
    ],
)
def test_options_that_cannot_be_are_named(options, said):
    with pytest.raises(ValueError, match=said):
        Triplet(**options)
