import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiled import run
from flax import nnx
from numpy.testing import assert_allclose

from vtnjax import models
from vtnjax.models.two_digits import MODELS


def network(model, classes=100, **options):
    return models.TwoDigitNetwork(model, (42, 42, 2), classes=classes, rngs=nnx.Rngs(0), **options)


def images():
    return jnp.asarray(np.random.default_rng(0).uniform(size=(2, 42, 42, 2)), jnp.float32)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.daily("fcn", "affine_channels", "vtn_two")
def test_all_have_400_000_parameters_and_say_what_they_did(model):
    options = {"warp_options": {"window": (3, 3), "widths": (3, 3, 3, 3)}} if model.startswith("vtn") else {}
    built = network(model, **options)
    assert models.count_parameters(built) == pytest.approx(400_000, rel=0.05)
    logits, out = run(built, images())
    assert logits.shape == (2, 100)
    warps = {"st_fcn": (42, 42), "2xst_fcn": (42, 42, 2), "affine": (14, 14), "affine_channels": (14, 14, 2)}
    warps |= {"vtn_one": (14, 14, 1), "vtn_two": (14, 14, 2)}
    assert ("coords" in out) == (model in warps)
    if model in warps:
        assert out["coords"].shape == (2, *warps[model], 2)


def test_a_pairs_cross_entropy_is_that_of_both_digits():
    logits, _ = run(network("none"), images())
    # Of logits a + b the log-softmax falls apart: marginals over either digit give both back.
    log_pairs = jax.nn.log_softmax(logits).reshape(2, 10, 10)
    first, second = (jax.nn.logsumexp(log_pairs, axis=axis) for axis in (2, 1))
    both = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.array([37, 90]))
    assert_allclose(both, -(first[[0, 1], [3, 9]] + second[[0, 1], [7, 0]]), atol=1e-4)


@pytest.mark.slow
def test_the_sum_has_19_classes():
    assert run(network("affine", 19), images())[0].shape == (2, 19)


def test_two_transformers_pass_both_channels_on_twice():
    _, out = run(network("2xst_fcn"), images())
    assert_allclose(out["warped"], np.concatenate([images()] * 2, axis=-1), atol=1e-4)


def test_two_transformers_share_nothing():
    module = network("2xst_fcn")
    first, second = module.transformer.each
    for transformer in (first, second):
        transformer.head.kernel[...] += 0.01
    _, before = run(module, images())
    second.localiser.layers[2].bias[...] += 1.0
    _, after = run(module, images())
    for name, its in (("coords", (Ellipsis, 0, slice(None))), ("warped", (Ellipsis, slice(2)))):
        assert_allclose(after[name][its], before[name][its], atol=1e-5)
        assert np.abs(after[name] - before[name]).max() > 0.1


def test_the_map_is_averaged_over_3_x_3():
    _, out = run(network("affine"), images())
    assert_allclose(out["features"][0, 1, 2, 1], np.mean(images()[0, 3:6, 6:9, 1]), atol=1e-6)


def test_bad_names_are_named():
    with pytest.raises(ValueError, match="did you mean 'vtn_two'"):
        network("vtn_too")
    with pytest.raises(ValueError, match="classes must be 19, of sums, or 100, of pairs, not 10"):
        network("none", 10)
