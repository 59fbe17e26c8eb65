"""Search by local features, from a network to its figures, on a few drawn scenes."""

import importlib

import numpy as np
import pytest
from flax import nnx

from vtnjax import data, evaluate, models, retrieval
from vtnjax.evaluate import local_retrieval

module = importlib.import_module("vtnjax.evaluate.all_features")
SMALL = {"size": 64, "scales": (2.0,), "dimensions": 8, "words": 8, "examples": 8, "threshold": 4.0}


def evaluation(**options):
    examples = data.load_source("drawn:scenes", "validation", task="all", size=64, count=12, instances="train")
    return evaluate.LocalRetrieval("drawn:scenes", **{**SMALL, **options}).of(examples)


@pytest.fixture(scope="module")
def network():
    return models.DELF(models.SqueezeNet(rngs=nnx.Rngs(0)), 6, stage="features", rngs=nnx.Rngs(0))


@pytest.fixture(scope="module")
def found(network):
    return evaluation()(network, list)


def counted(search, query):
    """A function that counts the features of an image that a map brings a feature of the query to."""

    def count(image):
        matches, fit = search.verify(query, image, threshold=4.0)
        return len({place for place, inlier in zip(matches[:, 1].tolist(), fit.inliers, strict=True) if inlier})

    return count


def test_figures_are_those_of_each_step_by_hand(network, found):
    """One image after the other, and one ranking after the other."""
    whole = evaluation()
    examples = [whole.source[round(place)]["image"] for place in np.linspace(0, 11, 8)]
    options = {"scales": (2.0,)}
    raw = [each.descriptors for image in examples for each in evaluate.local_features(network, [image], **options)]
    components = retrieval.principal_components(np.concatenate(raw), size=8)
    options["project"] = components.apply
    short = [next(evaluate.local_features(network, [image], **options)) for image in examples]
    codebook = retrieval.train_codebook(np.concatenate([each.descriptors for each in short]), 8)
    benchmark = data.load_benchmark("drawn:scenes", size=64)
    images = [benchmark.database[index] for index in range(len(benchmark.database))]
    search = retrieval.build_local_search(codebook, evaluate.local_features(network, images, **options))
    for protocol, junk in (("easy", ("junk", "hard")), ("medium", ("junk",)), ("hard", ("junk", "easy"))):
        ranking, before = [], []
        for number, truth in enumerate(benchmark.ground_truth):
            (query,) = evaluate.local_features(network, [benchmark.queries[number]], **options)
            left_out = [index for name in junk for index in truth[name]]
            before.append(search.rank(query, best=0))
            ranking.append(retrieval.rerank(before[-1], counted(search, query), junk=left_out))
        for prefix, ranked in (("", ranking), ("asmk_", before)):
            expected = evaluate.revisited(np.stack(ranked), benchmark.ground_truth, protocol=protocol)
            for name, value in expected.items():
                assert found[f"{prefix}{name}_{protocol}"] == pytest.approx(value, abs=1e-12)
    assert 0 < found["map_hard"] < found["map_easy"] < 1
    assert any(found[f"asmk_{name}"] != found[name] for name in found if not name.startswith("asmk_"))


@pytest.mark.slow
def test_how_many_images_are_held_at_once_makes_no_difference(network, found, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 50)
    assert evaluation()(network, list) == found


@pytest.mark.slow
def test_components_may_be_those_of_fewer_images(network, found, monkeypatch):
    monkeypatch.setattr(local_retrieval, "_FOR_COMPONENTS", 3)
    assert evaluation()(network, list) != found


def test_what_cannot_be_searched_is_refused(network):
    with pytest.raises(ValueError, match=r"the network must be a models\.DELF to have local features, not Linear"):
        evaluation().check(nnx.Linear(2, 2, rngs=nnx.Rngs(0)))
    small = models.SmallTrunk(3, (4, 5), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"the network.s trunk must be a backbone, which tells .*, not SmallTrunk"):
        evaluation().check(models.DELF(small, 3, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="of must be called first"):
        evaluate.LocalRetrieval("drawn:scenes")(network, list)
    with pytest.raises(ValueError, match="descriptors must be at least as many as the 5000 words, not "):
        evaluation(words=5000)(network, list)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"benchmark": "oxford"}, "benchmark must be one of"),
        ({"scales": ()}, "scales must be at least one, not none"),
        ({"scales": (0.0,)}, "scales must be above 0"),
        ({"threshold": -1.0}, "threshold must be above 0"),
        *(
            ({name: 0}, f"{name} must be a whole number of at least 1, not 0")
            for name in ("size", "most", "words", "examples", "best")
        ),
    ],
)
def test_wrong_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        evaluate.LocalRetrieval(**options)


# ---- Kept features


def read_by(network, monkeypatch, **options):
    """The figures of a search, and how many images the network read for them."""
    count = []
    ordinary = local_retrieval.local_features

    def counted(network, images, **options):
        count.append(len(images))
        return ordinary(network, images, **options)

    with monkeypatch.context() as patched:
        patched.setattr(local_retrieval, "local_features", counted)
        return evaluation(**options)(network, list), sum(count)


@pytest.mark.slow
def test_features_that_are_kept_are_read_and_not_made_again(network, found, monkeypatch, tmp_path):
    benchmark = data.load_benchmark("drawn:scenes", size=64)
    images = 8 + 8 + len(benchmark.database) + len(benchmark.queries)  # those of components, of words and of a search
    assert read_by(network, monkeypatch, features=str(tmp_path)) == (found, images)
    assert read_by(network, monkeypatch, features=str(tmp_path)) == (found, 4)  # one of each, to be compared
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_features_by_another_network_are_not_read(network, monkeypatch, tmp_path):
    other = models.DELF(models.SqueezeNet(rngs=nnx.Rngs(1)), 6, stage="features", rngs=nnx.Rngs(0))
    for each in (network, other):
        kept, _ = read_by(each, monkeypatch, features=str(tmp_path))
        assert kept == evaluation()(each, list)
    assert len(list(tmp_path.iterdir())) == 2
    read_by(network, monkeypatch, features=str(tmp_path), threshold=3.0, best=5, words=6)
    assert len(list(tmp_path.iterdir())) == 2
    read_by(network, monkeypatch, features=str(tmp_path), most=7)
    assert len(list(tmp_path.iterdir())) == 3
