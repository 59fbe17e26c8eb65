"""The config files, and recipes of them whose sets are read once."""

import functools
import runpy
from pathlib import Path

import jax

from vtnjax import recipes, train
from vtnjax.recipes.recipe import read_sources
from vtnjax.train.state import named_leaves

CONFIGS = Path(__file__).parents[2] / "configs"


def get_config(name, variant=""):
    return runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"](variant)


@functools.cache
def sources(name, variant):
    return read_sources(get_config(name, variant))


def read(config, name, variant):
    """The recipe of a config with the sets of a variant of a config file."""
    return recipes.read_recipe(config, sources=sources(name, variant))


def shapes(recipe, optimiser):
    """A training step's state before and after it, its metrics, and what evaluation makes; nothing is computed."""

    def one_step(batch):
        graphdef, before = train.create_state(recipe.network(0), optimiser, 0)
        after, metrics = recipe.training_step(graphdef, optimiser)(before, batch)
        seen = recipes.make_look(graphdef)(before, recipe.prepare(jax.random.key(0), batch["image"]))
        return named_leaves(before), named_leaves(after), metrics, seen

    before, after, metrics, seen = jax.eval_shape(one_step, recipe.spec)
    assert before == after
    assert all(value.shape == () for value in metrics.values())
    return after, metrics, seen
