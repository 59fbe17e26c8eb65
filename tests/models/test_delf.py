"""DELF: what each stage classifies, what learns in it, and which features it reads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import evaluate, models
from vtnjax.nn import VolumetricTransformer

IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(2, 12, 16, 3)), jnp.float32)


class Doubled(nnx.Module):
    """A warp that is easy to see."""

    def __call__(self, features):
        return 2 * features, {"coords": features}


def make(stage="attention", **options):
    trunk = models.SmallTrunk(3, (4, 5, 8), rngs=nnx.Rngs(0))
    return models.DELF(trunk, 3, stage=stage, **{"rngs": nnx.Rngs(1), **options})


def vtn():
    return VolumetricTransformer(8, 4, window=(3, 3), widths=(3,), squeezed=(2,), rngs=nnx.Rngs(0))


def float64(variable):
    return np.asarray(variable[...], np.float64)


def attention_of(network, vector):
    """Of one position, by the formula."""
    hidden, last = network.attention.hidden, network.attention.last
    x = vector @ float64(hidden.conv.kernel)[0, 0]
    norm = hidden.norm
    x = (x - float64(norm.mean)) / np.sqrt(float64(norm.var) + 1e-5) * float64(norm.scale) + float64(norm.bias)
    return np.log1p(np.exp(np.maximum(x, 0) @ float64(last.kernel)[:, 0] + float64(last.bias)[0]))


def test_the_attention_weighs_features_of_length_1_as_a_loop_does():
    network = make(transformer=Doubled(), scale=0.5)
    norm, rng = network.attention.hidden.norm, np.random.default_rng(1)
    for variable in (norm.mean, norm.bias):
        variable[...] = jnp.asarray(rng.normal(size=512), jnp.float32)
    network.eval()
    logits, out = run(network, IMAGE)
    features = 0.5 * np.asarray(run(network.backbone, IMAGE)["conv3"], np.float64)
    assert_allclose(out["features"], features, rtol=1e-6)
    assert_allclose(out["warped"], 2 * features, rtol=1e-6)
    n, h, w, _ = features.shape
    attention, pooled = np.zeros((n, h, w)), np.zeros((n, 8))
    for place in np.ndindex(n, h, w):
        vector = 2 * features[place]
        attention[place] = attention_of(network, vector)  # of the feature as it is
        pooled[place[0]] += attention[place] * vector / np.linalg.norm(vector) / (h * w)
    assert_allclose(out["attention"], attention, rtol=1e-4)
    assert_allclose(out["pooled"], pooled, rtol=1e-4, atol=1e-6)
    layer = network.attentive_classifier
    assert_allclose(logits, pooled @ float64(layer.kernel) + float64(layer.bias), rtol=1e-4, atol=1e-5)
    assert out["coords"].shape == features.shape


def test_in_the_stage_of_features_their_mean_is_classified_and_there_is_no_attention():
    network = make("features", transformer=Doubled())
    network.eval()
    logits, out = run(network, IMAGE)
    pooled = np.asarray(out["features"], np.float64).mean((1, 2)) * 2
    layer = network.classifier.linear
    assert_allclose(logits, pooled @ float64(layer.kernel) + float64(layer.bias), rtol=1e-5, atol=1e-5)
    assert network.attention is None
    assert set(out) == {"features", "warped", "coords"}
    lengths = np.linalg.norm(np.asarray(out["warped"], np.float64), axis=-1)
    scores = jax.jit(lambda warped: network.scores(warped))(out["warped"])
    assert_allclose(scores, lengths, rtol=1e-5)


def learned(stage):
    """By its first name, whether anything of a module has a gradient, and whether its statistics changed."""
    graphdef, params, rest = nnx.split(make(stage, transformer=vtn()), nnx.Param, ...)

    def loss(params):
        network = nnx.merge(graphdef, params, rest, copy=True)
        network.train()
        logits, out = network(IMAGE)
        return (logits**2).sum() + (out["warped"] ** 2).sum(), nnx.state(network, nnx.BatchStat)

    gradients, statistics = jax.jit(jax.grad(loss, has_aux=True))(params)
    before = dict(nnx.to_flat_state(nnx.filter_state(rest, nnx.BatchStat)))
    changed = {
        path[0] for path, leaf in nnx.to_flat_state(statistics) if not np.array_equal(leaf[...], before[path][...])
    }
    return {path[0] for path, leaf in nnx.to_flat_state(gradients) if np.any(leaf[...])}, changed


@pytest.mark.slow
def test_the_attention_learns_alone_once_the_features_are_learned():
    assert learned("features") == ({"backbone", "transformer", "classifier"}, {"backbone", "transformer"})
    assert learned("attention") == ({"attention", "attentive_classifier"}, {"attention"})


@pytest.mark.slow
def test_its_features_are_those_of_evaluation_also_while_the_attention_learns():
    network = make(transformer=vtn())
    network.train()
    seen = run(network, IMAGE)[1]["warped"]
    network.eval()
    assert_allclose(seen, run(network, IMAGE)[1]["warped"], atol=1e-6)


def test_it_reads_the_third_stage_of_a_resnet_and_the_last_map_of_other_trunks():
    def layers():
        resnet = models.DELF(models.ResNet("resnet18", rngs=nnx.Rngs(0)), 3, rngs=nnx.Rngs(0))
        other = models.DELF(models.ResNet("resnet18", rngs=nnx.Rngs(0)), 3, layer="stage2", rngs=nnx.Rngs(0))
        vgg = models.DELF(models.VGG("vgg16", rngs=nnx.Rngs(0)), 3, rngs=nnx.Rngs(0))
        squeezenet = models.DELF(models.SqueezeNet(rngs=nnx.Rngs(0)), 3, rngs=nnx.Rngs(0))
        return resnet, other, vgg, squeezenet

    resnet, other, vgg, squeezenet = nnx.eval_shape(layers)
    assert (resnet.layer, other.layer, vgg.layer, squeezenet.layer) == ("stage3", "stage2", "conv5", "fire9")
    assert list(resnet.backbone.channels) == ["stem", "stage1", "stage2", "stage3"]  # the fourth would learn nothing
    assert models.features_shape(resnet.backbone, (64, 96, 3)) == (4, 6, 256)
    assert resnet.attentive_classifier.kernel.shape == (256, 3)
    assert other.attentive_classifier.kernel.shape == (128, 3)


def test_a_chosen_layer_is_read():
    network = make(layer="conv2")
    network.eval()
    assert_array_equal(run(network, IMAGE)[1]["features"], run(network.backbone, IMAGE)["conv2"])
    assert models.features_shape(network.backbone, (12, 16, 3), layer="conv2") == (3, 4, 5)


def test_where_a_class_is_seen_goes_by_the_attention():
    network = make()
    network.eval()
    logits, _ = run(network, IMAGE)
    seen, told = jax.jit(lambda image: evaluate.with_heat(network, image))(IMAGE)
    assert_allclose(seen, logits, atol=1e-5)
    assert told["heat"].shape == (2, 3, 4)


def test_an_image_of_nothing_has_numbers():
    network = make()
    logits, out = run(network, jnp.zeros((1, 12, 16, 3)))
    assert np.isfinite(logits).all()
    assert (np.asarray(out["attention"]) > 0).all()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"stage": "both"}, "stage must be one of 'features', 'attention', not 'both'"),
        ({"layer": "conv9"}, "layer must be one of 'conv1', 'conv2', 'conv3', not 'conv9'"),
        ({"scale": 0.0}, "scale must be above 0 and finite, not 0.0"),
        ({"classes": 0}, "classes must be a whole number of at least 1, not 0"),
    ],
)
def test_bad_options_are_refused(options, sentence, untyped):
    trunk = models.SmallTrunk(3, (4, 5, 8), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=sentence):
        models.DELF(**{"trunk": trunk, "classes": 3, "rngs": nnx.Rngs(0), **options})
