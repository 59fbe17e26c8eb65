"""Which digit does each transformer follow? What stands beside Table 4 of the STN paper (A.1), from a trained run.

    python -m vtnjax.experiments.addition RUN

where RUN is the workdir of configs/two_digits.py:model=2xst_fcn, or of model=st_fcn. Where a transformer reads, the
mean of its coordinates, is correlated over the test pairs with where each digit is, its centre of mass. Writes
results/addition.json with the correlations, and results/addition.png, ten pairs and what the transformers pass on.
"""

import argparse
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from numpy import ndarray

from vtnjax import plot, recipes, train
from vtnjax.experiments.checkout import find_checkout
from vtnjax.experiments.record import write_record

SHOWN = 10
_BATCH = 250


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m vtnjax.experiments.addition", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a workdir of configs/two_digits.py")
    parser.add_argument("--out", type=Path, help="where the picture and the figures go; by default results/")
    arguments = parser.parse_args()
    try:
        study(arguments.run, arguments.out or find_checkout() / "results")
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"addition: {error}")


def study(run: Path, out: Path) -> Float[ndarray, "k 2"]:
    """The correlations of k transformers with the first and the second digit, printed, and written with the picture.

    Raises:
        ValueError: if the folder is no trained run of `configs/two_digits.py` with the paper's transformers.
    """
    began = time.perf_counter()
    config = _read(run)
    test = recipes.read_recipe(config).test
    graphdef, state, as_input = recipes.load_member(run, test, train.data_mesh(), print)
    look, pairs = (
        jax.jit(recipes.make_look(graphdef)),
        jnp.asarray(np.stack([test[i]["image"] for i in range(len(test))])),
    )
    batches = [as_input(pairs[i : i + _BATCH]) for i in range(0, len(pairs), _BATCH)]
    seen = [jax.device_get(look(state, batch)[1]) for batch in batches]
    images = np.concatenate(batches)
    coords, warped = (np.concatenate([part[name] for part in seen]) for name in ("coords", "warped"))
    found = follows(coords, images)
    for number, (first, second) in enumerate(found, 1):
        print(f"transformer {number} follows the first digit by {first:.2f}, the second by {second:.2f} (correlation)")
    rows = {f"digit {channel + 1}": images[:SHOWN, ..., [channel]] for channel in range(2)}
    rows |= {f"ST{c // 2 + 1}, {c % 2 + 1}": warped[:SHOWN, ..., [c]] for c in range(warped.shape[-1])}
    plot.save(plot.rows(rows), out / "addition.png")
    command = f"python -m vtnjax.experiments.addition {run}"
    figures = {"pairs": len(images), "correlation": found.round(4).tolist()}
    seconds = time.perf_counter() - began
    write_record(out / "addition.json", command, steps=int(state.step), seconds=seconds, figures=figures)
    return found


def _read(run):
    config, _ = recipes.read_trained(run)
    if config.network.name != "two_digits" or config.network.model not in ("st_fcn", "2xst_fcn"):
        raise ValueError(f"{run} must be a run of configs/two_digits.py with model=2xst_fcn or model=st_fcn")
    return config


def follows(coords: Float[ArrayLike, "n p q *k 2"], images: Float[ArrayLike, "n h w 2"]) -> Float[ndarray, "k 2"]:
    """How far each of k transformers follows the digit of each channel.

    Pearson's correlation, the mean of x and y, of the place that is read with the digit's centre of mass, both in
    pixels; 0 for a place that never changes.

    Args:
        coords: the coordinates that were read, (n, h', w', 2) or (n, h', w', k, 2), (x, y) in pixels.
        images: the images (n, h, w, 2) of a digit in each channel, at least 0 and black outside the digit.
    """
    coords, images = np.asarray(coords, np.float64), np.asarray(images, np.float64)
    places = coords.reshape(len(coords), -1, np.prod(coords.shape[3:-1], dtype=int), 2).mean(1)  # (n, k, 2)
    points = np.stack(np.meshgrid(*map(np.arange, images.shape[2:0:-1])), -1)  # (h, w, 2)
    digits = np.einsum("nhwc,hwa->nca", images, points) / images.sum((1, 2))[..., None]  # (n, c, 2)
    return np.array(
        [[_correlation(place, digit) for digit in digits.swapaxes(0, 1)] for place in places.swapaxes(0, 1)]
    )


def _correlation(a, b):
    a, b = a - a.mean(0), b - b.mean(0)
    spread = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return ((a * b).sum(0) / np.where(spread > 0, spread, 1)).mean()


if __name__ == "__main__":
    main()
