"""How often a training step reads or writes single rows and columns of a float array, on a TPU and on a GPU.

On a TPU that is slow. Reads of whole examples, of labels' logits and of an axis of one entry do not count.
"""

import re

import jax
import numpy as np
import optax
import pytest
from config_files import CONFIGS, get_config, sources

from vtnjax import data, recipes, train

CLASSES = tuple(map(str, range(200)))
BLACK = np.broadcast_to(np.uint8(0), (2 * len(CLASSES), 512, 600, 3))
PHOTOGRAPHS = data.Arrays(BLACK, np.arange(len(BLACK)) % len(CLASSES), CLASSES)

# (config, variant): the gathers and scatters of its step on a TPU, and on a GPU. On a TPU an image of 224 x 224 read at
# as many points, and a volume, would keep too much between two products; all else is computed by products.
COUNTS = {
    ("composites", "smoke"): (0, 9),
    ("cub_stn", "backbone=resnet18"): (8, 8),
    ("cub_dcl", "backbone=resnet18"): (6, 6),
    ("cub_tasn", "backbone=resnet18"): (0, 14),
    ("cub_vtn", "backbone=resnet18"): (0, 9),
    ("cub_vtn", "backbone=resnet18,warp=stn"): (0, 9),
    ("cub_vtn", "backbone=resnet18,warp=ssn"): (0, 21),
    ("cub_vtn", "backbone=resnet18,warp=asn"): (0, 8),
    ("cub_vtn", "backbone=resnet18,warp=deformable"): (0, 9),
    ("delf", "smoke,trunk=resnet18"): (0, 0),
    ("digits_stn", "smoke"): (0, 9),
    ("distorted_digits", "smoke,model=st_cnn"): (0, 9),
    ("feature_maps", "smoke,network=stn_c1"): (0, 13),
    ("hidden_digits", "smoke"): (0, 14),
    ("retrieval", "smoke,dataset=scenes,warp=vtn"): (0, 9),
    ("scenes", "smoke,trunk=small"): (0, 9),
    ("solar", "smoke"): (0, 14),
    ("svhn_stn", "smoke"): (0, 26),
    ("two_digits", "smoke"): (0, 9),
    ("volume_digits", "smoke"): (9, 13),
}


def test_every_config_is_counted():
    assert {name for name, _ in COUNTS} == {path.stem for path in CONFIGS.glob("*.py")}


def traced_step(recipe):
    """The training step of a recipe, traced for no platform in particular."""
    optimiser, graphdefs = optax.sgd(0.1), []

    def state():
        graphdef, made = train.create_state(recipe.network(0, pretrained=False), optimiser, 0)
        graphdefs.append(graphdef)
        return made

    shapes = jax.eval_shape(state)
    return jax.jit(recipe.training_step(graphdefs[0], optimiser)).trace(shapes, recipe.spec)


def indexed_axes(module):
    """For each gather and scatter of a float array, its shape and the axes that are indexed."""
    found = []

    def look(operation):
        if operation.name in ("stablehlo.gather", "stablehlo.dynamic_gather", "stablehlo.scatter"):
            key = "scatter_dimension_numbers" if operation.name == "stablehlo.scatter" else "dimension_numbers"
            numbers = operation.attributes[key]
            axes = re.search(r"(?:start_index_map|scatter_dims_to_operand_dims) = \[([\d, ]*)\]", str(numbers))[1]
            shape = re.search(r"tensor<((?:\d+x)*)b?f\d+>", str(operation.operands[0].type))
            if shape:
                found.append((tuple(map(int, shape[1].split("x")[:-1])), tuple(map(int, axes.split(",")))))
        for region in operation.regions:
            for block in region:
                for inner in block:
                    look(inner.operation)

    look(module.operation)
    return found


def spatial(shape, axes, batch, classes):
    """Whether it is rows or columns that are indexed."""
    wholes = {axis for axis in axes if shape[axis] == 1}
    wholes |= {0} if shape[0] == batch else set()
    wholes |= {len(shape) - 1} if shape[-1] == classes else set()
    return bool(set(axes) - wholes)


@pytest.mark.parametrize(("name", "variant"), COUNTS)
@pytest.mark.daily("feature_maps-smoke,network=stn_c1")
def test_steps_gather_and_scatter_as_often_as_named(name, variant):
    config = get_config(name, variant)
    pair = (PHOTOGRAPHS, PHOTOGRAPHS) if name.startswith("cub") else sources(name, variant)
    recipe = recipes.read_recipe(config, sources=pair)
    traced = traced_step(recipe)
    counts = []
    for platform in ("tpu", "cuda"):
        axes = indexed_axes(traced.lower(lowering_platforms=(platform,)).compiler_ir("stablehlo"))
        counts.append(sum(spatial(*each, config.batch_size, len(recipe.train.classes)) for each in axes))
    assert tuple(counts) == COUNTS[name, variant]
