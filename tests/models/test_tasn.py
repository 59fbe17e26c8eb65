"""The trilinear attention sampling network: what guides what, what learns from what, and what inference leaves out."""

import functools

import jax
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from compiled import run
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax.models import TASN, AttentionNetwork, SmallTrunk
from vtnjax.models.tasn import MultiDilation

IMAGES = jnp.asarray(np.random.default_rng(0).uniform(size=(8, 32, 28, 3)), jnp.float32)
CLASSES, CHANNELS = 5, 6


def make(**options):
    rngs = nnx.Rngs(0)
    attentive = None
    if options.get("sampler") != "none":
        trunk = SmallTrunk(3, (4, 4, CHANNELS), rngs=rngs)
        attentive = AttentionNetwork(trunk, CHANNELS, CLASSES, size=(16, 16), rngs=rngs)
    options = {"shape": (20, 20), **options}
    return TASN(attentive, SmallTrunk(3, (4, 4, 8), rngs=rngs), 8, CLASSES, **options, rngs=rngs)


@functools.partial(jax.jit, static_argnums=0)
def _call(graphdef, state, key, options):
    return nnx.merge(graphdef, state, copy=True)(IMAGES, rngs=nnx.Rngs(key), **options)


def call(model, *, training=True, key=0, **options):
    model = nnx.clone(model)
    model.train() if training else model.eval()
    return _call(*nnx.split(model), jax.random.key(key), options)


def to_size(maps, shape):
    """Resized with the border pixels' centres at the border, by loops."""
    lines = [np.linspace(0, old - 1, new) for old, new in zip(maps.shape, shape, strict=True)]
    return loops.sample(maps[..., None], np.stack(np.meshgrid(*lines[::-1]), -1), padding="border")[..., 0]


def sampled(image, attention):
    x, y = loops.attention_coords(attention, (20, 20))
    coords = np.stack(np.meshgrid(x, y), -1)
    return coords, loops.sample(image, coords)


@pytest.fixture(scope="module")
def seen():
    """One call with maps given, and the attention network's own maps, by loops."""
    model = make(parts=2)
    features, _ = run(model.attention_network, IMAGES)
    maps = np.stack([loops.trilinear_attention(np.asarray(f), ("spatial", "relation"), 7.0) for f in features])
    chosen = jnp.asarray(np.random.default_rng(1).integers(0, CHANNELS, (8, 2)), jnp.int32)
    return maps, chosen, call(model, chosen=chosen)


@pytest.mark.slow
def test_features_are_scaled_before_they_are_read():
    """Without a bias the blocks of the attention network hand the factor on."""
    trunk = SmallTrunk(3, (4, 4, CHANNELS), rngs=nnx.Rngs(0))
    whole, half = (AttentionNetwork(trunk, CHANNELS, 5, size=(16, 16), scale=s, rngs=nnx.Rngs(0)) for s in (1.0, 0.5))
    assert_allclose(run(half, IMAGES)[0], run(whole, IMAGES)[0] / 2, rtol=1e-5, atol=1e-6)
    whole, half = (call(make(sampler="none", parts=0, scale=s), training=False)[1]["features"] for s in (1.0, 0.5))
    assert_allclose(half, whole / 2, rtol=1e-6)
    assert np.ptp(whole) > 0


def test_a_scale_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"scale must be above 0 and finite, not 0\.0"):
        make(scale=0.0)
    with pytest.raises(ValueError, match=r"scale must be above 0 and finite, not -1\.0"):
        AttentionNetwork(SmallTrunk(3, (4,), rngs=nnx.Rngs(0)), 4, 5, size=(16, 16), scale=-1.0, rngs=nnx.Rngs(0))


@pytest.mark.slow
def test_the_squared_sum_of_the_maps_guides_the_structure(seen):
    maps, _, (_, out) = seen
    for i in (0, 5):
        attention = to_size(maps[i].sum(-1), (32, 28)) ** 2
        assert_allclose(out["attention"][i], attention, rtol=1e-3)
        coords, image = sampled(np.asarray(IMAGES[i]), attention)
        assert_allclose(out["coords"][i], coords, atol=0.02)
        assert_allclose(out["warped"][i], image, atol=0.02)


def test_the_chosen_maps_guide_the_details(seen):
    maps, chosen, (_, out) = seen
    for i, part in ((0, 0), (3, 1)):
        attention = to_size(maps[i, ..., chosen[i, part]], (32, 28))
        coords, image = sampled(np.asarray(IMAGES[i]), attention)
        assert_allclose(out["detail_coords"][i, part], coords, atol=0.02)
        assert_allclose(out["detail"][i, part], image, atol=0.02)


def test_a_dilated_block_is_the_sum_of_rectified_convolutions_with_the_same_weights():
    block = MultiDilation(2, (1, 3), rngs=nnx.Rngs(0))
    block.bias[...] = jnp.asarray([0.3, -0.2])
    x = np.random.default_rng(2).normal(size=(1, 5, 6, 2)).astype(np.float32)
    kernel, wanted = np.asarray(block.kernel[...]), np.zeros((5, 6, 2))
    for dilation in (1, 3):
        for y, xx, out in np.ndindex(5, 6, 2):
            total = float(block.bias[...][out])
            for i, j, c in np.ndindex(3, 3, 2):
                row, column = y + (i - 1) * dilation, xx + (j - 1) * dilation
                if 0 <= row < 5 and 0 <= column < 6:
                    total += x[0, row, column, c] * kernel[i, j, c, out]
            wanted[y, xx, out] += max(total, 0.0)
    assert_allclose(block(jnp.asarray(x))[0], wanted, atol=1e-5)


HEADS = {"logits": "shared_head", "master_logits": "master_head", "part_logits": "part_head"}


@pytest.mark.slow
def test_only_its_own_classifier_trains_the_attention_network():
    graphdef, params, rest = nnx.split(make(), nnx.Param, ...)

    @jax.jit
    def gradients(params):
        """Of the squares of each output, by one pass forward and one back."""

        def losses(params):
            logits, out = nnx.merge(graphdef, params, rest, copy=True)(IMAGES, rngs=nnx.Rngs(0))
            outputs = {"logits": logits, **out}
            return jnp.stack([(outputs[name] ** 2).sum() for name in ("attention_logits", *HEADS)])

        return jax.jacrev(losses)(params)

    found = gradients(params)
    for number, parts in enumerate(({"attention_network"}, *({"trunk", head} for head in HEADS.values()))):
        learn = {part for part in found if any(np.any(leaf[number]) for leaf in jax.tree.leaves(found[part]))}
        assert learn == parts


@pytest.mark.slow
def test_both_kinds_of_images_share_the_trunks_batch_statistics():
    model = make()
    one, both = (call(m)[1]["features"] for m in (make(parts=0), model))
    assert np.abs(one - both).max() > 1e-3  # the same images, but other images beside them in the batch


@pytest.mark.slow
def test_inference_leaves_the_part_net_out():
    model = make()
    logits, out = call(model, training=False)
    assert set(out) == {"attention", "attention_logits", "warped", "coords", "features", "master_logits"}
    alone = make(parts=0)  # a network that never had a part-net, with the same parameters
    for name in ("attention_network", "trunk", "master_head", "shared_head"):
        nnx.update(getattr(alone, name), nnx.state(getattr(model, name)))
    assert_allclose(call(alone, training=False)[0], logits, atol=1e-5)


def test_the_part_net_may_predict_guided_by_the_plain_sum_of_the_maps():
    logits, out = call(make(predict="part"), training=False)
    assert_allclose(logits, out["shared_part_logits"][:, 0], atol=1e-6)
    plain = np.sqrt(out["attention"][2])  # the master's is squared
    assert_allclose(out["detail_coords"][2, 0], sampled(np.asarray(IMAGES[2]), plain)[0], atol=0.02)


@pytest.mark.slow
def test_maps_are_chosen_by_the_key():
    model = make()
    first, again, other = (np.asarray(call(model, key=key)[1]["detail_coords"]) for key in (0, 0, 1))
    assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


@pytest.mark.parametrize("selection", ["random", "ranked"])
@pytest.mark.daily("ranked")
def test_random_choices_are_alike_and_ranked_ones_follow_the_response(selection):
    model = make(selection=selection)
    maps = jnp.zeros((4000, 1, 1, 4)).at[:].set(jnp.asarray([1.0, 2.0, 0.0, 5.0]))
    picked = np.asarray(model._select(maps, None, nnx.Rngs(0)))[:, 0, 0, 0]
    shares = [np.mean(picked == value) for value in (1, 2, 0, 5)]
    assert_allclose(shares, [0.25] * 4 if selection == "random" else [1 / 8, 2 / 8, 0, 5 / 8], atol=0.03)


@pytest.mark.slow
def test_a_batch_over_eight_devices_is_that_on_one(auto_mesh):
    graphdef, state = nnx.split(make())

    def run(state, images):
        logits, out = nnx.merge(graphdef, state, copy=True)(images, rngs=nnx.Rngs(3))
        return logits, out["part_logits"]

    one = jax.jit(run)(state, IMAGES)
    with jax.set_mesh(auto_mesh):
        whole = jax.device_put(state, NamedSharding(auto_mesh, PartitionSpec()))
        spread = jax.jit(run)(whole, jax.device_put(IMAGES, NamedSharding(auto_mesh, PartitionSpec("data"))))
    for a, b in zip(one, spread, strict=True):
        assert_allclose(a, b, atol=1e-4)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sampler": "cdf"}, "sampler must be one of .*, not 'cdf'"),
        ({"selection": "best"}, "selection must be one of .*, not 'best'"),
        ({"predict": "teacher"}, "predict must be one of .*, not 'teacher'"),
        ({"parts": -1}, "parts must be a whole number of at least 0, .* not -1"),
        ({"sampler": "none"}, "parts must be a whole number .* 0 with the sampler 'none', not 1"),
        ({"parts": 0, "predict": "part"}, "predict must be 'master' where there are no parts"),
    ],
)
def test_bad_arguments_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        make(**options)


def test_what_a_call_needs_is_said():
    with pytest.raises(ValueError, match="attention_network must be None with the sampler 'none' and with no other"):
        TASN(None, SmallTrunk(3, (4, 4, 8), rngs=nnx.Rngs(0)), 8, 5, shape=(8, 8), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="rngs must be given in training, to choose the maps, unless `chosen` is"):
        run(make(), IMAGES)
