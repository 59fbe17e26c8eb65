r"""How alike are the local features of one image, and how far apart do they lie?

    python benchmarks/likeness.py --data_dir=/usr/share/tuxpaint/stamps \
        "runs/experiments/scenes_retrieval/delf-stage=features,trunk=squeezenet,dataset=scenes,search=scenes/0" \
        "runs/experiments/scenes_retrieval/delf-stage=features,trunk=squeezenet,dataset=scenes,search=scenes,warp=vtn/0"

Reads runs of configs/delf.py, such as the table `scenes_retrieval` leaves. Of some of the scenes that are searched it
takes the best features of each at their own size, and prints, by the warp of the run, the mean cosine of two of an
image, and the standard deviation of their places in pixels. Writes results/likeness-<platform>.json.
"""

import argparse
import time
from typing import Any

import numpy as np
from saving import save

import vtnjax
from vtnjax import data, evaluate


def measure(run: Any, images: list[np.ndarray], best: int) -> dict[str, float]:
    """The means over images of how alike their best features are, and of how far they lie apart."""
    cosines, spreads = [], []
    for found in evaluate.local_features(run.model, images, scales=(1.0,), most=best, prepare=run.as_input):
        products = found.descriptors @ found.descriptors.T
        cosines.append(products[~np.eye(len(products), dtype=bool)].mean())
        spreads.append(found.keypoints.std(0).mean())
    return {"mean cosine": float(np.mean(cosines)), "spread, pixels": float(np.mean(spreads))}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("workdirs", nargs="+", help="runs of configs/delf.py, each with another warp")
    parser.add_argument("--data_dir", required=True, help="the folder of the stamps")
    parser.add_argument("--images", type=int, default=100, help="how many scenes are read (default 100)")
    parser.add_argument("--best", type=int, default=36, help="how many features of a scene (default 36)")
    arguments = parser.parse_args()
    began, figures = time.perf_counter(), {}
    for run in map(vtnjax.load_run, arguments.workdirs):
        scenes = data.load_benchmark("scenes", data_dir=arguments.data_dir, size=int(run.config.evaluation.size))
        chosen = np.linspace(0, len(scenes.database) - 1, arguments.images).astype(int)
        warp = run.config.network.warp.name
        figures[warp] = measure(run, [scenes.database[int(index)] for index in chosen], arguments.best)
        print(warp, *(f"{name} {value:.3g}" for name, value in figures[warp].items()), sep="  ")
    options = f"--images {arguments.images} --best {arguments.best}"
    command = f"python benchmarks/likeness.py {options} --data_dir=DATA_DIR RUN RUN_WITH_VTN"
    save("likeness", command, seconds=time.perf_counter() - began, figures=figures)


if __name__ == "__main__":
    main()
