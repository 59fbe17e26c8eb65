"""The shuffled regions of DCL: how far they move, and that their pixels stay together."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from scipy.ndimage import map_coordinates

from vtnjax import distort

IMAGE = np.random.default_rng(0).uniform(size=(28, 21, 2)).astype(np.float32)


@functools.cache
def drawn(scheme, reach, count=4000):
    """(count, 7, 7), where each region came from."""
    shuffle = functools.partial(distort.shuffle_regions, image=jnp.zeros((7, 7, 1)), reach=reach, scheme=scheme)
    keys = jax.random.split(jax.random.key(0), count)
    return np.asarray(jax.jit(jax.vmap(lambda key: shuffle(key)[1]))(keys))


def moved(places):
    """How far each went, (x, y): where it is less where it came from."""
    row, column = np.divmod(places, 7)
    return np.arange(7)[None, None, :] - column, np.arange(7)[None, :, None] - row


# The shares of displacements 0, 1, 2, ..., and -1 by the code's law, which a script without JAX has counted.
LAWS = {
    ("paper", 1): ({}, 0.215, None),
    ("paper", 2): ({0: 0.469, 1: 0.205, 2: 0.055, 3: 0.005, -1: 0.205, -2: 0.055, -3: 0.005}, 0.662, 0.055),
    ("paper", 3): ({}, 1.006, None),
    ("reference", 2): ({-1: 0.429, 0: 0.321, 1: 0.143, 2: 0.063, 3: 0.027}, 0.858, 0.0158),
}


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.daily("('paper', 3)")
def test_regions_move_as_far_as_the_laws_say(law):
    shares, mean, identity = LAWS[law]
    along_x, along_y = moved(drawn(*law))
    for displacement in (along_x, along_y):
        assert np.abs(displacement).mean() == pytest.approx(mean, abs=0.02)
        for step, share in shares.items():
            assert (displacement == step).mean() == pytest.approx(share, abs=0.01)
    if identity is not None:  # of whole columns, which are shuffled last
        assert (along_y == 0).all(1).mean() == pytest.approx(identity, abs=0.006)


@pytest.mark.parametrize("reach", [1, 2, 3])
def test_by_the_papers_law_none_moves_as_far_as_twice_the_reach(reach):
    furthest = max(np.abs(displacement).max() for displacement in moved(drawn("paper", reach)))
    assert furthest == 2 * reach - 1


def test_by_the_codes_law_regions_move_back_by_one_and_rows_move_whole():
    along_x, along_y = moved(drawn("reference", 2))
    assert along_x.min() == along_y.min() == -1
    assert along_x.max() == along_y.max() == 6
    assert (along_y == along_y[:, :, :1]).all()
    assert not (along_x == along_x[:, :1]).all()
    assert not (np.ptp(moved(drawn("paper", 2))[1], axis=2) == 0).all()


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_every_region_comes_once(law):
    assert (np.sort(drawn(*law).reshape(-1, 49)) == np.arange(49)).all()


def test_no_two_images_and_no_two_lines_draw_alike():
    places = drawn("paper", 2)
    assert len(np.unique(places.reshape(-1, 49), axis=0)) > 3990
    columns = places % 7
    assert (columns[:, 0] != columns[:, 1]).any(-1).mean() > 0.9


# ---- The pixels


@pytest.mark.slow
@pytest.mark.parametrize("scheme", distort.SCHEMES)
def test_the_pixels_of_a_region_stay_together(scheme):
    found, places = distort.shuffle_regions(jax.random.key(1), jnp.asarray(IMAGE), scheme=scheme)
    assert places.dtype == jnp.int32
    for i, j in np.ndindex(7, 7):
        row, column = divmod(int(places[i, j]), 7)
        came = IMAGE[4 * row : 4 * row + 4, 3 * column : 3 * column + 3]
        np.testing.assert_array_equal(found[4 * i : 4 * i + 4, 3 * j : 3 * j + 3], came)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("shape", [(10, 13, 1), (448 // 8, 50, 1), (7, 7, 1)])
def test_regions_of_broken_size_are_read_bilinearly_at_the_same_place_in_them(shape):
    image = np.random.default_rng(1).uniform(size=shape)
    found, places = distort.shuffle_regions(jax.random.key(2), jnp.asarray(image), regions=3, reach=2)
    expected = np.zeros(shape[:2])
    for y, x in np.ndindex(shape[:2]):
        i, j = int((y + 0.5) * 3 / shape[0]), int((x + 0.5) * 3 / shape[1])
        row, column = divmod(int(places[i, j]), 3)
        place = [[y + (row - i) * shape[0] / 3], [x + (column - j) * shape[1] / 3]]
        expected[y, x] = map_coordinates(image[..., 0], place, order=1, mode="nearest")[0]
    assert not (np.asarray(places) == np.arange(9).reshape(3, 3)).all()
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("regions", "reach"), [(7, 0), (3, 0), (1, 1)])
@pytest.mark.parametrize("scheme", distort.SCHEMES)
@pytest.mark.daily("reference-7-0-bfloat16", "reference-1-1-bfloat16")
def test_the_identity_returns_the_image_exactly(scheme, regions, reach, dtype):
    image = jnp.asarray(IMAGE[:, :20], dtype)
    found, places = distort.shuffle_regions(jax.random.key(0), image, regions=regions, reach=reach, scheme=scheme)
    assert found.dtype == dtype
    np.testing.assert_array_equal(np.asarray(found, np.float32), np.asarray(image, np.float32))
    assert places.ravel().tolist() == list(range(regions**2))


def test_the_gradient_of_a_region_goes_to_where_it_came_from():
    cotangent = np.random.default_rng(3).normal(size=IMAGE.shape).astype(np.float32)
    _, pull, places = jax.vjp(
        lambda image: distort.shuffle_regions(jax.random.key(1), image), jnp.asarray(IMAGE), has_aux=True
    )
    (gradient,) = pull(jnp.asarray(cotangent))
    for i, j in np.ndindex(7, 7):
        row, column = divmod(int(places[i, j]), 7)
        came = gradient[4 * row : 4 * row + 4, 3 * column : 3 * column + 3]
        np.testing.assert_allclose(came, cotangent[4 * i : 4 * i + 4, 3 * j : 3 * j + 3], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("mesh_name", ["auto_mesh", "explicit_mesh"])
def test_a_batch_is_shuffled_image_by_image_on_every_mesh(mesh_name, request):
    mesh, images = request.getfixturevalue(mesh_name), np.random.default_rng(4).uniform(size=(8, 14, 14, 1))
    images, shuffle = jnp.asarray(images, jnp.float32), jax.jit(distort.shuffle_batch)
    key = jax.random.key(5)
    alone = [distort.shuffle_regions(key, image) for key, image in zip(jax.random.split(key, 8), images, strict=True)]
    with jax.set_mesh(mesh):
        found, places = shuffle(key, jax.device_put(images, NamedSharding(mesh, PartitionSpec("data"))))
    np.testing.assert_allclose(found, [image for image, _ in alone], atol=1e-6)
    np.testing.assert_array_equal(places, [each for _, each in alone])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"regions": 0}, "regions must be a whole number of at least 1 and at most the pixels of a side, .*, not 0"),
        ({"regions": 22}, "regions must be .*(28, 21).*, not 22"),
        ({"regions": 3.5}, "regions must be .*, not 3.5"),
        ({"reach": -1}, "reach must be a whole number from 0 to regions, 7, not -1"),
        ({"reach": 8}, "reach must be a whole number from 0 to regions, 7, not 8"),
        ({"scheme": "code"}, "scheme must be one of 'paper', 'reference', not 'code'"),
        ({"image": jnp.zeros((4, 4, 1), jnp.int32)}, "image must be floating point"),
        ({"image": jnp.zeros((2, 14, 14, 1))}, "image must have the shape"),
    ],
)
def test_bad_arguments_are_refused(options, sentence, untyped):
    given = {"image": jnp.asarray(IMAGE), **options}
    with pytest.raises(ValueError, match=sentence.replace("(28, 21)", r"\(28, 21\)")):
        distort.shuffle_regions(jax.random.key(0), **given)
