"""Trilinear attention and sampling by inverse CDF: plain loops, the reference operator's figures, and bad maps."""

import functools

import jax
import jax.numpy as jnp
import loops
import numpy as np
import operators
import pytest
from jax.test_util import check_grads
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import ops
from vtnjax.ops import attention

trilinear_attention = jax.jit(ops.trilinear_attention, static_argnames=("normalise", "sharpness"))
attention_coords = jax.jit(ops.attention_coords, static_argnames=("shape", "dense", "iterations", "first"))
TABLE_2 = (
    (),
    ("spatial",),
    ("spatial", "spatial_right"),
    ("output",),
    ("relation",),
    ("spatial", "relation"),
)
MAPS = {
    "square": ((7, 7), (5, 5)),
    "wide": ((4, 9), (6, 8)),
    "tall, enlarged": ((8, 5), (20, 30)),
    "two columns": ((6, 2), (4, 4)),
    "one output": ((5, 6), (1, 1)),
}


def random_map(size, *, contrast=1.5, seed=0):
    return np.exp(contrast * np.random.default_rng(seed).normal(size=size))


def features(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("normalise", TABLE_2)
@pytest.mark.parametrize("sharpness", [1.0, 7.0])
def test_every_row_of_table_2_is_the_plain_loop(x64, normalise, sharpness):
    x = features(3, 4, 5)
    found = trilinear_attention(jnp.asarray(x), normalise=normalise, sharpness=sharpness)
    assert_allclose(found, loops.trilinear_attention(x, normalise, sharpness), rtol=1e-11)


def test_the_default_is_equation_2_as_the_reference_sharpens_it(x64):
    x = features(3, 4, 5)
    found = ops.trilinear_attention(jnp.asarray(x))
    assert_allclose(found, loops.trilinear_attention(x, ("spatial", "relation"), 7.0), rtol=1e-11)


def test_self_attention_is_the_plain_loop(x64):
    x = features(3, 4, 5)
    assert_allclose(ops.self_attention(jnp.asarray(x)), loops.self_attention(x), rtol=1e-11)


@pytest.mark.parametrize("normalise", TABLE_2)
def test_large_features_stay_finite_in_float32_and_bfloat16(normalise):
    x = jnp.asarray(50 * features(4, 4, 6), jnp.bfloat16)

    @jax.jit
    def maps_and_gradient(x):
        maps, pull_back = jax.vjp(functools.partial(ops.trilinear_attention, normalise=normalise), x)
        return maps, *pull_back(jnp.ones_like(maps))

    maps, gradient = maps_and_gradient(x)
    assert maps.dtype == jnp.float32
    assert np.isfinite(maps).all()
    assert np.isfinite(gradient).all()


def test_no_channels_make_no_maps():
    assert ops.trilinear_attention(jnp.zeros((3, 4, 0))).shape == (3, 4, 0)


def test_marginals_are_the_maxima_as_distributions(x64):
    attention = random_map((4, 6))
    p_x, p_y = ops.attention_marginals(jnp.asarray(attention))
    assert_allclose(p_x, [max(attention[:, j]) for j in range(6)] / attention.max(0).sum(), rtol=1e-12)
    assert_allclose(p_y, [max(attention[i]) for i in range(4)] / attention.max(1).sum(), rtol=1e-12)


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize(("dense", "iterations"), [(4.0, 5), (1.2, 2), (None, 5)])
@pytest.mark.daily(
    "4.0-5-square", "4.0-5-tall, enlarged", "1.2-2-wide", "None-5-two columns", "None-5-one output", "1.2-2-one output"
)
def test_coordinates_are_the_plain_loop(x64, name, dense, iterations):
    size, shape = MAPS[name]
    attention = random_map(size)
    found = attention_coords(jnp.asarray(attention), shape, dense=dense, iterations=iterations)
    wanted = loops.attention_coords(attention, shape, dense=dense, iterations=iterations)
    for axis, expected in zip(found, wanted, strict=True):
        assert_allclose(axis, expected, atol=1e-11)


def test_the_maps_are_clipped_and_the_clipping_matters():
    attention = random_map((7, 7))
    clipped, again, plain = (
        np.concatenate(loops.attention_coords(attention, (9, 9), **options))
        for options in ({}, {"iterations": 1}, {"dense": None})
    )
    assert np.abs(clipped - plain).max() > 0.1
    assert np.abs(clipped - again).max() > 1e-3


def test_convention_a_uniform_map_of_512_gives_the_figures_of_the_references_cuda_port():
    """The integral begins at 0. The reference's MXNet operator begins at 1: see the next test."""
    for axis in attention_coords(jnp.ones((512, 512)), (224, 224)):
        assert_allclose(axis[jnp.array([0, 1, 56, 112, 168, 223])], [0, 2.28125, 127.75, 255.5, 383.25, 508.71875])


def test_convention_a_uniform_map_of_512_gives_with_first_1_the_figures_of_the_references_mxnet_operator():
    for axis in attention_coords(jnp.ones((512, 512)), (224, 224), first=1.0):
        assert_allclose(axis[jnp.array([0, 1, 56, 112])], [-1, 0.0057, 126.04, 254.36], atol=5e-3)
        assert_allclose(axis[1], 0.00574, atol=1e-4)
        assert_allclose(axis[223], 508.70855, rtol=1e-6)


@pytest.mark.parametrize("first", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("name", ["square", "wide", "tall, enlarged"])
@pytest.mark.daily("square-0.25", "wide-1.0", "tall, enlarged-3.0")
def test_an_integral_that_begins_above_0_is_the_operators_loop(x64, name, first):
    size, shape = MAPS[name]
    attention = random_map(size)
    found = attention_coords(jnp.asarray(attention), shape, dense=None, first=first)
    profiles = attention.max(0), attention.max(1)
    for axis, profile, outputs in zip(found, profiles, shape[::-1], strict=True):
        # In the operator's own units: a profile sums to the number of outputs, and F[-1] is 0.
        profile = profile / profile.sum() * outputs
        integral = [0.0, first]
        for value in profile[1:]:
            integral.append(integral[-1] + value)
        for i in range(outputs):
            wanted = i * integral[-1] / outputs
            j = next(j for j in range(1, len(profile) + 1) if integral[j] >= wanted)
            expected = j - 1 + (wanted - integral[j]) / (integral[j] - integral[j - 1])
            assert_allclose(axis[i], expected, atol=1e-9)


@pytest.mark.parametrize("first", [1e-6, 1e-3])
@pytest.mark.daily("0.001")
def test_an_integral_that_begins_just_above_0_reads_almost_as_one_that_begins_at_0(first):
    attention = jnp.asarray(random_map((7, 7)), jnp.float32)
    for begun, plain in zip(
        attention_coords(attention, (9, 9), first=first), attention_coords(attention, (9, 9)), strict=True
    ):
        assert begun[0] == -1
        assert_allclose(begun[1:], plain[1:], atol=0.02)


def test_a_flat_axis_flattens_the_other_as_in_the_reference():
    attention = jnp.tile(jnp.asarray(random_map(8)), (8, 1))  # columns differ, rows do not
    x, y = attention_coords(attention, (8, 8))
    even = np.arange(8) * 7 / 8
    assert_allclose(y, even, atol=1e-5)
    unclipped = attention_coords(attention, (8, 8), dense=None)[0]
    assert np.abs(x - even).max() < 0.2 < 0.5 < np.abs(unclipped - even).max()


def test_a_peak_gets_the_pixels():
    y, x = np.mgrid[:64, :64]
    attention = jnp.asarray(0.02 + np.exp(-((x - 20) ** 2 + (y - 40) ** 2) / 50), jnp.float32)
    for line, peak in zip(attention_coords(attention, (32, 32)), (20, 40), strict=True):
        steps = np.diff(line)
        near = np.abs(line[:-1] - peak) < 4
        assert steps[near].max() < 0.8 < 2.5 < steps[~near].max()  # 63 / 32 apart if it were even


BAD_MAPS = {
    "zeros": np.zeros((5, 6)),  # of few sizes: each is a program of its own
    "one cell": np.eye(36)[8].reshape(6, 6),
    "the first cell": np.eye(4096)[0].reshape(64, 64),
    "the last cell": np.eye(4096)[-1].reshape(64, 64),
    "one pixel": np.ones((1, 1)),
    "one row": np.arange(1.0, 6.0)[None],
    "constant": np.full((5, 6), 3.0),
    "tiny": np.full((5, 6), 1e-38),
    "huge": np.where(np.eye(6) > 0, 3e38, 1.0),
    "infinite": np.where(np.eye(6) > 0, np.inf, 1.0),
    "nothing but NaN": np.full((5, 6), np.nan),
    "a NaN": np.where(np.eye(6) > 0, np.nan, 1.0),
    "negative": -np.ones((5, 6)),
    "of both signs": features(6, 6),
}


@functools.partial(jax.jit, static_argnames="dense")
def lines_and_gradient(attention, dense):
    def far(attention):
        lines = ops.attention_coords(attention, (9, 40), dense=dense)
        return sum((line**2).sum() for line in lines), lines

    (_, lines), gradient = jax.value_and_grad(far, has_aux=True)(attention)
    return lines, gradient


@pytest.mark.parametrize("name", BAD_MAPS)
@pytest.mark.daily("the last cell", "one pixel", "infinite", "a NaN", "of both signs", "huge")
def test_bad_maps_give_finite_rising_coordinates_inside_and_finite_gradients(name):
    attention = jnp.asarray(BAD_MAPS[name], jnp.float32)
    for dense in (4.0, None):
        lines, gradient = lines_and_gradient(attention, dense)
        assert np.isfinite(gradient).all()
        for line, size in zip(lines, attention.shape[::-1], strict=True):
            assert np.isfinite(line).all()
            assert line.min() >= 0
            assert line.max() <= size - 1
            assert (np.diff(line) >= 0).all()


@pytest.mark.parametrize("name", ["zeros", "constant", "tiny", "nothing but NaN", "negative"])
def test_maps_without_attention_are_spread_evenly(name):
    attention = jnp.asarray(BAD_MAPS[name], jnp.float32)
    x, y = attention_coords(attention, (9, 40))
    h, w = attention.shape
    assert_allclose(x, np.arange(40) * (w - 1) / 40, atol=1e-5)
    assert_allclose(y, np.arange(9) * (h - 1) / 9, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, -2.0, -np.inf])
def test_what_is_no_attention_counts_as_none(bad):
    attention = random_map((6, 7)).astype(np.float32)
    hole = np.random.default_rng(3).uniform(size=(6, 7)) < 0.3
    marginals = jax.jit(ops.attention_marginals)
    found, wanted = (marginals(np.where(hole, np.float32(value), attention)) for value in (bad, 0.0))
    assert_allclose(np.concatenate(found), np.concatenate(wanted), rtol=1e-6)


# A compiler may round what it compares with the highest otherwise than what it took the highest of.
@pytest.mark.parametrize("other", [1.0, 1.0000001])
def test_maxima_equal_within_rounding_share_the_gradient(other):
    attention = jnp.asarray([[1.0, 3.0], [other, 2.0]], jnp.float32)
    gradient = jax.jit(jax.grad(lambda attention: ops.attention_marginals(attention)[0][0]))(attention)
    # p = a / (a + b) of the columns' maxima: 3 / 16 for the first, which two cells have, and -1 / 16 for the second.
    assert_allclose(gradient, [[3 / 32, -1 / 16], [3 / 32, 0.0]], rtol=1e-5)


@pytest.mark.parametrize("factor", [1e-18, 0.3, 1e18])
def test_only_the_ratios_of_the_map_matter(factor):
    attention = jnp.asarray(random_map((6, 7)), jnp.float32)
    found, wanted = attention_coords(factor * attention, (8, 9)), attention_coords(attention, (8, 9))
    assert_allclose(np.concatenate(found), np.concatenate(wanted), atol=1e-5)


def test_empty_outputs():
    x, y = attention_coords(jnp.ones((3, 4)), (0, 5))
    assert x.shape == (5,)
    assert y.shape == (0,)


@pytest.mark.parametrize(("dense", "iterations"), [(1.3, 2), (None, 0)])
@pytest.mark.daily("1.3-2")
def test_gradients_of_coordinates(x64, dense, iterations):
    attention = jnp.asarray(random_map((4, 6)))
    check_grads(
        lambda a: attention_coords(a, (5, 7), dense=dense, iterations=iterations), (attention,), order=1, atol=1e-6
    )


# Of a compiled function the backward pass is a program of its own, which may round what it computes again otherwise.
def test_gradients_of_compiled_coordinates(x64):
    lines = jax.jit(lambda attention: jnp.concatenate(ops.attention_coords(attention, (3, 4))))
    check_grads(lines, operators.arguments("inverse CDF"), order=1, modes=("rev",), atol=1e-6)


def test_the_gradient_of_an_even_map_is_whole_where_outputs_lie_on_cells(x64):
    @jax.jit
    def line(rise):
        return ops.attention_coords(jnp.ones((5, 5)).at[:, 2].add(rise), (4, 4), dense=None)[0]

    step = 1e-6
    slope = (np.asarray(line(step)) - np.asarray(line(-step))) / (2 * step)
    assert_allclose(jax.jit(jax.jacfwd(line))(0.0), slope, atol=1e-5)


def test_a_zero_cell_beside_attention_has_a_gradient():
    attention = jnp.ones((5, 5)).at[:, 3].set(0.0)
    gradient = jax.jit(jax.grad(lambda a: ops.attention_coords(a, (4, 4), dense=None)[0].sum()))(attention)
    assert np.abs(gradient[:, 3]).max() > 0


@pytest.mark.slow
def test_a_tpus_comparisons_find_and_read_what_gathers_do():
    rng = np.random.default_rng(0)
    rising = np.cumsum(rng.uniform(size=13)).astype(np.float32)
    wanted = np.concatenate([rng.uniform(-1, rising[-1] + 1, 40), rising, [np.nextafter(rising[4], 9)]])
    wanted = wanted.astype(np.float32)
    cells = np.minimum(np.searchsorted(rising, wanted), 12)
    for find in (attention._count_below, attention._halve):
        found = find(jnp.asarray(rising), jnp.asarray(wanted))
        assert found.dtype == jnp.int32
        assert_array_equal(found, cells)
    read = attention._entries_by_comparison
    assert_array_equal(read(jnp.asarray(rising), jnp.asarray(cells, jnp.int32)), rising[cells])
    cotangent = rng.normal(size=cells.size).astype(np.float32)
    (gradient,) = jax.vjp(lambda line: read(line, jnp.asarray(cells, jnp.int32)), jnp.asarray(rising))[1](cotangent)
    assert_allclose(gradient, np.bincount(cells, cotangent), rtol=1e-6, atol=1e-6)
