r"""How near are the descriptors of `exact=False` to those of the images alone, and what do they save?

    python benchmarks/describing.py "runs/experiments/scenes_retrieval/dataset=scenes,pool=gem,warp=vtn/0" \
        --data_dir=/usr/share/tuxpaint/stamps

Reads a run of configs/retrieval.py whose network has a transformer, such as the table `scenes_retrieval` leaves. It
describes crops of the scenes that are searched with both values of `exact`, and prints the mean and the lowest cosine
of both descriptors of an image, and the seconds that each took, compiling included. Writes
results/describing-<platform>.json.
"""

import argparse
import time
from typing import Any

import numpy as np
from saving import save

import vtnjax
from vtnjax import data, evaluate

SHORTEST = 128  # pixels of a crop's sides


def crops(data_dir: str, size: int, count: int) -> list[np.ndarray]:
    """Images of many sizes, each the upper left part of a scene."""
    scenes = data.load_benchmark("scenes", data_dir=data_dir, size=size)
    sides = np.random.default_rng(0).integers(SHORTEST, size, (count, 2), endpoint=True)
    chosen = np.linspace(0, len(scenes.database) - 1, count).astype(int)
    return [scenes.database[int(index)][:height, :width] for index, (height, width) in zip(chosen, sides, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("workdir", help="a run of configs/retrieval.py with warp=vtn or warp=stn")
    parser.add_argument("--data_dir", required=True, help="the folder of the stamps")
    parser.add_argument("--images", type=int, default=24, help="how many are described (default 24)")
    arguments = parser.parse_args()
    began = time.perf_counter()
    run = vtnjax.load_run(arguments.workdir)
    network: Any = run.model
    images = crops(arguments.data_dir, int(run.config.evaluation.size), arguments.images)
    found, figures = {}, {"sizes": len({image.shape for image in images})}
    for exact in (True, False):
        start = time.perf_counter()
        found[exact] = evaluate.describe(network, images, prepare=run.as_input, exact=exact)
        figures[f"seconds, exact={exact}"] = time.perf_counter() - start
    cosines = (found[True] * found[False]).sum(1)
    figures: dict[str, Any] = {**figures, "mean cosine": float(cosines.mean()), "lowest cosine": float(cosines.min())}
    for name, value in figures.items():
        print(f"{name:22} {value:.4g}")
    command = f"python benchmarks/describing.py RUN --data_dir=DATA_DIR --images {arguments.images}"
    save("describing", command, seconds=time.perf_counter() - began, figures=figures)


if __name__ == "__main__":
    main()
