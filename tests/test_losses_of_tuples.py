"""Losses of tuples of descriptors, by which a network learns to rank: contrastive and triplet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_to_second_order
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import losses


def golden_tuple():
    """Four descriptors of which the reference code's losses are known: a query, a positive and two negatives."""
    rows = ((5.0 * np.arange(16) + 2) % 13 - 4).reshape(4, 4)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows[:1], rows[1:2], rows[None, 2:]


def tuples(n=3, k=4, d=5, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 1, d)) + 0.7 * rng.normal(size=(n, k + 2, d))
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows[:, 0], rows[:, 1], rows[:, 2:]


def contrastive_by_loops(query, positive, negatives, margin):
    """The reference code's, a pair at a time."""
    of_tuples = []
    for q, p, away in zip(query, positive, negatives, strict=True):
        pushed = [max(0.0, margin - np.linalg.norm(q - n + 1e-6)) ** 2 for n in away]
        of_tuples.append(0.5 * np.linalg.norm(q - p + 1e-6) ** 2 + 0.5 * sum(pushed))
    return of_tuples


def triplet_by_loops(query, positive, negatives, margin):
    """The reference code's, a triplet at a time."""
    return [
        sum(max(0.0, sum((q - p) ** 2) - sum((q - n) ** 2) + margin) for n in away)
        for q, p, away in zip(query, positive, negatives, strict=True)
    ]


@pytest.mark.parametrize(
    ("loss", "margin", "expected"),
    [
        (losses.contrastive_loss, 0.85, 1.036653),
        (losses.contrastive_loss, 1.5, 1.045369),
        (losses.triplet_loss, 0.1, 0.301953),
        (losses.triplet_loss, 0.5, 0.701953),
    ],
)
def test_losses_of_a_tuple_are_those_of_the_reference_code(x64, loss, margin, expected):
    assert_allclose(loss(*golden_tuple(), margin=margin), expected, atol=5e-7)


OF_TUPLES = [(losses.contrastive_loss, contrastive_by_loops, 0.7), (losses.triplet_loss, triplet_by_loops, 0.1)]


@pytest.mark.parametrize(("loss", "by_loops", "margin"), OF_TUPLES)
@pytest.mark.daily("triplet_loss-triplet_by_loops-0.1")
def test_tuples_are_added_up_unless_their_mean_is_asked_for(x64, loss, by_loops, margin):
    expected = by_loops(*tuples(), margin)
    assert_allclose(loss(*tuples()), sum(expected), rtol=1e-12)
    assert_allclose(loss(*tuples(), reduction="mean"), sum(expected) / 3, rtol=1e-12)
    expected = by_loops(*tuples(), 0.3)
    assert_allclose(loss(*tuples(), margin=0.3), sum(expected), rtol=1e-12)
    assert_allclose(loss(*tuples(k=0)), sum(by_loops(*tuples(k=0), margin)), rtol=1e-12)


@pytest.mark.parametrize(("loss", "by_loops", "margin"), OF_TUPLES)
def test_derivatives_of_losses_of_tuples_to_second_order(x64, loss, by_loops, margin):
    query, positive, negatives = tuples()
    added = [
        np.subtract(
            by_loops(query, positive, negatives[:, [k]], margin), by_loops(query, positive, negatives[:, :0], margin)
        )
        for k in range(4)
    ]
    assert 0 < np.count_nonzero(added) < np.size(added)  # negatives on both sides of the margin
    check_to_second_order(lambda *rows: loss(*rows, margin=margin), tuples(), atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("loss", [losses.contrastive_loss, losses.triplet_loss])
def test_equal_descriptors_have_a_gradient_that_is_a_number(loss, dtype):
    same = jnp.full((2, 16), 0.25, dtype)
    value, gradient = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))(same, same, jnp.stack([same] * 3, 1))
    assert value.dtype == jnp.float32
    assert all(np.isfinite(np.asarray(each, np.float32)).all() for each in gradient)
    assert all(np.abs(np.asarray(each, np.float32)).max() <= 3 for each in gradient)


def test_a_negative_that_equals_its_query_is_pushed_along_the_diagonal(x64):
    q = np.full((1, 16), 0.25)
    gradient = jax.jit(jax.grad(losses.contrastive_loss, argnums=2))(q, q, q[None])
    assert_allclose(gradient, (0.7 - 4e-6) / 4, rtol=1e-9)  # of length margin - |1e-6 in each of 16 places|


def test_a_distance_of_0_has_a_gradient_of_0(x64):
    q = np.zeros((1, 4))
    value, gradient = jax.value_and_grad(losses.contrastive_loss, argnums=(0, 2))(q, q, q[None] + 1e-6)
    assert_allclose(value, 0.7**2 / 2, rtol=1e-9)
    assert_allclose(gradient[0], 1e-6)  # the positive's alone
    assert_array_equal(gradient[1], 0)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("loss", [losses.contrastive_loss, losses.triplet_loss])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"query": np.zeros((3, 4))}, r"query and positive must have the same shape \(n, d\), not \(3, 4\)"),
        ({"query": np.zeros((0, 5)), "positive": np.zeros((0, 5))}, "query and positive must have the same shape"),
        ({"negatives": np.zeros((3, 5))}, r"negatives must have the shape \(3, k, 5\), k for each query, but .*3, 5"),
        ({"negatives": np.zeros((2, 4, 5))}, r"negatives must have the shape \(3, k, 5\)"),
        ({"positive": np.zeros((3, 5), int)}, "positive must be floating point"),
        ({"margin": -0.1}, "margin must be at least 0 and finite, not -0.1"),
        ({"reduction": "men"}, "did you mean 'mean'"),
    ],
)
def test_bad_tuples_are_named_in_a_sentence(loss, change, sentence):
    arguments = dict(zip(("query", "positive", "negatives"), tuples(), strict=True)) | change
    rows = [arguments.pop(name) for name in ("query", "positive", "negatives")]
    with pytest.raises(ValueError, match=sentence):
        loss(*rows, **arguments)
