"""Local features: those of the image alone, at their places, and the best of all scales; and what they find."""

import importlib

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from vtnjax import evaluate, models, nn, ops, retrieval

# The package's attribute of this name is the function.
finding = importlib.import_module("vtnjax.evaluate.local_features")


def photo(height, width, *, seed=0):
    """Smooth noise with details of several sizes."""
    rng = np.random.default_rng(seed)
    found = np.zeros((height, width, 3))
    for cell in (6, 14, 40):
        grid = rng.standard_normal((height // cell + 2, width // cell + 2, 3))
        found += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(128 + 50 * found, 0, 255).astype(np.uint8)


def make(stage="attention", **options):
    return models.DELF(models.SqueezeNet(rngs=nnx.Rngs(0)), 3, stage=stage, **{"rngs": nnx.Rngs(1), **options})


@pytest.fixture(scope="module")
def network():
    return make()


def read(network, images, **options):
    return list(evaluate.local_features(network, images, **options))


def alone(network, image):
    """`out` of an image without padding, in evaluation mode."""
    graphdef, state = nnx.split(network)

    def call(state, image):
        network = nnx.merge(graphdef, state, copy=True)
        network.eval()
        return network(models.imagenet_input(image))[1]

    return jax.tree.map(lambda x: np.asarray(x)[0], jax.jit(call)(state, jnp.asarray(image, jnp.float32)[None] / 255))


def by_score(scores):
    return np.argsort(-scores.ravel(), kind="stable")


# ---- Features and places


@pytest.mark.slow
def test_at_one_scale_they_are_the_cells_of_the_image_alone(network):
    image = photo(90, 119)
    (found,) = read(network, [image], scales=(1.0,))
    out = alone(network, image)
    order, (h, w) = by_score(out["attention"]), out["attention"].shape
    vectors = out["warped"].reshape(h * w, -1)[order]
    assert_allclose(found.scores, out["attention"].ravel()[order], rtol=1e-4)
    assert_allclose(found.descriptors, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), atol=1e-4)
    rows, columns = order // w, order % w
    assert_allclose(found.keypoints, np.stack([16 * columns + 15, 16 * rows + 15], axis=1))
    assert_array_equal(found.scales, 1)
    assert {each.dtype for each in found} == {np.dtype(np.float32)}


def averaging():
    """A network that only averages, so that a spot is seen most where it is."""
    network = make("features")
    state = nnx.to_flat_state(nnx.state(network.backbone, nnx.Param))
    means = [
        (path, leaf.replace(jnp.full(leaf.shape, 1 / np.prod(leaf.shape[:-1]), jnp.float32)))
        for path, leaf in state
        if leaf.ndim == 4
    ]
    nnx.update(network.backbone, nnx.from_flat_state(means))
    return network


@pytest.mark.slow
def test_a_spot_is_seen_where_it_is_at_every_scale():
    """It is moved over the image, and what sees it best moves with it."""
    network = averaging()
    for scale in (0.5, 1.0, 2.0):
        for x, y in ((63.0, 79.0), (111.0, 47.0)):
            image = np.zeros((128, 192, 3), np.uint8)
            image[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4] = 255
            (found,) = read(network, [image], scales=(scale,), prepare=lambda image: image)
            half = 8 / scale  # of a cell
            assert np.abs(found.keypoints[0] - [x, y]).max() <= half + 0.5
            weights = found.scores**4  # so that what is far counts little
            middle = (weights[:, None] * found.keypoints).sum(0) / weights.sum()
            assert_allclose(middle, [x, y], atol=half / 2)


def moving(**options):
    """A network whose VTN moves features, each group otherwise."""
    transformer = nn.VolumetricTransformer(512, 4, window=(3, 3), widths=(4,), squeezed=(2,), rngs=nnx.Rngs(0))
    head, rng = transformer.head, np.random.default_rng(0)
    head.kernel[...] = jnp.asarray(rng.normal(size=head.kernel.shape), jnp.float32)
    return make(transformer=transformer, **options)


@pytest.mark.slow
def test_with_a_vtn_they_lie_at_the_mean_of_where_its_groups_read():
    network, image = moving(), photo(90, 119)
    (found,) = read(network, [image], scales=(1.0,))
    out = alone(network, image)
    order = by_score(out["attention"])
    vectors = out["warped"].reshape(-1, 512)[order]
    assert_allclose(found.scores, out["attention"].ravel()[order], rtol=1e-3)
    assert_allclose(found.descriptors, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), atol=1e-3)
    places = np.mean([out["coords"][:, :, group].reshape(-1, 2)[order] for group in range(4)], axis=0)
    assert_allclose(found.keypoints, 16 * places + 15, atol=1e-2)
    assert np.abs(places - np.rint(places)).max() > 0.1  # they did move
    assert found.keypoints[:, 0].max() > 90 > found.keypoints[:, 1].max()  # x before y


class Untold(nnx.Module):
    """A warp that keeps where it reads to itself."""

    def __call__(self, features):
        return features, {}


class Affine(nnx.Module):
    """One place for all channels."""

    def __call__(self, features):
        coords = ops.identity_coords(features.shape[1:3]) + 0.5
        return features, {"coords": jnp.broadcast_to(coords, (features.shape[0], *coords.shape))}


def test_other_transformers_tell_where_they_read_too():
    image = photo(90, 119)
    plain, moved = (read(make(transformer=warp), [image], scales=(1.0,))[0] for warp in (None, Affine()))
    assert_allclose(moved.keypoints, plain.keypoints + 8, atol=1e-4)
    with pytest.raises(ValueError, match="transformer must tell where it reads, by 'coords', which Untold does not"):
        read(make(transformer=Untold()), [image], scales=(1.0,))


# ---- Scales and selection


@pytest.mark.slow
def test_the_best_of_all_scales_are_kept(network):
    image, scales = photo(100, 120), (0.5, 1.0, 2.0)
    parts = [read(network, [image], scales=(scale,))[0] for scale in scales]
    whole = [np.concatenate(each) for each in zip(*parts, strict=True)]
    (found,) = read(network, [image], scales=scales, most=40)
    order = np.argsort(-whole[2], kind="stable")[:40]
    for each, one in zip(found, whole, strict=True):
        assert_allclose(each, one[order], atol=1e-4)
    assert len({*found.scales.tolist()}) > 1
    bound = float(found.scores[10])
    assert len(read(network, [image], scales=scales, most=40, threshold=bound)[0].scores) == 11


@pytest.mark.slow
def test_a_network_without_attention_goes_by_the_length_of_its_features():
    network, image = make("features"), photo(90, 119)
    (found,) = read(network, [image], scales=(1.0,))
    assert_allclose(
        found.scores, np.sort(np.linalg.norm(alone(network, image)["warped"], axis=-1).ravel())[::-1], rtol=1e-4
    )


@pytest.mark.slow
def test_small_images_give_little_or_nothing_and_blank_cells_nothing(network):
    small, tiny = photo(12, 40), photo(9, 200)
    some, none = read(network, [small, tiny], scales=(0.25, 1.0, 2.0))
    assert [each.shape for each in none] == [(0, 2), (0, 512), (0,), (0,)]
    assert {*some.scales.tolist()} == {2.0}  # 17 pixels make a cell
    (blank,) = read(averaging(), [np.zeros((64, 64, 3), np.uint8)], scales=(1.0,), prepare=lambda image: image)
    assert len(blank.scores) == 0


def test_descriptors_are_projected_image_by_image(network):
    images = [photo(90, 119), photo(9, 30)]
    plain = read(network, images, scales=(1.0,))
    pca = retrieval.principal_components(plain[0].descriptors, size=4)
    projected = read(network, images, scales=(1.0,), project=pca.apply)
    assert_allclose(projected[0].descriptors, pca.apply(plain[0].descriptors), atol=1e-4)
    assert projected[1].descriptors.shape == (0, 4)


def test_parts_of_a_set_share_the_shapes_of_the_whole(network):
    sizes = [(90, 119), (100, 120)]
    before = finding._padded._cache_size()
    for size in sizes:
        read(network, [photo(*size)], scales=(1.0,), sizes=sizes)
    assert finding._padded._cache_size() <= before + 1
    with pytest.raises(ValueError, match="sizes must be those of all images, but none becomes 70 x 70 pixels"):
        read(network, [photo(70, 70)], scales=(1.0,), sizes=sizes)


def test_the_network_stays_in_its_mode(network):
    network.train()
    read(network, [photo(90, 119)], scales=(1.0,))
    assert not network.attention.hidden.norm.use_running_average


# ---- From images to a ranking


@pytest.mark.slow
def test_a_picture_under_an_affine_map_is_found_first_and_its_inliers_are_right():
    matrix = np.array([[1.1, 0.12, -14.0], [-0.08, 1.05, 6.0]])
    network, scales = make("features"), (1.0, 2.0)
    shown = photo(120, 128, seed=3)
    turned = np.asarray(cv2.warpAffine(shown, matrix, (128, 120), borderMode=cv2.BORDER_REFLECT))
    images = [photo(120, 128, seed=seed) for seed in (0, 1, 2)] + [turned]
    raw = read(network, images, scales=scales)
    pca = retrieval.principal_components(np.concatenate([each.descriptors for each in raw[:3]]), size=40)
    shorter = [each._replace(descriptors=pca.apply(each.descriptors)) for each in raw]
    codebook = np.concatenate([each.descriptors for each in shorter[:3]])[::20]
    search = retrieval.build_local_search(codebook, shorter)
    (query,) = read(network, [shown], scales=scales, project=pca.apply)
    assert search.rank(query)[0] == 3
    matches, fit = search.verify(query, 3)
    source = query.keypoints[matches[fit.inliers, 0]]
    target = shorter[3].keypoints[matches[fit.inliers, 1]]
    assert len(source) >= 20
    distances = np.linalg.norm(source @ matrix[:, :2].T + matrix[:, 2] - target, axis=1)
    assert np.median(distances) < 8  # half a cell
    others = [search.verify(query, other)[1].inliers.sum() for other in range(3)]
    assert fit.inliers.sum() > 2 * max(others)


# ---- Bad input


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"images": []}, "images and scales must be at least one each, not 0 and 1"),
        ({"scales": (0.0,)}, "scales must be above 0 and finite, not 0.0"),
        ({"images": [np.zeros((30, 30, 3), np.float32)]}, r"image 0 must be \(h, w, 3\) of uint8, not"),
        ({"most": 0}, "most must be a whole number of at least 1, not 0"),
        (
            {"network": models.DELF(models.SmallTrunk(3, (4, 5), rngs=nnx.Rngs(0)), 3, rngs=nnx.Rngs(0))},
            "the network's trunk must be a backbone, which tells where its cells lie, not SmallTrunk",
        ),
    ],
)
def test_bad_input_is_named_in_a_sentence(network, change, sentence):
    arguments = {"network": network, "images": [photo(30, 30)], "scales": (1.0,), **change}
    with pytest.raises(ValueError, match=sentence):
        read(**arguments)
