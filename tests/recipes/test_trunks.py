import chex
import jax.numpy as jnp
import pytest
from config_files import get_config, read
from flax import nnx

from vtnjax.recipes.trunks import build_trunk


@pytest.mark.slow
def test_pretrained_weights_are_not_asked_for_where_a_checkpoint_has_them(tmp_path):
    config = get_config("cub_vtn", "smoke,backbone=squeezenet,warp=none")
    config.pretrained = str(tmp_path / "moved.pth")
    recipe = read(config, "cub_vtn", "smoke")
    with pytest.raises((OSError, ValueError), match=r"moved\.pth"):
        recipe.network(0)
    found = nnx.state(recipe.network(0, pretrained=False), nnx.Param)
    config.pretrained = ""
    wanted = nnx.state(read(config, "cub_vtn", "smoke").network(0), nnx.Param)
    chex.assert_trees_all_equal_shapes_and_dtypes(found, wanted)


def test_a_small_trunk_has_no_pretrained_weights():
    config = get_config("composites", "smoke")
    config.pretrained = "timm/resnet18"
    with pytest.raises(ValueError, match=r"config.pretrained must be empty for the trunk 'small', not 'timm/resnet18'"):
        read(config, "composites", "smoke").network(0)
    config = get_config("hidden_digits", "smoke")
    config.attention_pretrained = "foo.pth"
    with pytest.raises(ValueError, match=r"config.attention_pretrained must be empty for the trunk 'small'"):
        read(config, "hidden_digits", "smoke").network(0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_features_that_are_stored_are_scaled(dtype):
    stored = jnp.arange(12.0, dtype=dtype).reshape(1, 2, 3, 2)
    for options, factor in (({}, 1.0), ({"scale": 0.25}, 0.25)):
        trunk = build_trunk("network.trunk", {"name": "none", **options}, 2, dtype=dtype, seed=0, pretrained="")
        (found,) = trunk(stored).values()
        assert found.dtype == stored.dtype
        chex.assert_trees_all_equal(found, (factor * stored.astype("float32")).astype(dtype))


def test_a_factor_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"network.trunk: scale must be above 0 and finite, not 0.0"):
        build_trunk("network.trunk", {"name": "none", "scale": 0.0}, 2, dtype="float32", seed=0, pretrained="")
