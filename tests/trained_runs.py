"""Workdirs as a run leaves them, made without a step of training."""

import dataclasses
import runpy
from collections.abc import Mapping
from pathlib import Path

import jax

from vtnjax import data, recipes, train
from vtnjax.recipes.recipe import read_sources

ROOT = Path(__file__).parents[1]


class First:
    """The first records of a source."""

    def __init__(self, source: data.Source, count: int):
        self.classes, self._source, self._count = source.classes, source, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> data.Record:
        return self._source[index]


def get_config(config: str):
    """That of NAME[:VARIANT]."""
    name, _, variant = config.partition(":")
    return runpy.run_path(str(ROOT / "configs" / f"{name}.py"))["get_config"](variant)


def leave(workdir: Path, config: str, figures: Mapping[int, float | None], *, test_images: int = 20) -> recipes.Recipe:
    """Leave a checkpoint of other weights at each step, with its test figure; returns the recipe."""
    values = get_config(config)
    train_set, test_set = read_sources(values)
    recipe = recipes.read_recipe(values, sources=(train_set, First(test_set, test_images)))
    train.open_workdir(workdir, values, write=True)
    train.own_data(workdir, recipe.train, recipe.test, write=True)
    checkpoints = train.Checkpoints(workdir)
    optimiser = train.make_optimiser(values, recipe.rates)
    for step, figure in figures.items():
        _, state = train.create_state(recipe.network(step, pretrained=False), optimiser, values.seed)
        state = dataclasses.replace(state, step=state.step + step)
        checkpoints.save(step, jax.device_put(state, jax.devices()[0]), {})
        if figure is not None:
            checkpoints.record(step, figure)
    checkpoints.close()
    return recipe
