import chex
import pytest
from config_files import get_config, read
from flax import nnx


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
