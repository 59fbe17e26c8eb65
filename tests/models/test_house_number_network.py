"""The network of house numbers: its layers, what is dropped, and where transformers stand."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax.models import house_number_network
from vtnjax.models.house_numbers import HOUSE_NUMBER_MODELS
from vtnjax.recipes import CrossEntropy
from vtnjax.train import create_state, make_train_step

IMAGES = jnp.asarray(np.random.default_rng(0).uniform(size=(2, 32, 32, 3)), jnp.float32)
SMALL = {"widths": (4, 4, 5, 5, 6, 6, 6, 6), "units": 7}


def make(model, shape=(32, 32, 3), **options):
    return house_number_network(model, shape, **{**SMALL, **options}, rngs=nnx.Rngs(0))


@functools.partial(jax.jit, static_argnums=0)
def _call(graphdef, state, key):
    return nnx.merge(graphdef, state, copy=True)(IMAGES, rngs=nnx.Rngs(key))


def call(network, *, training=False, key=0):
    network = nnx.clone(network)
    network.train() if training else network.eval()
    return _call(*nnx.split(network), jax.random.key(key))


def kernels(module):
    flat = nnx.to_flat_state(nnx.state(module, nnx.Param))
    return [leaf.shape for path, leaf in flat if path[-1] == "kernel"]


@pytest.mark.parametrize("size", [64, 128])
def test_the_papers_network_has_eleven_hidden_layers_and_five_softmaxes(size):
    network = nnx.eval_shape(lambda: house_number_network("cnn", (size, size, 3), rngs=nnx.Rngs(0)))
    widths = (3, 48, 64, 128, 160, 192, 192, 192, 192)
    found = [layer.conv.kernel.shape for layer in network.layers]
    assert found == [(5, 5, *pair) for pair in itertools.pairwise(widths)]
    cells = 192 * (size // 16) ** 2
    assert [layer.kernel.shape for layer in network.classifier.hidden] == [(cells, 3072), (3072, 3072), (3072, 3072)]
    assert network.classifier.places.kernel.shape == (3072, 5 * 11)
    assert [layer.dropout.rate for layer in network.layers] == [0.0, *[0.5] * 7]
    assert len(kernels(network)) == 12


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in HOUSE_NUMBER_MODELS if name != "cnn"])
def test_all_start_as_the_plain_network(model):
    network, plain = make(model), make("cnn")
    plain.classifier = network.classifier  # the localisers' weights are drawn before its own
    wanted, _ = call(plain)
    logits, out = call(network)
    assert logits.shape == (2, 5, 11)
    assert_allclose(logits, wanted, atol=1e-5)
    assert out["theta"].shape == (2, 2, 3)


def test_multi_has_a_transformer_before_each_of_the_first_four_convolutions():
    network = nnx.eval_shape(lambda: house_number_network("multi", (64, 64, 3), rngs=nnx.Rngs(0)))
    cells = [64 * 64 * 3, 32 * 32 * 48, 32 * 32 * 64, 16 * 16 * 128]
    assert [kernels(each.localiser) for each in network.transformer] == [[(count, 32), (32, 32)] for count in cells]
    assert [each.transformer.head.kernel.shape for each in network.transformer] == [(32, 6)] * 4


def test_single_has_a_convolutional_localiser_of_four_layers():
    network = nnx.eval_shape(lambda: house_number_network("single", (64, 64, 3), rngs=nnx.Rngs(0)))
    wanted = [(5, 5, 3, 32), (5, 5, 32, 32), (32 * 32 * 32, 32), (32, 32)]
    assert sorted(kernels(network.transformer[0].localiser)) == sorted(wanted)


@pytest.mark.parametrize(("model", "warped"), [("c3", (8, 8, 5)), ("sl3", (32, 32, 3)), ("multi", (8, 8, 5))])
@pytest.mark.daily("sl3-warped1")
def test_what_is_warped(model, warped):
    assert call(make(model))[1]["warped"].shape[1:] == warped


@pytest.mark.slow
def test_units_are_dropped_in_training_only():
    network = make("sl3")
    assert_array_equal(call(network, key=0)[0], call(network, key=1)[0])
    first, again, other = (call(network, training=True, key=key)[0] for key in (0, 0, 1))
    assert_array_equal(first, again)
    assert jnp.abs(first - other).max() > 1e-4


@pytest.mark.slow
def test_a_training_step_adds_the_places_losses_and_wants_all_right():
    network = make("cnn", dropout=0.0)
    optimiser = optax.sgd(0.0)
    graphdef, state = create_state(network, optimiser, 0)
    logits, _ = call(network)
    labels = np.array(logits.argmax(-1))
    labels[0, 2] = (labels[0, 2] + 1) % 11  # one place of the first image wrong
    step = jax.jit(make_train_step(graphdef, optimiser, lambda key, images: images, CrossEntropy()))
    _, metrics = step(state, {"image": IMAGES, "label": jnp.asarray(labels, jnp.int32)})
    scores = jax.nn.log_softmax(logits)
    wanted = -np.mean([sum(scores[i, k, labels[i, k]] for k in range(5)) for i in range(2)])
    assert float(metrics["loss"]) == pytest.approx(wanted, rel=1e-5)
    assert float(metrics["accuracy"]) == 0.5


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="model must be one of"):
        make("stn")
    with pytest.raises(ValueError, match="shape must be at least 16 x 16 pixels"):
        make("cnn", shape=(12, 32, 3))
