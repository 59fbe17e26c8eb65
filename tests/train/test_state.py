from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
import pytest
from flax import nnx
from normed import Normed

from vtnjax.train import create_state, merged
from vtnjax.train.state import named_leaves, parameter_table, path_names


class TwoHalves(NamedTuple):
    first: jax.Array
    second: jax.Array


@pytest.fixture(scope="module")
def made():
    return create_state(Normed(nnx.Rngs(0)), optax.sgd(0.1), 0)


def test_names_are_paths_without_boxes(made):
    _, state = made
    assert sorted(named_leaves(state)) == [
        "key",
        "params/linear/bias",
        "params/linear/kernel",
        "params/norm/bias",
        "params/norm/scale",
        "statistics/norm/mean",
        "statistics/norm/var",
        "step",
    ]


def test_the_parameter_table_has_a_line_each_and_the_total(made):
    _, state = made
    rows = [line.split() for line in parameter_table(state.params).splitlines()]
    assert ["linear.kernel", "(36,", "3)", "108"] in rows
    assert rows[-1] == ["parameters", "in", "all", "183"]
    assert len(rows) == 5


def test_a_merged_model_is_in_evaluation_mode_and_a_copy(made):
    graphdef, state = made
    model = merged(graphdef, state)
    assert model.norm.use_running_average
    model.norm.mean[...] += 1.0
    model.linear.kernel[...] += 1.0
    again = merged(graphdef, state)
    assert float(again.norm.mean[...].max()) == 0
    assert float(abs(model.linear.kernel[...] - again.linear.kernel[...]).min()) > 0.9


def test_the_names_on_a_path_are_those_of_attributes_keys_and_places():
    tree = {"transformer": [jnp.zeros(()), TwoHalves(jnp.zeros(()), jnp.ones(()))]}
    paths = [path_names(path) for path, _ in jax.tree_util.tree_leaves_with_path(tree)]
    assert paths[0] == ("transformer", "[0]")
    assert [path[2] for path in paths[1:]] == ["first", "second"]
