import config_files
import jax
import pytest
from config_files import get_config, read
from flax import nnx

from vtnjax import data
from vtnjax.recipes.recipe import check_config, read_recipe
from vtnjax.train.state import named_leaves


def sets():
    return data.Generated("train", count=64), data.Generated("test", count=20)


@pytest.mark.slow
def test_networks_of_other_seeds_differ():
    recipe = read_recipe(config_files.get_config("digits_stn", "smoke"), sources=sets())
    kernels = [recipe.network(seed).classifier.classifier.kernel[...] for seed in (0, 0, 1)]
    assert jax.numpy.array_equal(kernels[0], kernels[1])
    assert not jax.numpy.array_equal(kernels[0], kernels[2])


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("svhn_stn", {"dropout": 1.0}, "config.network.dropout must be at least 0 and below 1"),
        ("cub_stn", {"dropout": -0.1}, "config.network.dropout must be at least 0 and below 1"),
        ("cub_stn", {"scale": 0.0}, "config.network.scale must be above 0"),
    ],
)
def test_numbers_of_a_network_that_make_no_sense_are_named(name, change, words):
    config = config_files.get_config(name, "smoke")
    config.network.update(change)
    with pytest.raises(ValueError, match=words):
        check_config(config)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"warp": {"temperature": 0.0}}, r"config.network.warp: temperature must be above 0, not 0\.0"),
        ({"warp": {"name": "vtm"}}, "config.network.warp.name must be one of .* not 'vtm'; did you mean 'vtn'"),
        ({"warp": {"temprature": 1.0}}, "config.network.warp must not have 'temprature'"),
        (
            {"head": {"name": "flt"}},
            "config.network.head.name must be one of 'pooled', 'flat', .*, not 'flt'; did you mean 'flat'",
        ),
        ({"head": {"width": -1.0, "hat": 1}}, "config.network.head must not have 'hat'"),
        ({"trunk": {"widths": (4, 8), "name": "smal"}}, "config.network.trunk.name must be .* did you mean 'small'"),
        ({"trunk": {"strides": 2}}, "config.network.trunk must not have 'strides'"),
        ({"tail": 1}, "config.network must not have 'tail'"),
        (
            {"name": "warped_map"},
            "config.network.name must be one of .*, not 'warped_map'; did you mean 'warped_features'",
        ),
    ],
)
@pytest.mark.daily("changes5-*")
def test_options_of_a_network_are_named_by_the_configs_keys(changes, said):
    config = get_config("composites", "smoke")
    with config.unlocked():
        config.network.update(changes)
    with pytest.raises(ValueError, match=said):
        nnx.eval_shape(lambda: read(config, "composites", "smoke").network(0))


def made_rates(variant):
    recipe = read(get_config("composites", variant), "composites", "smoke")
    model = nnx.eval_shape(lambda: recipe.network(0))
    return recipe.rates, named_leaves(nnx.state(model, nnx.Param))


@pytest.mark.parametrize(
    ("warp", "frozen"), [("deformable", "predictor"), ("vtn", "transformer"), ("stn", "transformer")]
)
def test_frozen_reaches_what_places_the_warp_and_nothing_else(warp, frozen):
    rates, params = made_rates(f"smoke,warp={warp},frozen")
    factors = {name: rates(tuple(name.split("/")))[0] for name in params}
    assert {name for name, factor in factors.items() if factor == 0} == {name for name in params if frozen in name}
    assert {*factors.values()} == {0.0, 1.0}


def test_freezing_a_network_that_warps_nothing_is_refused():
    with pytest.raises(
        ValueError, match="localiser_multiplier must be 1 for a network none of whose parameters place a warp"
    ):
        made_rates("smoke,warp=none,frozen")


def test_frozen_statistics_are_those_of_the_trunk():
    config = get_config("cub_vtn", "smoke,backbone=resnet18,warp=vtn")
    config.frozen_statistics = True
    frozen = read(config, "cub_vtn", "smoke").frozen_statistics
    assert frozen(("backbone", "stem", "norm"))
    assert not frozen(("transformer", "norms", "0"))


def test_frozen_statistics_of_a_network_without_any_are_refused():
    config = get_config("cub_vtn", "smoke,backbone=squeezenet,warp=none")
    config.frozen_statistics = True
    with pytest.raises(ValueError, match=r"config.frozen_statistics must be False for a network without a trunk that"):
        nnx.eval_shape(lambda: read(config, "cub_vtn", "smoke").network(0))
