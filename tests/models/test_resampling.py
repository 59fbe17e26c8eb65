"""Samplings by attention: boxes by loops, and the operators that the others must be."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from vtnjax import ops
from vtnjax.models.resampling import resample
from vtnjax.nn import AttentionSampler

IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 16, 3)), jnp.float32)


def box_lines(attention, size, shape):
    """The coordinates between the borders of the cells above the mean, a cell at a time."""
    lines = []
    for axis in (1, 0):
        cells, pixels = attention.shape[1 - axis], size[1 - axis]
        above = [i for i in range(cells) if (attention.take(i, 1 - axis) > attention.mean()).any()] or range(cells)
        low, high = (
            np.clip(edge * (pixels - 1) / (cells - 1), 0, pixels - 1) for edge in (above[0] - 0.5, above[-1] + 0.5)
        )
        lines.append([low + (high - low) * k / (shape[1 - axis] - 1) for k in range(shape[1 - axis])])
    return lines  # y, x


@pytest.mark.parametrize("kind", ["a spot", "two spots", "constant", "all"])
@pytest.mark.daily("constant")
def test_uniform_sampling_is_a_crop_to_the_box_of_what_is_above_the_mean(kind):
    attention = np.zeros((2, 6, 8), np.float32)
    if kind == "constant":
        attention += 0.1
    if kind in ("a spot", "two spots"):
        attention[:, 2, 3:5] = 1.0
    if kind == "two spots":
        attention[1, 5, 7] = 2.0
    if kind == "all":
        attention[:, 0, 0] = attention[:, 5, 7] = 1.0
    y, coords = jax.jit(lambda i, a: resample(i, a, (5, 4), "uniform"))(IMAGE, attention)
    for i in range(2):
        rows, columns = box_lines(attention[i], (12, 16), (5, 4))
        assert_allclose(coords[i], np.stack(np.meshgrid(columns, rows), -1), atol=1e-5)
        assert_allclose(y[i], ops.sample(IMAGE[i], coords[i]), atol=1e-5)


@pytest.mark.slow
def test_no_sampling_is_a_resize():
    y, coords = resample(IMAGE, None, (12, 16), "none")
    assert_allclose(y, IMAGE, atol=1e-5)
    assert_allclose(coords[1], ops.identity_coords((12, 16)), atol=1e-5)


def test_the_others_are_their_operators():
    attention = jnp.exp(jnp.asarray(np.random.default_rng(1).normal(size=(2, 31, 31)), jnp.float32))
    y, coords = jax.jit(lambda i, a: resample(i, a, (8, 9), "ssn"))(IMAGE, attention)
    pixels = jax.jit(lambda a: ops.to_pixels(ops.saliency_grid(a, (8, 9), fwhm=13.0, pad=30), (12, 16)))(attention[1])
    assert_allclose(coords[1], pixels, atol=1e-4)
    assert_allclose(y[1], jax.jit(lambda i, x: ops.sample(i, x, padding="border"))(IMAGE[1], coords[1]), atol=1e-5)
    found = jax.jit(lambda i, a: resample(i, a, (8, 9), "inverse_cdf", dense=2.0))(IMAGE, attention)
    y, out = jax.jit(AttentionSampler((8, 9), dense=2.0))(IMAGE, attention)
    assert_allclose(found[0], y, atol=1e-6)
    assert_allclose(found[1], out["coords"], atol=1e-6)


def test_an_unknown_sampler_is_refused():
    with pytest.raises(ValueError, match=r"sampler must be one of .*, not 'inverse'; did you mean 'inverse_cdf'\?"):
        resample(IMAGE, None, (4, 4), "inverse")
