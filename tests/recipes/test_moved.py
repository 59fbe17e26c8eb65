import config_files
import pytest

from vtnjax.recipes import MOVED
from vtnjax.train.config import wrong_key


def test_a_key_that_moved_is_answered_with_where_it_is():
    config = config_files.get_config("cub_vtn", "smoke")
    assert wrong_key(config, "photo.crop", MOVED) == ("the config has no key 'photo.crop': it is now config.input.crop")
    assert wrong_key(config, "warp_options.groups", MOVED).endswith("it is now config.network.warp.groups")
    assert wrong_key(config, "input.crop", MOVED) is None
    assert "did you mean 'crop'" in wrong_key(config, "input.crp", MOVED)


@pytest.mark.parametrize(
    ("name", "key", "said"),
    [
        ("two_digits", "warp_options.temperature", "it is now config.network.warp_options.temperature"),
        ("volume_digits", "distortion", "the config has no key 'distortion'"),
        ("cub_tasn", "learning_rate_batch", "it is now config.learning_rate, which follows batch_size"),
    ],
)
def test_a_key_moved_to_where_this_config_has_it(name, key, said):
    config = config_files.get_config(name, "")
    sentence = wrong_key(config, key, MOVED)
    assert said in sentence
    if "config." in sentence and "," not in sentence:
        assert wrong_key(config, sentence.partition("config.")[2], {}) is None


@pytest.mark.parametrize("new", sorted({new for new in MOVED.values() if "," not in new}))
@pytest.mark.daily("network.warp")
def test_what_a_key_is_called_now_is_there_in_some_config(new):
    found = []
    for path in sorted(config_files.CONFIGS.glob("*.py")):
        for variant in ("", "consistency=unit,triplets=own", "ablation=mixing"):
            try:
                found.append(wrong_key(config_files.get_config(path.stem, variant), new, {}) is None)
            except ValueError:  # a config that has no such variant
                continue
    assert any(found)
