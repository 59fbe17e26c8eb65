import optax
import pytest
from config_files import get_config, read, shapes


@pytest.mark.parametrize("head", ["pooled", "flat"])
@pytest.mark.parametrize("trunk", ["small", "resnet18"])
@pytest.mark.parametrize("warp", ["stn", "asn", "deformable"])
@pytest.mark.daily("deformable-resnet18-flat")
def test_any_warp_and_any_head_go_with_any_trunk(warp, trunk, head):
    config = get_config("cub_vtn", "smoke,warp=none")
    config.network.warp.name, config.network.head.name = warp, head
    widths = {"widths": (4, 8, 8)} if trunk == "small" else {}
    config.network.trunk = {"name": trunk, **widths}
    _, _, (logits, out) = shapes(read(config, "cub_vtn", "smoke"), optax.sgd(0.1))
    assert (logits.shape, "coords" in out) == ((8, 6), warp != "deformable")
