"""Losses of features, of encodings and of logits: VTN's, STN's and TASN's."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from derivatives import check_to_second_order
from jax.sharding import NamedSharding, PartitionSpec
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import losses


def triplets(shape=(3, 2, 4, 5), seed=0):
    maps = np.random.default_rng(seed).normal(size=(3, *shape))
    maps[:, :, 0, 1] *= 0.01  # all but zero, as rectified features are at many positions
    return maps


def unit(x, place):
    shortest = 0.1 * np.sqrt(np.mean([np.sum(x[other] ** 2) for other in np.ndindex(*x.shape[:2])]))
    return x[place] / max(np.linalg.norm(x[place]), shortest)


def by_loops(v, positive, negative, margin, positions, normalise):
    """VTN Eq. 4, a position at a time."""
    losses = []
    for example in zip(v, positive, negative, strict=True):
        hinges = []
        for place in np.ndindex(*v.shape[1:3]):
            a, p, n = (unit(x, place) if normalise else x[place] for x in example)
            hinges.append(max(0.0, np.sum((a - p) ** 2) - np.sum((a - n) ** 2) + margin))
        losses.append(sum(hinges) if positions == "sum" else sum(hinges) / len(hinges))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("positions", ["sum", "mean"])
@pytest.mark.parametrize("normalise", [False, True])
def test_the_consistency_loss_is_that_of_a_loop(x64, positions, normalise):
    options = {"margin": 0.7, "positions": positions, "normalise": normalise}
    found = losses.consistency_loss(*triplets(), **options)
    assert_allclose(found, by_loops(*triplets(), *options.values()), rtol=1e-12)
    one = losses.consistency_loss(*triplets()[:, 0], **options)
    assert_allclose(one, by_loops(*triplets()[:, :1], *options.values()), rtol=1e-12)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.daily("False")
def test_its_derivatives_to_second_order(x64, normalise):
    check_to_second_order(
        lambda *maps: losses.consistency_loss(*maps, margin=0.7, normalise=normalise), triplets(), atol=1e-5
    )


def test_features_that_are_all_but_zero_do_not_drown_the_others():
    maps = triplets().astype(np.float32)
    gradient = jax.jit(jax.grad(lambda v: losses.consistency_loss(v, *maps[1:], margin=3.0, normalise=True)))(maps[0])
    lengths = np.linalg.norm(gradient, axis=-1)
    assert lengths[:, 0, 1].max() < 10 * np.median(lengths)


def test_features_of_zero_length_have_a_gradient_that_is_a_number():
    maps = triplets().astype(np.float32)
    maps[:, 0] = 0
    loss = functools.partial(losses.consistency_loss, margin=0.5, normalise=True)
    assert np.isfinite(jax.jit(jax.grad(loss))(*maps)).all()


def test_features_of_bfloat16_are_summed_in_float32():
    maps = jnp.asarray(triplets((2, 28, 28, 64)), jnp.bfloat16)
    found = losses.consistency_loss(*maps, margin=20.0)
    assert found.dtype == jnp.float32
    assert_allclose(found, by_loops(*np.asarray(maps, np.float64), 20.0, "sum", False), rtol=1e-5)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"positive": np.zeros((3, 2, 4, 4))}, r"positive must have the shape .*\(3, 2, 4, 4\)"),
        ({"v": np.zeros((3, 2)), "positive": np.zeros((3, 2))}, "v must have the shape"),
        ({"negative": np.zeros((3, 2, 4, 5), int)}, "negative must be floating point"),
        ({"margin": -1.0}, "margin must be at least 0, not -1.0"),
        ({"positions": "men"}, "did you mean 'mean'"),
    ],
)
def test_bad_input_is_named_in_a_sentence(change, sentence):
    v, positive, negative = triplets()
    arguments = {"v": v, "positive": positive, "negative": negative, "margin": 1.0, **change}
    maps = [arguments.pop(name) for name in ("v", "positive", "negative")]
    with pytest.raises(ValueError, match=sentence):
        losses.consistency_loss(*maps, **arguments)


# ---- Triplets

LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])


def draws(labels, count):
    keys = jax.random.split(jax.random.key(0), count)
    return jax.jit(jax.vmap(losses.draw_triplets, in_axes=(0, None)))(keys, jnp.asarray(labels))


def test_positives_share_the_class_and_negatives_do_not():
    positive, negative = draws(LABELS, 300)
    assert positive.dtype == negative.dtype == jnp.int32
    assert (LABELS[positive] == LABELS).all()
    assert (np.asarray(positive) != np.arange(len(LABELS))).all()
    assert (LABELS[negative] != LABELS).all()


def test_each_candidate_is_drawn_equally_often():
    positive, negative = (np.asarray(x)[:, 0] for x in draws(LABELS, 6000))
    for drawn, allowed in ((positive, {1, 2}), (negative, {3, 4, 5, 6, 7, 8})):
        counts = collections.Counter(drawn.tolist())
        assert set(counts) == allowed
        expected = 6000 / len(allowed)
        assert max(abs(count - expected) for count in counts.values()) < 5 * np.sqrt(expected)


def test_an_image_without_a_partner_is_its_own():
    positive, negative = draws(np.array([0, 1, 1]), 20)
    assert (np.asarray(positive)[:, 0] == 0).all()
    positive, negative = draws(np.array([4, 4]), 20)
    assert_array_equal(negative, [[0, 1]] * 20)
    assert_array_equal(positive, [[1, 0]] * 20)


def test_triplets_are_drawn_over_the_global_batch(auto_mesh):
    labels = jnp.asarray([0, 1, 2, 3] * 2)  # one image a device: a partner is on another device
    v = jnp.asarray(np.random.default_rng(0).normal(size=(8, 2, 2, 3)), jnp.float32)

    @jax.jit
    def loss(v, labels):
        positive, negative = losses.draw_triplets(jax.random.key(0), labels)
        return losses.consistency_loss(v, v[positive], v[negative], margin=1.0), positive

    alone, _ = loss(v, labels)
    with jax.set_mesh(auto_mesh):
        spread, positive = loss(*jax.device_put((v, labels), NamedSharding(auto_mesh, PartitionSpec("data"))))
    assert_array_equal(positive, [4, 5, 6, 7, 0, 1, 2, 3])
    assert_allclose(alone, spread, rtol=1e-6)


# ---- Co-localisation


def encodings(n=5, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(2, n, d))


def eq_8_by_loops(localised, random, margin, pairs):
    """STN Eq. 8, a pair at a time."""
    hinges = []
    for n, m in pairs:
        near = sum((a - b) ** 2 for a, b in zip(localised[n], localised[m], strict=True))
        far = sum((a - b) ** 2 for a, b in zip(localised[n], random[n], strict=True))
        hinges.append(max(0.0, near - far + margin))
    return hinges


ALL = [(n, m) for n in range(5) for m in range(5) if m != n]


@pytest.mark.slow
def test_the_colocalisation_loss_is_the_double_sum_of_the_paper(x64):
    hinges = eq_8_by_loops(*encodings(), 0.7, ALL)
    assert 0 < np.count_nonzero(hinges) < len(hinges)
    for reduction, expected in (("sum", sum(hinges)), ("mean", sum(hinges) / len(hinges))):
        found = losses.colocalisation_loss(*encodings(), margin=0.7, reduction=reduction)
        assert_allclose(found, expected, rtol=1e-12)


def test_its_margin_is_1_and_it_sums_unless_said(x64):
    assert_allclose(losses.colocalisation_loss(*encodings()), sum(eq_8_by_loops(*encodings(), 1.0, ALL)), rtol=1e-12)


def test_the_colocalisation_loss_has_right_derivatives(x64):
    check_to_second_order(lambda *e: losses.colocalisation_loss(*e, margin=0.7), encodings(), atol=1e-6)


@pytest.mark.slow
def test_a_detached_partner_is_drawn_nowhere(x64):
    localised, random = encodings()
    expected = np.zeros_like(localised)
    for n, m in ALL:
        if eq_8_by_loops(localised, random, 0.7, [(n, m)])[0] > 0:
            expected[n] += 2 * (localised[n] - localised[m]) - 2 * (localised[n] - random[n])
    found = jax.grad(lambda e: losses.colocalisation_loss(e, random, margin=0.7, detach_partner=True))(localised)
    assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.slow
def test_distances_of_far_encodings_keep_their_digits():
    near = encodings(20, 40)
    found = losses.colocalisation_loss(*np.asarray(near + 300, np.float32), reduction="mean")
    pairs = [(n, m) for n in range(20) for m in range(20) if m != n]
    exact = eq_8_by_loops(*np.asarray(near + 300, np.float32).astype(np.float64), 1.0, pairs)
    assert_allclose(found, np.mean(exact), rtol=1e-5)


@pytest.mark.parametrize("mesh", ["auto_mesh", "explicit_mesh"])
@pytest.mark.daily("auto_mesh")
def test_the_colocalisation_loss_of_a_batch_over_devices(request, mesh):
    mesh = request.getfixturevalue(mesh)
    both = [jnp.asarray(each, jnp.float32) for each in encodings(8)]
    step = jax.jit(jax.value_and_grad(lambda a, b: losses.colocalisation_loss(a, b, margin=0.7), (0, 1)))
    value, slopes = step(*both)
    with jax.set_mesh(mesh):
        found, spread = step(*jax.device_put(both, NamedSharding(mesh, PartitionSpec("data"))))
    assert_allclose(found, value, rtol=1e-5)
    for one, other in zip(spread, slopes, strict=True):
        assert_allclose(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"random": np.zeros((5, 4))}, r"random must have the shape \(n, d\) of localised, \(5, 3\), .* is \(5, 4\)"),
        ({"localised": np.zeros((1, 3)), "random": np.zeros((1, 3))}, "n at least 2"),
        ({"localised": np.zeros((5, 3), int)}, "localised must be floating point"),
        ({"margin": -1.0}, r"margin must be at least 0, not -1\.0"),
        ({"reduction": "men"}, "did you mean 'mean'"),
    ],
)
def test_bad_encodings_are_named_in_a_sentence(change, sentence):
    localised, random = encodings()
    arguments = {"localised": localised, "random": random, **change}
    both = [arguments.pop(name) for name in ("localised", "random")]
    with pytest.raises(ValueError, match=sentence):
        losses.colocalisation_loss(*both, **arguments)


# ---- The soft cross-entropy of distillation


def soft_by_loops(student, teacher, temperature):
    """TASN Eq. 6-7, an example and a class at a time."""

    def soften(logits):
        weights = [np.exp(value / temperature) for value in logits]
        return [weight / sum(weights) for weight in weights]

    each = [
        -sum(q_d * np.log(q_s) for q_d, q_s in zip(soften(t), soften(s), strict=True))
        for s, t in zip(student, teacher, strict=True)
    ]
    return sum(each) / len(each)


def logits(seed):
    return 3 * np.random.default_rng(seed).normal(size=(4, 5))


@pytest.mark.parametrize("temperature", [1.0, 10.0])
def test_the_soft_cross_entropy_is_that_of_a_loop(x64, temperature):
    found = losses.soft_cross_entropy(logits(0), logits(1), temperature=temperature)
    assert_allclose(found, soft_by_loops(logits(0), logits(1), temperature), rtol=1e-12)


def test_its_temperature_is_10_unless_said(x64):
    assert_allclose(losses.soft_cross_entropy(logits(0), logits(1)), soft_by_loops(logits(0), logits(1), 10.0))


def test_the_teacher_learns_too_unless_detached(x64):
    check_to_second_order(losses.soft_cross_entropy, (logits(0), logits(1)), atol=1e-6)
    detached = jax.grad(lambda t: losses.soft_cross_entropy(logits(0), t, detach_teacher=True))(logits(1))
    assert_array_equal(detached, 0)
    assert np.abs(jax.grad(lambda t: losses.soft_cross_entropy(logits(0), t))(logits(1))).max() > 1e-4


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("student", "teacher", "temperature", "sentence"),
    [
        (np.ones((4, 5)), np.ones((4, 6)), 1.0, r"same shape .* not \(4, 5\) and \(4, 6\)"),
        (np.float32(1), np.float32(1), 1.0, r"same shape .* not \(\) and \(\)"),
        (np.ones((4, 5), int), np.ones((4, 5)), 1.0, "student must be floating point, but its dtype is int"),
        (np.ones((4, 5)), np.ones((4, 5)), 0.0, r"temperature must be above 0, not 0\.0"),
    ],
)
def test_bad_logits_are_refused(student, teacher, temperature, sentence):
    with pytest.raises(ValueError, match=sentence):
        losses.soft_cross_entropy(student, teacher, temperature=temperature)
