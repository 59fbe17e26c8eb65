import jax
import numpy as np
import pytest
from config_files import get_config
from flax import nnx

from vtnjax import data, evaluate, models, nn, recipes, train


class Sums:
    """The sum of the images that count, and their number."""

    figure = "sum"

    def __call__(self, model, test):
        batches = list(test())
        assert [batch["image"].shape[0] for batch in batches] == [8] * len(batches)
        weights = [np.asarray(batch["mask"])[:, None, None, None] for batch in batches]
        sums = [(np.asarray(b["image"], np.float64) * w).sum() for b, w in zip(batches, weights, strict=True)]
        return {"sum": sum(sums), "count": float(sum(w.sum() for w in weights))}


@pytest.mark.parametrize(("as_stored", "scale"), [(False, 1 / 255), (True, 1.0)])
@pytest.mark.daily("True-1.0")
def test_the_whole_test_set_is_given_once_as_the_network_takes_it(as_stored, scale):
    sets = data.Generated("train", count=32), data.Generated("test", count=20)
    recipe = recipes.read_recipe(get_config("digits_stn", "smoke,distortion=none,model=fcn"), sources=sets)
    recipe, mesh = recipe._replace(evaluation=Sums()), train.data_mesh(jax.devices()[:1])
    found = recipes.make_evaluate(recipe, 8, mesh, as_stored=as_stored)(recipe.network(0))
    assert found["count"] == 20
    assert found["sum"] == pytest.approx(scale * sets[1].images.sum(dtype=np.float64), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "variant", "flip"),
    [("cub_vtn", "warp=none", False), ("cub_vtn", "head=isqrt", True), ("cub_tasn", "", False)],
)
def test_inaturalist_is_evaluated_by_super_class(name, variant, flip):
    config = get_config(name, f"{variant},dataset=inat2017,smoke")
    evaluation = recipes.read_recipe(config).evaluation
    assert (evaluation.names, evaluation.labels) == (("Magna", "Parva"), (1, 1, 1, 0, 0, 0))
    assert (evaluation.figure, evaluation.flip) == ("accuracy", flip)
    assert get_config(name, variant).evaluation.name == "classification"


def test_a_set_without_super_classes_is_refused():
    config = get_config("digits_stn", "smoke")
    config.evaluation.name = "super_classes"
    with pytest.raises(ValueError, match=r"^config\.evaluation: the test set must have super-classes"):
        recipes.read_recipe(config)


def test_a_set_without_boxes_is_refused():
    config = get_config("digits_stn", "smoke")
    config.evaluation.name = "localisation"
    with pytest.raises(ValueError, match=r"^config\.evaluation: the test set must have boxes"):
        recipes.read_recipe(config)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variant", "masks"), [("cub_vtn", "backbone=resnet18,warp=none", False), ("scenes", "trunk=small", True)]
)
def test_localisation_is_a_matter_of_the_config(name, variant, masks):
    config = get_config(name, f"smoke,{variant}")
    with config.unlocked():
        config.evaluation = {"name": "localisation", "threshold": 0.2, "heat_of": "guess"}
    recipe = recipes.read_recipe(config)
    assert recipe.evaluation == evaluate.Localisation(threshold=0.2, heat_of="guess")
    network = recipe.network(0)
    network.eval()
    found = recipes.make_evaluate(recipe, 8, train.data_mesh(jax.devices()[:1]))(network)
    assert ("inside" in found) == masks
    assert all(0 <= value <= 1 for name, value in found.items() if name != "loss")
    config.evaluation.threshold = 2.0
    with pytest.raises(ValueError, match=r"^config\.evaluation: threshold must be at least 0 and below 1, not 2\.0"):
        recipes.read_recipe(config)


@pytest.mark.slow
def test_a_network_without_a_heat_map_is_refused_before_it_is_trained():
    config = get_config("cub_tasn", "smoke")
    with config.unlocked():
        config.evaluation = {"name": "localisation"}
    with pytest.raises(ValueError, match=r"classifier of its last features, .* to have a heat map, not TASN"):
        recipes.read_recipe(config).network(0)


@pytest.mark.slow
def test_a_recipe_gives_a_retrieval_the_input_of_its_network():
    config = get_config("scenes", "smoke,trunk=small,warp=none")
    with config.unlocked():
        config.evaluation = {"name": "retrieval", "benchmark": "drawn:scenes", "size": 24, "scales": [1.0]}
        config.picture = {"name": "retrieved"}
    recipe = recipes.read_recipe(config)
    assert recipe.evaluation.prepare is recipe.as_input
    trunk = models.SmallTrunk(3, (4, 6, 8), rngs=nnx.Rngs(0))
    network = models.RetrievalNet(trunk, nn.GeM(8, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))
    found = recipes.make_evaluate(recipe, 8, train.data_mesh(jax.devices()[:1]))(network)
    assert all(0 < found[f"map_{protocol}"] < 1 for protocol in ("easy", "medium", "hard"))
    with pytest.raises(ValueError, match="the network must have descriptors"):
        recipe.evaluation(recipe.network(0), list)
    assert recipe.picture(np.zeros((1, 2, 2, 3)), recipe.evaluation.best(), [], recipe.as_picture).axes


def test_a_benchmark_that_is_not_there_is_named_before_training(tmp_path):
    config = get_config("scenes", "smoke,trunk=small,warp=none")
    with config.unlocked():
        config.evaluation = {"name": "retrieval", "benchmark": "roxford5k", "data_dir": str(tmp_path)}
    with pytest.raises(FileNotFoundError, match=r"must hold gnd_roxford5k\.pkl, but there is none"):
        recipes.read_recipe(config)
