"""The losses of ten steps of a small run of every recipe, as JSON: `python tests/train/every_recipe.py 1,8 [CASE...]`.

Each number is a mesh of so many devices. Where JAX_COORDINATOR_ADDRESS is set, this is one process of several, whose
devices count together, and only the first prints.
"""

import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

import jax

sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest has it

import smaller

from vtnjax import recipes, train

STEPS, BATCH = 10, 8
SMALL = {"steps": STEPS, "batch_size": BATCH, "data_threads": 0}

# A config with its variant, and the values that make it smaller yet.
CASES: dict[str, dict[str, Any]] = {
    "digits_stn:smoke": {},
    "distorted_digits:smoke,warp=tps,distortion=E": {},
    "two_digits:smoke": {},
    "volume_digits:smoke": {},
    "svhn_stn:smoke,model=sl3": {},
    "feature_maps:smoke,network=stn_c1": {
        "batch_size": 2 * BATCH,
        "micro_batches": 2,
        "ema": 0.9,
        "label_smoothing": 0.1,
    },
    "cub_stn:smoke,backbone=small": {"input.size": 32, "input.crop": 28, "network.size": 28},
    "cub_tasn:smoke,warp=vtn,head=isqrt": {"network.warp.groups": 4, "network.head.reduced": 4},
    "cub_dcl:smoke": {},
    "cub_dcl:smoke,warp=vtn": {"network.warp.groups": 4},
    "delf:smoke,warp=vtn": {"network.warp.groups": 4},
    "delf:smoke,warp=vtn,stage=attention,search=scenes": {  # which only a backbone may be searched with
        "network.trunk": {"name": "squeezenet"},
        "network.warp.groups": 4,
    },
    "hidden_digits:smoke,method=uniform": {},
    "solar:smoke,method=low": {"network.resolution": 32},
    "cub_vtn:smoke,head=kp,dataset=inat2017": {"network.head.size": 16},
    "scenes:smoke": {
        "source_options.size": 32,
        "input.size": 32,
        "input.crop": 32,
        "evaluation.name": "localisation",
    },
    "composites:smoke,batches=balanced,warp=affine_groups": {},
    "retrieval:smoke": {"batch_size": 3 * BATCH, "batches.renew_every": 4, "batches.pool": 30},
    "retrieval:smoke,dataset=scenes,warp=vtn,loss=triplet": {
        "network.warp.groups": 4,
        "batch_size": 3 * BATCH,
        "batches.queries": 10,
        "batches.pool": 20,
        "learning_rate": 1e-5,
    },
    # At the rate of the config, Adam makes whole steps of the rounding of gradients near zero: losses differ by 1e-4.
    "composites:smoke,consistency=unit,triplets=own": {"batches.triplet_batch": BATCH, "learning_rate": 3e-4},
}


def read_config(case: str) -> Any:
    """The config of a case."""
    config = smaller.get_config(case)
    smaller.put(config, SMALL | CASES[case])
    return config


def losses(case: str, meshes: dict[str, Any], share: dict[str, int]) -> dict[str, list[float]]:
    """The losses of a case on each mesh."""
    config = read_config(case)
    recipe = recipes.read_recipe(config)
    optimiser = train.make_optimiser(config, recipe.rates)
    network, average = recipe.network(config.seed), config.ema > 0
    graphdef, start = train.create_state(network, optimiser, config.seed, average=average)
    step = recipe.training_step(graphdef, optimiser)
    found = {}
    for name, mesh in meshes.items():
        compiled, state, seen = jax.jit(step), jax.device_put(start, train.replicated(mesh)), []
        batches = recipe.batches(config.seed, **share)
        on_devices = train.to_devices(batches, mesh)
        for number in range(STEPS):
            if isinstance(batches, train.Renewed) and number % batches.renew_every == 0:
                batches.renew(number, functools.partial(predict, recipe, graphdef, state, mesh))
            state, metrics = compiled(state, next(on_devices))
            seen.append(metrics["loss"])
        found[name] = [float(loss) for loss in seen]
    return found


def predict(recipe: Any, graphdef: Any, state: Any, mesh: Any, images: Any) -> Any:
    """The network's prediction on the devices of a mesh."""
    images = jax.device_put(images, train.split(mesh))
    return jax.jit(lambda state, images: train.merged(graphdef, state)(recipe.as_input(images)))(state, images)


def main() -> None:
    """The command."""
    if "JAX_COORDINATOR_ADDRESS" in os.environ:
        train.connect_processes()
    meshes = {count: train.data_mesh(jax.devices()[: int(count)]) for count in sys.argv[1].split(",")}
    found = {case: losses(case, meshes, train.own_share()) for case in sys.argv[2:] or CASES}
    if jax.process_index() == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
