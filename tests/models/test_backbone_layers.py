"""The layers of the backbones: 1 x 1 convolutions, which are products of matrices, and rectified outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vtnjax._arrays import by_rows
from vtnjax.models.backbones._layers import ConvNorm

pytestmark = pytest.mark.usefixtures("x64")

RNG = np.random.default_rng(0)
IMAGE = RNG.normal(size=(2, 5, 6, 3))


def layer(size, **options):
    return ConvNorm(3, 4, size, dtype=jnp.float64, param_dtype=jnp.float64, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.daily("3-True")
def test_a_1x1_convolution_is_the_sum_over_channels_at_every_stride(stride, bias):
    one = layer(1, stride=stride, bias=bias, norm=False)
    kernel, shift = RNG.normal(size=(3, 4)), RNG.normal(size=4) if bias else np.zeros(4)
    one.conv.kernel[...] = jnp.asarray(kernel.reshape(1, 1, 3, 4))
    if one.conv.bias is not None:
        one.conv.bias[...] = jnp.asarray(shift)
    found, pull = jax.vjp(one, jnp.asarray(IMAGE))
    np.testing.assert_allclose(found, IMAGE[:, ::stride, ::stride] @ kernel + shift, rtol=1e-12)
    cotangent = RNG.normal(size=found.shape)
    gradient = np.zeros(IMAGE.shape)
    for n, i, j in np.ndindex(found.shape[:3]):
        gradient[n, i * stride, j * stride] = kernel @ cotangent[n, i, j]
    np.testing.assert_allclose(pull(jnp.asarray(cotangent))[0], gradient, rtol=1e-12)


@pytest.mark.parametrize(("padding", "shape"), [(None, (2, 5, 6, 4)), (1, (2, 7, 8, 4))])
def test_a_1x1_convolution_may_have_a_margin(padding, shape):
    assert layer(1, norm=False, padding=padding)(jnp.asarray(IMAGE)).shape == shape


def test_no_convolution_is_left_of_1x1():
    assert "conv_general_dilated" not in str(jax.make_jaxpr(layer(1, norm=False))(jnp.asarray(IMAGE)))
    assert "conv_general_dilated" in str(jax.make_jaxpr(layer(3, norm=False))(jnp.asarray(IMAGE)))


@pytest.mark.parametrize("norm", [False, True])
def test_rectified_is_the_layers_output_without_what_is_negative(norm):
    three = layer(3, norm=norm)
    three.eval()
    found, plain = three.rectified(jnp.asarray(IMAGE)), np.asarray(three(jnp.asarray(IMAGE)))
    assert (plain < 0).any()
    np.testing.assert_array_equal(found, np.where(plain > 0, plain, 0))


def test_rows_are_positions_and_come_back_where_they_were():
    seen = []

    def double(rows):
        seen.append(rows.shape)
        return jnp.concatenate([rows, 2 * rows], axis=-1)

    found = by_rows(double, jnp.asarray(IMAGE))
    assert seen == [(60, 3)]
    np.testing.assert_array_equal(found, np.concatenate([IMAGE, 2 * IMAGE], axis=-1))
    assert by_rows(double, jnp.zeros((0, 5, 6, 3))).shape == (0, 5, 6, 6)
