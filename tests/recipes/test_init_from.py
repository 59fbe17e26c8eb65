"""The weights of a run become those of another network, as far as they fit."""

from typing import Any

import chex
import numpy as np
import pytest
import trained_runs
from flax import nnx

from vtnjax import recipes

CONFIG = "composites:smoke,warp=vtn"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained")
    recipe = trained_runs.leave(workdir, CONFIG, {3: None, 7: None})
    return workdir, recipe


def variables(network):
    return {
        ".".join(map(str, path)): np.asarray(leaf.get_value()) for path, leaf in nnx.to_flat_state(nnx.state(network))
    }


@pytest.mark.slow
def test_a_network_of_the_same_config_has_every_weight_of_the_latest_checkpoint(trained):
    workdir, recipe = trained
    network, said = recipe.network(0), []
    recipes.init_from(network, workdir, said.append)
    wanted = variables(recipe.network(7))
    found = {name: leaf for name, leaf in variables(network).items() if "rngs" not in name}
    chex.assert_trees_all_equal(found, {name: wanted[name] for name in found})
    count = len(found)
    assert said == [f"begins with {count} of the network's {count} arrays from {workdir}, step 7"]


def test_what_does_not_fit_stays_and_is_named(trained):
    """A network without a warp, and with more classes."""
    workdir, recipe = trained
    config = trained_runs.get_config("composites:smoke,warp=none")
    trunk: Any = recipe.network(7)
    more: Any = recipes.read_recipe(config, sources=(OtherClasses(recipe.train), OtherClasses(recipe.test))).network(0)
    before, said = variables(more), []
    recipes.init_from(more, workdir, said.append)
    after = variables(more)
    chex.assert_trees_all_equal(variables(more.backbone), variables(trunk.backbone))
    heads = [name for name in after if name.startswith("classifier")]
    last = [name for name in heads if 40 in after[name].shape]
    assert last
    for name in last:
        np.testing.assert_array_equal(after[name], before[name])
        (line,) = [line for line in said if line.startswith(f"  not {name}, ")]
        assert f"and {before[name].shape} here" in line
    assert said[0].startswith(f"begins with {len(after) - len(last)} of the network's {len(after)} arrays")


class OtherClasses:
    """A set with 40 classes."""

    def __init__(self, source):
        self._source, self.classes = source, tuple(f"class {i}" for i in range(40))

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        return self._source[index]


def test_a_network_that_shares_nothing_is_a_sentence(trained):
    workdir, _ = trained
    other = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    with pytest.raises(
        ValueError, match=f"--init_from must name a run whose network shares weights .*{workdir} has none"
    ):
        recipes.init_from(other, workdir, print)


def test_a_folder_without_a_run_is_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="must be the workdir of a trained run"):
        recipes.init_from(nnx.Linear(2, 3, rngs=nnx.Rngs(0)), tmp_path, print)
