import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import ops

candidate_probabilities = jax.jit(ops.candidate_probabilities, static_argnames=("window", "temperature", "border"))
expected_displacement = jax.jit(ops.expected_displacement, static_argnames="window")

WINDOWS = [(1, 1), (3, 3), (3, 5), (5, 1), (11, 11)]


def inputs(window, shape=(4, 6, 2), seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(*shape, window[0] * window[1])), 5 * rng.normal(size=shape)


def test_convention_candidates_run_row_by_row_with_the_centre_in_the_middle():
    offsets = ops.candidate_offsets((3, 5))
    assert offsets.shape == (15, 2)
    assert_array_equal(offsets[0], [-2, -1])
    assert_array_equal(offsets[1], [-1, -1])
    assert_array_equal(offsets[7], [0, 0])
    assert_array_equal(offsets[-1], [2, 1])


@pytest.mark.parametrize("border", ["mask", "zero"])
@pytest.mark.parametrize("window", WINDOWS)
def test_values_are_those_of_plain_loops(x64, window, border):
    residual, response = inputs(window)
    found = candidate_probabilities(residual, response, window=window, temperature=2.0, border=border)
    expected = loops.candidate_probabilities(residual, response, window, 2.0, border)
    assert_allclose(found, expected, atol=1e-12)
    assert_allclose(
        expected_displacement(found, window=window), loops.expected_displacement(expected, window), atol=1e-12
    )


@pytest.mark.parametrize("border", ["mask", "zero"])
def test_gradients_are_those_of_plain_loops(x64, border):
    window = (3, 5)
    residual, response = inputs(window, (3, 4, 1))
    weights = np.random.default_rng(1).normal(size=(3, 4, 1, 2))

    def ours(residual, response):
        probabilities = ops.candidate_probabilities(residual, response, window=window, temperature=2.0, border=border)
        return jnp.sum(weights * ops.expected_displacement(probabilities, window=window))

    def theirs(residual, response):
        probabilities = loops.candidate_probabilities(residual, response, window, 2.0, border)
        return np.sum(weights * loops.expected_displacement(probabilities, window))

    gradients = jax.jit(jax.grad(ours, argnums=(0, 1)))(residual, response)
    for found, number in zip(gradients, (0, 1), strict=True):
        expected = np.zeros(found.shape)
        for index in np.ndindex(*found.shape):
            shifted = [[residual.copy(), response.copy()] for _ in range(2)]
            for pair, step in zip(shifted, (1e-5, -1e-5), strict=True):
                pair[number][index] += step
            expected[index] = (theirs(*shifted[0]) - theirs(*shifted[1])) / 2e-5
        assert_allclose(found, expected, atol=1e-8)


def test_a_constant_response_leaves_the_interior_and_zooms_at_the_border(x64):
    zeros = np.zeros((7, 7, 1, 9))
    masked, kept = (
        np.asarray(
            expected_displacement(
                candidate_probabilities(zeros, np.ones((7, 7, 1)), window=(3, 3), border=border), window=(3, 3)
            )
        )
        for border in ("mask", "zero")
    )
    assert_allclose(masked[1:-1, 1:-1], 0, atol=1e-15)
    assert_allclose(masked[0, 0, 0], [0.5, 0.5], atol=1e-15)  # three of nine candidates are gone on either side
    assert_allclose(masked[3, -1, 0], [-0.5, 0], atol=1e-15)
    assert 0 < kept[0, 0, 0, 0] < 0.05
    none = candidate_probabilities(zeros, np.zeros((7, 7, 1)), window=(3, 3), border="zero")
    assert_allclose(expected_displacement(none, window=(3, 3)), 0, atol=1e-15)


def test_a_strong_response_draws_its_neighbours_to_it(x64):
    response = np.zeros((5, 5, 2))
    response[1, 3, 0] = 1000.0
    probabilities = candidate_probabilities(np.zeros((5, 5, 2, 9)), response, window=(3, 3))
    coords = np.asarray(ops.displace(expected_displacement(probabilities, window=(3, 3))))
    for y, x in ((0, 2), (1, 3), (2, 4), (1, 2)):
        assert_allclose(coords[y, x, 0], [3, 1], atol=1e-12)
    assert_allclose(coords[3, 2, 0], [2, 3], atol=1e-12)  # it is not in this one's window
    assert_allclose(coords[1:4, 1:4, 1], ops.identity_coords((5, 5))[1:4, 1:4], atol=1e-12)


def test_probabilities_of_bfloat16_are_float32():
    residual, response = (jnp.asarray(a, jnp.bfloat16) for a in inputs((3, 3)))
    found = candidate_probabilities(residual, response, window=(3, 3))
    assert found.dtype == jnp.float32
    assert_allclose(found.sum(-1), 1, atol=1e-6)


def test_large_responses_do_not_overflow():
    residual, response = (jnp.asarray(1e30 * a, jnp.float32) for a in inputs((3, 3)))
    assert np.isfinite(ops.candidate_probabilities(residual, response, window=(3, 3))).all()


R, U = np.zeros((4, 4, 2, 9), np.float32), np.zeros((4, 4, 2), np.float32)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: ops.candidate_offsets((3, 4)), r"window must be .* not \(3, 4\)"),
        (lambda: ops.candidate_offsets(3), "window must be"),
        (lambda: ops.candidate_offsets((3, -1)), "window must be"),
        (lambda: ops.candidate_offsets((3.0, 3.0)), "window must be"),
        (lambda: ops.candidate_probabilities(R, U, window=(3, 5)), "15.* of the window 3 x 5, but its shape"),
        (lambda: ops.candidate_probabilities(R, U[0], window=(3, 3)), "response must have the shape"),
        (lambda: ops.candidate_probabilities(R, U.astype(int), window=(3, 3)), "response must be floating"),
        (lambda: ops.candidate_probabilities(R, U, window=(3, 3), temperature=0.0), "temperature must be above 0"),
        (lambda: ops.candidate_probabilities(R, U, window=(3, 3), border="masc"), "did you mean 'mask'"),
        (lambda: ops.expected_displacement(R, window=(5, 5)), "the 25 candidates of the window"),
        (lambda: ops.expected_displacement(R[0], window=(3, 3)), "probabilities must have the shape"),
    ],
)
def test_bad_input_is_named_in_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
