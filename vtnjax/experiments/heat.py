"""Where several trained networks see the objects of their test set, side by side, as in Fig. 6 of VTN.

    python -m vtnjax.experiments.heat plain=runs/plain STN=runs/stn VTN=runs/vtn --out heat.png

draws ten test images of different classes where there are that many, with the Grad-CAM of the true class in each
network, its box in red, and the true box in green where the set has boxes. The runs must have the same set.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from vtnjax import evaluate, plot, recipes
from vtnjax.recipes.look import located, one_of_each, short_name
from vtnjax.recipes.recipe import read_sources

if TYPE_CHECKING:
    import matplotlib.figure


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m vtnjax.experiments.heat", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("runs", nargs="+", metavar="NAME=WORKDIR", help="trained runs, and what to call them")
    parser.add_argument("--out", type=Path, default=Path("heat.png"), help="the file to write (default heat.png)")
    parser.add_argument("--data_dir", help="where the set lies, if not where the first run read it")
    known = parser.parse_args(arguments)
    try:
        named = dict(_named(word) for word in known.runs)
        plot.save(draw({name: recipes.load_run(workdir) for name, workdir in named.items()}, known.data_dir), known.out)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"heat: {error}")
    print(known.out)


def draw(runs: Mapping[str, recipes.Run], data_dir: str | None = None) -> "matplotlib.figure.Figure":
    """The figure of some runs by their names.

    Args:
        runs: the runs, which read images of one size and tell the same classes apart.
        data_dir: where the set lies; by default where the first of them read it.

    Raises:
        ValueError: if they differ in these, or a network has no heat map.
        OSError: if the data cannot be read.
    """
    first = next(iter(runs.values()))
    for name, run in runs.items():
        if (run.shape, run.classes) != (first.shape, first.classes):
            raise ValueError(f"the runs must read images of one size and tell the same classes apart, not as {name}")
    config = first.config
    config.data_dir = config.data_dir if data_dir is None else data_dir
    records = one_of_each(first.read.to_test(read_sources(config)[1]))
    images, labels = (np.stack([record[name] for record in records]) for name in ("image", "label"))
    heats = {name: _heat(run, images, labels) for name, run in runs.items()}
    boxes = {name: evaluate.heat_boxes(heat, images.shape[1:3]) for name, heat in heats.items()}
    titles = [short_name(first.classes, label) for label in labels]
    return plot.heat(images, heats, boxes, true=located(records).get("box"), titles=titles)


def _named(word: str) -> tuple[str, str]:
    name, equals, workdir = word.partition("=")
    if not (name and equals and workdir):
        raise ValueError(f"a run must be NAME=WORKDIR, not {word!r}")
    return name, workdir


def _heat(run: recipes.Run, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The heat (n, h', w') of the true classes."""
    heat = jax.jit(lambda images, labels: evaluate.with_heat(run.model, run.as_input(images), labels)[1]["heat"])
    return np.asarray(heat(images, labels))


if __name__ == "__main__":
    main()
