"""The evaluation of a retrieval, with networks that know everything, nothing, and something in between."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from vtnjax import evaluate, models, retrieval

INSTANCES, KINDS = 5, ("easy", "easy", "hard", "junk", "background")


class Told:
    """Images whose first pixel tells the instance and whose second a number of its own."""

    def __init__(self, instances):
        self.instances, self.sizes = instances, ((3, 4),) * len(instances)

    def __len__(self):
        return len(self.instances)

    def __getitem__(self, index):
        image = np.zeros((3, 4, 3), np.uint8)
        image[0, 0], image[0, 1] = self.instances[index], (index, 7 * index % 31, 0)
        return image


class Known:
    """A benchmark whose instances are told."""

    def __init__(self):
        each = [(instance, kind) for instance in range(INSTANCES) for kind in KINDS]
        self.names = tuple(f"{instance}-{kind}" for instance, kind in each)
        self.database = Told([0 if kind in ("junk", "background") else 1 + instance for instance, kind in each])
        self.queries = Told(list(range(1, 1 + INSTANCES)))
        self.ground_truth = tuple(
            {kind: [i for i, one in enumerate(each) if one == (instance, kind)] for kind in ("easy", "hard", "junk")}
            for instance in range(INSTANCES)
        )


class Fake(models.RetrievalNet):
    """A network that describes an image by its first pixels, in bytes."""

    def __init__(self, tell):
        super().__init__(None, jnp.asarray, rngs=nnx.Rngs(0))
        self.tell = tell

    def __call__(self, image):
        found = self.tell(jnp.round(255 * image).astype(jnp.int32))
        return found / jnp.linalg.norm(found, axis=-1, keepdims=True), {}


def perfect(image):
    return jax.nn.one_hot(image[:, 0, 0, 0], 1 + INSTANCES)


def mixed(image):
    """Pseudo-random numbers of the pixels."""
    seed = image[:, 0, 0, :1] * 37 + image[:, 0, 1, :1] * 101 + image[:, 0, 1, 1:2] * 11
    return jnp.sin(1.7 * (seed * jnp.arange(1, 9)[None]).astype(jnp.float32))


def evaluation(**options):
    made = evaluate.Retrieval("drawn:roxford5k", **options)
    return dataclasses.replace(made, opened=Known(), prepare=lambda image: image)


def test_a_network_that_knows_all_finds_all():
    found = evaluation()(Fake(perfect), list)
    names = [f"{name}_{p}" for p in ("easy", "medium", "hard") for name in ("map", "mp_at_1", "mp_at_5", "mp_at_10")]
    assert found == pytest.approx(dict.fromkeys(names, 1.0))


def average_precision(row, right, junk):
    kept = [image for image in row if image not in junk]
    places = [place for place, image in enumerate(kept) if image in right]
    areas = [((hits / place if place else 1.0) + (hits + 1) / (place + 1)) / 2 for hits, place in enumerate(places)]
    return sum(areas) / len(right)


@pytest.mark.slow
def test_a_network_that_knows_nothing_has_the_figures_of_a_loop():
    known = Known()
    vectors = {
        name: [np.asarray(Fake(mixed)(jnp.asarray(images[i])[None] / 255)[0])[0] for i in range(len(images))]
        for name, images in (("queries", known.queries), ("database", known.database))
    }
    areas = {"easy": [], "medium": [], "hard": []}
    for query, truth in zip(vectors["queries"], known.ground_truth, strict=True):
        row = sorted(range(len(known.names)), key=lambda i: (-float(query @ vectors["database"][i]), i))
        easy, hard, junk = (truth[name] for name in ("easy", "hard", "junk"))
        areas["easy"].append(average_precision(row, easy, hard + junk))
        areas["medium"].append(average_precision(row, easy + hard, junk))
        areas["hard"].append(average_precision(row, hard, easy + junk))
    found = evaluation()(Fake(mixed), list)
    for protocol, each in areas.items():
        assert found[f"map_{protocol}"] == pytest.approx(np.mean(each), abs=1e-6)
        assert found[f"map_{protocol}"] < 0.6


def test_descriptors_that_are_not_finite_have_no_figures():
    found = evaluation()(Fake(lambda image: perfect(image) / 0), list)
    assert np.isnan(list(found.values())).all()


@pytest.fixture
def turned(tmp_path):
    """A whitening that takes a mean off and turns and scales what is left, in its file."""
    rng = np.random.default_rng(0)
    made = retrieval.Whitening(rng.normal(size=8), rng.normal(size=(5, 8)))
    made.save(tmp_path / "whitening.npz")
    return made, str(tmp_path / "whitening.npz")


def test_whitened_descriptors_are_compared(turned):
    made, path = turned
    vectors = [
        np.concatenate([np.asarray(Fake(mixed)(jnp.asarray(images[i])[None] / 255)[0]) for i in range(len(images))])
        for images in (Known().queries, Known().database)
    ]
    queries, database = ((each - made.mean) @ made.projection.T for each in vectors)
    cosines = queries @ database.T / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(database, axis=1)
    expected = evaluate.revisited(np.argsort(-cosines, axis=1), Known().ground_truth, protocol="medium")
    found, bare = (evaluation(whitening=each)(Fake(mixed), list) for each in (path, ""))
    assert found["map_medium"] == pytest.approx(expected["map"])
    assert found["map_medium"] != bare["map_medium"]
    assert evaluation(whitening=path).how == "on drawn:roxford5k, whitened"


def test_a_whitening_that_cannot_be_is_refused_before_anything_runs(turned, tmp_path):
    with pytest.raises(FileNotFoundError):
        evaluate.Retrieval("drawn:roxford5k", size=64, whitening=str(tmp_path / "none.npz")).of(None)
    with pytest.raises(ValueError, match="descriptors must have 8 numbers a row, not 6"):
        evaluation(whitening=turned[1])(Fake(perfect), list)


def test_of_equal_products_the_first_image_is_first():
    module = importlib.import_module("vtnjax.evaluate.retrieval")
    queries, database = np.eye(2, dtype=np.float32), np.array([[0, 1], [1, 0], [0, 1], [1, 0]], np.float32)
    assert module.rank(queries, database).tolist() == [[1, 3, 0, 2], [0, 2, 1, 3]]


def test_the_best_images_are_right_junk_or_wrong():
    made = evaluation()
    assert made.best() == {}
    made(Fake(perfect), list)
    shown = made.best()["retrieved"]
    assert len(shown["queries"]) == len(shown["found"]) == 5
    assert shown["kinds"] == [["right"] * 3 + kinds for kinds in ([["junk", "wrong"]] + 4 * [["wrong", "wrong"]])]
    np.testing.assert_array_equal(shown["found"][2][1], Known().database[11])


def test_descriptors_are_kept_apart_for_database_and_queries(tmp_path):
    made = evaluation(descriptors=str(tmp_path))
    first = made(Fake(perfect), list)
    assert len(list(tmp_path.iterdir())) == 2
    assert made(Fake(perfect), list) == first
    assert len(list(tmp_path.iterdir())) == 2


def test_as_many_queries_as_images_have_descriptors_of_their_own(tmp_path):
    made, known = evaluation(descriptors=str(tmp_path)), Known()
    known.queries = Told(known.queries.instances * len(KINDS))
    known.ground_truth *= len(KINDS)
    found = dataclasses.replace(made, opened=known)(Fake(perfect), list)
    assert found["map_medium"] == pytest.approx(1.0)


def test_a_network_without_descriptors_is_refused():
    other = nnx.Linear(2, 2, rngs=nnx.Rngs(0))
    for ask in (lambda: evaluation()(other, list), lambda: evaluation().check(other)):
        with pytest.raises(ValueError, match=r"the network must have descriptors, as models\.RetrievalNet has"):
            ask()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"benchmark": "roxford"}, "benchmark must be one of 'roxford5k', .*, not 'roxford'; did you mean 'roxford5k'"),
        ({"size": 0}, "size must be a whole number of at least 1, not 0"),
        ({"scales": ()}, "scales must be at least one, not none"),
        ({"scales": (1.0, -1.0)}, "scales must be above 0 and finite, not -1.0"),
    ],
)
def test_wrong_arguments_are_named(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        evaluate.Retrieval(**options)


def test_what_is_said_beside_the_figures():
    assert evaluate.Retrieval().how == "on roxford5k"
    assert evaluate.Retrieval("scenes", scales=(1.0, 2**-0.5)).how == "on scenes at scales 1, 0.707"
    assert evaluate.Retrieval().figure == "map_medium"
