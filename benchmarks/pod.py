"""What would a ResNet-50 with a VTN at 448 x 448 ask of a TPU v5e pod of 256 chips? By arithmetic; nothing is run.

    python benchmarks/pod.py

lowers and compiles the training step of configs/cub_vtn.py for this machine's CPU, which takes about a minute, counts
its operations and bytes, and sets them against what the chips are sold with. It prints a table and writes
results/pod-cpu.json.
"""

import argparse
import runpy
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from saving import save

from vtnjax import data, recipes, train

CONFIG = Path(__file__).parents[1] / "configs" / "cub_vtn.py"
# TPU v5e: bfloat16 operations a second, bytes a second of all four links of a chip, chips, and chips of a host.
PEAK, LINKS, CHIPS, OF_A_HOST = 197e12, 1600e9 / 8, 256, 4
REACHED = 0.4  # of the peak: a guess
PICTURE = 186e9 / 675_170  # bytes of a file: the archive of iNaturalist 2017 over its pictures
# Images a chip, and images of the whole batch whose features triplets compare.
CASES = ((1, 256), (4, 1024), (4, 0), (16, 4096), (16, 0))


def lower() -> tuple[Any, Any, Any]:
    """The state's shapes, those of the warped features, and the lowered step."""
    config = runpy.run_path(str(CONFIG))["get_config"]("")
    classes = tuple(map(str, range(200)))
    images = np.zeros((200, 448, 448, 3), np.uint8)
    source = data.Arrays(images, np.arange(200), classes)
    recipe = recipes.read_recipe(config, sources=(source, source))
    optimiser = train.make_optimiser(config, recipe.rates)
    structure = []

    def create():
        graphdef, state = train.create_state(recipe.network(0), optimiser, 0)
        structure.append(graphdef)
        return state

    state = jax.eval_shape(create)
    step = train.make_train_step(structure[0], optimiser, recipe.prepare, recipe.objective)
    look = recipes.make_look(structure[0])
    _, out = jax.eval_shape(lambda s, x: look(s, recipe.as_input(x)), state, recipe.spec["image"])
    return state, out["warped"], jax.jit(step, donate_argnums=0).lower(state, recipe.spec)


def count() -> dict[str, float]:
    """Operations and bytes of the step, by image where they grow with the batch."""
    state, warped, lowered = lower()
    batch = warped.shape[0]
    memory = lowered.compile().memory_analysis()
    return {
        "gigaflops_an_image": lowered.cost_analysis()["flops"] / batch / 1e9,
        "gradient_megabytes": sum(4 * leaf.size for leaf in jax.tree.leaves(state.params)) / 1e6,
        "state_megabytes": sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state)) / 1e6,
        # Of this CPU's program in float32, the half of it for bfloat16.
        "activation_megabytes_an_image": memory.temp_size_in_bytes / batch / 2 / 1e6,
        "warped_megabytes_an_image": 4 * warped.size / batch / 1e6,
    }


def expect(counted: dict[str, float], images: int, compared: int) -> dict[str, float]:
    """What a chip and a host would do in a step of so many images a chip."""
    computing = images * counted["gigaflops_an_image"] * 1e9 / (REACHED * PEAK)
    reducing = 2 * counted["gradient_megabytes"] * 1e6 / LINKS
    # Every chip gets the features of all, and the gradient is summed over all.
    gathered = compared * counted["warped_megabytes_an_image"] * 1e6
    gathering = 3 * gathered / LINKS
    seconds = computing + reducing + gathering
    held = (
        counted["state_megabytes"] + counted["gradient_megabytes"] + images * counted["activation_megabytes_an_image"]
    )
    return {
        "images_a_chip": images,
        "compared": compared,
        "computing_ms": 1e3 * computing,
        "reducing_ms": 1e3 * reducing,
        "gathering_ms": 1e3 * gathering,
        "step_ms": 1e3 * seconds,
        "chip_gigabytes": (held * 1e6 + 2 * gathered) / 1e9,
        "images_a_second_of_a_host": OF_A_HOST * images / seconds,
        "read_megabytes_a_second_of_a_host": OF_A_HOST * images / seconds * PICTURE / 1e6,
        "sent_megabytes_a_second_of_a_host": OF_A_HOST * images / seconds * 448 * 448 * 3 / 1e6,
    }


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    began = time.perf_counter()
    counted = count()
    rows = [expect(counted, *case) for case in CASES]
    for figures in (counted, *rows):
        print(", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    figures = {"counted": counted, "chips": CHIPS, "reached": REACHED, "rows": rows}
    save("pod", "python benchmarks/pod.py", seconds=time.perf_counter() - began, figures=figures)


if __name__ == "__main__":
    main()
