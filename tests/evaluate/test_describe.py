"""Descriptors of images of any size: padded and alone, at several scales, with and without a transformer."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import evaluate, models, nn, ops

# The package's attribute of this name is the function.
describing = importlib.import_module("vtnjax.evaluate.describe")
SIZES = [(90, 75), (70, 100)]
MAC = jax.vmap(ops.mac)


def images(sizes=SIZES):
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (h // 8 + 1, w // 8 + 1, 3), np.uint8) for h, w in sizes]
    return [image.repeat(8, 0).repeat(8, 1)[:h, :w] for image, (h, w) in zip(coarse, sizes, strict=True)]


def make(name="squeezenet", pool=None, **options):
    rngs = nnx.Rngs(0)
    backbones = {"resnet18": lambda: models.ResNet(name, rngs=rngs), "vgg16": lambda: models.VGG(name, rngs=rngs)}
    trunk = backbones.get(name, lambda: models.SqueezeNet(rngs=rngs))()
    return models.RetrievalNet(trunk, pool or nn.GeM(512, rngs=rngs), rngs=rngs, **options)


def alone(network, image, prepare=models.imagenet_input):
    """Of an image in [0, 1], by the network's call."""
    graphdef, state = nnx.split(network)
    found = jax.jit(lambda x: nnx.merge(graphdef, state, copy=True)(x)[0])
    return np.asarray(found(prepare(jnp.asarray(image, jnp.float32)[None])))[0]


def interpolated(image, scale):
    """PyTorch's `interpolate(scale_factor=scale, mode="bilinear")`, a pixel at a time."""
    h, w = (int(side * scale) for side in image.shape[:2])
    found = np.zeros((h, w, 3))
    for i, j in np.ndindex(h, w):
        places = [max((k + 0.5) / scale - 0.5, 0) for k in (i, j)]
        y, x = (int(place) for place in places)
        v, u = places[0] - y, places[1] - x
        y1, x1 = min(y + 1, image.shape[0] - 1), min(x + 1, image.shape[1] - 1)
        found[i, j] = (1 - v) * ((1 - u) * image[y, x] + u * image[y, x1])
        found[i, j] += v * ((1 - u) * image[y1, x] + u * image[y1, x1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet", "resnet18", "vgg16"])
def test_a_padded_image_is_described_as_it_is_alone(name):
    network = make(name, nn.RMAC(512, rngs=nnx.Rngs(0)))
    network.eval()
    found = evaluate.describe(network, images())
    assert found.shape == (2, 512)
    assert found.dtype == np.float32
    for one, image in zip(found, images(), strict=True):
        assert_allclose(one, alone(network, image / 255), atol=1e-4 * np.abs(one).max())
    assert np.linalg.norm(found[0] - found[1]) > 1e-2  # they differ


def test_images_of_several_sizes_share_a_program_of_the_trunk():
    network = make(pool=MAC)
    before = describing._warped._cache_size()
    evaluate.describe(network, images([(70, 70), (100, 128), (128, 65)]))
    assert describing._warped._cache_size() == before + 1
    evaluate.describe(network, images([(71, 99)]))  # nor is it compiled again for the next images
    assert describing._warped._cache_size() == before + 1


def test_it_describes_in_evaluation_mode_and_leaves_the_network_in_its_own():
    trunk = models.SmallTrunk(3, (4, 6, 8), rngs=nnx.Rngs(0))
    network = models.RetrievalNet(trunk, nn.GeM(8, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))
    state = jax.tree.map(np.asarray, nnx.state(network))
    network.train()
    found = evaluate.describe(network, images([(24, 17), (24, 17)]))  # of a trunk that cannot mask padding
    norms = [module for _, module in nnx.iter_modules(network) if isinstance(module, nnx.BatchNorm)]
    assert norms
    assert not any(norm.use_running_average for norm in norms)
    jax.tree.map(assert_array_equal, state, nnx.state(network))
    network.eval()
    for one, image in zip(found, images([(24, 17), (24, 17)]), strict=True):
        assert_allclose(one, alone(network, image / 255), atol=1e-5)


@pytest.mark.slow
def test_what_the_network_takes_is_prepared_of_values_up_to_1():
    network = make(pool=MAC)
    image = images()[0]
    found = evaluate.describe(network, [image], prepare=centred)
    network.eval()
    assert_allclose(found[0], alone(network, image / 255, prepare=centred), atol=1e-5)


def centred(image):
    return image - 0.5


# ---- Scales


@pytest.mark.parametrize("scale", [0.5, 2**-0.5, 1.0, 1.3])
def test_a_resized_image_is_that_of_a_loop(scale):
    image = images([(9, 14)])[0]
    image[4:, 3:] //= 3
    found = describing.resized(image, scale)
    assert found.dtype == np.float32
    assert_allclose(found, interpolated(image / 255, scale), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pool", "whitening", "power"),
    [("gem", False, 2.5), ("gem", True, 1.0), ("rmac", False, 1.0)],
)
def test_descriptors_of_several_scales_are_joined_by_a_generalised_mean(pool, whitening, power):
    rngs, scales = nnx.Rngs(0), (1.0, 2**-0.5, 0.5)
    network = make(
        pool=nn.GeM(512, p=2.5, rngs=rngs) if pool == "gem" else nn.RMAC(512, rngs=rngs),
        whitening=nnx.Linear(512, 6, rngs=rngs) if whitening else None,
    )
    network.eval()
    image = images()[0]
    found = evaluate.describe(network, [image], scales=scales)[0]
    vectors = [np.float64(alone(network, interpolated(image / 255, scale))) for scale in scales]
    mean = sum(vector**power for vector in vectors) ** (1 / power)
    assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-4 * np.abs(found).max())


# ---- Transformers


def warping():
    """A network with a transformer that moves features."""
    transformer = nn.VolumetricTransformer(512, 4, window=(3, 3), widths=(4,), squeezed=(2,), rngs=nnx.Rngs(0))
    last = [path for path, value in nnx.to_flat_state(nnx.state(transformer, nnx.Param)) if not np.any(value[...])]
    state, rng = nnx.state(transformer, nnx.Param), np.random.default_rng(0)
    flat = dict(nnx.to_flat_state(state))
    for path in last:
        flat[path] = flat[path].replace(jnp.asarray(rng.normal(size=flat[path].shape), jnp.float32))
    nnx.update(transformer, nnx.from_flat_state(flat))
    return make(transformer=transformer)


@pytest.mark.slow
def test_with_a_transformer_an_image_runs_at_its_own_size_unless_near_is_enough():
    network, batch = warping(), images()
    found, near = evaluate.describe(network, batch), evaluate.describe(network, batch, exact=False)
    network.eval()
    assert_allclose(found[0], alone(network, batch[0] / 255), atol=1e-5)
    cosine = (found * near).sum(1)
    assert (cosine > 0.95).all()
    assert (cosine < 1 - 1e-6).all()
    unmoved = evaluate.describe(make(), batch)
    assert ((found * unmoved).sum(1) < 0.999).all()  # it did move something


@pytest.mark.slow
def test_without_padding_near_is_exact():
    network, batch = warping(), images([(64, 128)])
    assert_allclose(evaluate.describe(network, batch, exact=False), evaluate.describe(network, batch), atol=1e-5)


class Cut(nnx.Module):
    def __call__(self, features):
        return features[:, 1:], {}


def test_a_transformer_to_another_size_cannot_read_padded_maps():
    network = make(transformer=Cut())
    assert evaluate.describe(network, images()[:1]).shape == (1, 512)
    with pytest.raises(ValueError, match="exact must be True where the transformer makes maps of"):
        evaluate.describe(network, images()[:1], exact=False)


# ---- Shapes


def test_shapes_are_multiples_of_64_that_hold_the_image():
    assert describing.padded_shapes([(1, 64), (65, 100), (128, 128)]) == {
        (1, 64): (64, 64),
        (65, 100): (128, 128),
        (128, 128): (128, 128),
    }


def test_of_many_shapes_the_commonest_stay_and_there_are_24():
    rng = np.random.default_rng(0)
    sizes = [tuple(map(int, size)) for size in rng.integers(1, 1025, (400, 2))]
    common = [(700, 1000)] * 30 + [(1000, 700)] * 20
    found = describing.padded_shapes(sizes + common)
    assert set(found) == {*sizes, *common}
    assert len({*found.values()}) == 24
    for (h, w), shape in found.items():
        assert shape[0] >= h
        assert shape[1] >= w
        assert all(side % 64 == 0 for side in shape)
        smaller = [other for other in found.values() if other[0] >= h and other[1] >= w]
        assert shape[0] * shape[1] == min(height * width for height, width in smaller)
    assert found[700, 1000] == (704, 1024)
    assert found[1000, 700] == (1024, 704)
    rounded = [tuple(-(-side // 64) * 64 for side in size) for size in found]
    assert len({*rounded}) > 24


def test_24_shapes_stay_as_they_are():
    sizes = [(64 * i, 64 * (25 - i)) for i in range(1, 25)]
    assert describing.padded_shapes(sizes) == {size: size for size in sizes}


# ---- Bad input


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"images": []}, "images and scales must be at least one each, not 0 and 1"),
        ({"scales": ()}, "images and scales must be at least one each, not 1 and 0"),
        ({"scales": (1.0, 0.0)}, "scales must be above 0 and finite, not 0.0"),
        ({"images": [np.zeros((4, 5, 3), np.float32)]}, r"image 0 must be \(h, w, 3\) of uint8, not \(4, 5, 3\) of f"),
        ({"images": [np.zeros((4, 5), np.uint8)]}, r"image 0 must be \(h, w, 3\) of uint8, not \(4, 5\)"),
        ({"images": [np.zeros((0, 5, 3), np.uint8)]}, r"image 0 must be \(h, w, 3\) of uint8, not \(0, 5, 3\)"),
        ({"sizes": [(70, 90)]}, "sizes must be those of all images, but none becomes 90 x 75 pixels"),
        ({"images": images([(8, 70)])}, "images must be large enough for the trunk, but 8 x 70 pixels leave no f"),
    ],
)
@pytest.mark.daily("change3-*", "change6-*", "change7-*")
def test_bad_input_is_named_in_a_sentence(change, sentence):
    arguments = {"images": images()[:1], "scales": (1.0,), **change}
    with pytest.raises(ValueError, match=sentence):
        evaluate.describe(make(), **arguments)
