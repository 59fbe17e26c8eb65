"""Turned digits and the angles that transformers undo: Figures 2 and 3 of Finnveden et al. 2020, from trained runs.

    python -m vtnjax.experiments.angles RUN [RUN ...]

where each RUN is the workdir of configs/feature_maps.py with a transformer. Every test digit is turned by an angle of
its own, uniform in +-90 degrees; the angle that a transformer undoes is read off its matrix and correlated with it.
Writes results/angles.json with the correlations, results/angles.png, the one against the other (Fig. 3), and
results/aligned.png, two digits at five angles and what the transformers pass on of them (Fig. 2).
"""

import argparse
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from vtnjax import data, distort, evaluate, plot, recipes, train
from vtnjax.experiments.checkout import find_checkout
from vtnjax.experiments.record import write_record

DIGITS, SHOWN = (4, 7), (-90, -45, 0, 45, 90)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m vtnjax.experiments.angles", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="workdirs of configs/feature_maps.py")
    parser.add_argument("--out", type=Path, help="where the pictures and the figures go; by default results/")
    arguments = parser.parse_args()
    try:
        study(arguments.runs, arguments.out or find_checkout() / "results")
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"angles: {error}")


def study(runs: list[Path], out: Path) -> dict[str, float]:
    """Correlations by the networks' names, printed, and written beside the pictures.

    Raises:
        ValueError: if a folder is no trained run of `configs/feature_maps.py` with a transformer, or two are of the
            same network.
    """
    began = time.perf_counter()
    configs = [_read(run) for run in runs]
    by_name = dict(zip(map(_name, configs), runs, strict=True))
    if len(by_name) < len(runs):
        raise ValueError(f"the runs must be of different networks, not of {', '.join(map(_name, configs))}")
    first = configs[0]
    test = data.load_source(first.dataset, "test", data_dir=first.data_dir or None, **first.source_options)
    records = [test[i] for i in range(len(test))]
    images = recipes.to_float(jnp.asarray(np.stack([record["image"] for record in records])))
    angles = np.random.default_rng(0).uniform(-90, 90, len(images)).astype(np.float32)
    shown = jnp.asarray([next(i for i, record in enumerate(records) if record["label"] == digit) for digit in DIGITS])
    shown = _turned(jnp.repeat(images[shown], len(SHOWN), axis=0), np.array(SHOWN * len(DIGITS), np.float32))
    predicted, passed_on, steps = {}, {}, {}
    for name, run in by_name.items():
        look, steps[name] = _look(run, test)
        predicted[name] = evaluate.predicted_angle(look(_turned(images, angles))["theta"])
        passed_on[name] = _grey(look(shown)["warped"])
    found = {name: evaluate.angle_correlation(angles, each) for name, each in predicted.items()}
    for name, value in found.items():
        print(f"{name}: correlation {value:.3f} of the applied and the predicted angle over {len(angles):,} digits")
    titles = {f"{name}: correlation {found[name]:.2f}": evaluate.centred_angles(p) for name, p in predicted.items()}
    plot.save(plot.angles(angles, titles), out / "angles.png")
    rows = {"input": np.asarray(shown), **passed_on}
    plot.save(plot.rows(rows, [f"{angle}°" for angle in SHOWN * len(DIGITS)]), out / "aligned.png")
    command = f"python -m vtnjax.experiments.angles {' '.join(map(str, runs))}"
    figures = {"digits": len(angles), "correlation": found}
    write_record(out / "angles.json", command, steps=steps, seconds=time.perf_counter() - began, figures=figures)
    return found


def _read(run):
    config, _ = recipes.read_trained(run)
    if config.network.name != "placed" or not config.network.placements or config.input.distortion != "R":
        raise ValueError(f"{run} must be a run of configs/feature_maps.py with a transformer and distortion=R")
    return config


def _name(config):
    kind = {"features": "C", "shared": "SL", "deep": "deep"}[config.network.mode]
    return f"STN-{kind}{'-'.join(map(str, config.network.placements))}"


def _look(run, test):
    """The function from images in [0, 1] to the output of the trained network, and the steps that trained it."""
    graphdef, state, as_input = recipes.load_member(run, test, train.data_mesh(), print)
    look, size = jax.jit(recipes.make_look(graphdef)), 250

    def all_of(images):
        parts = [look(state, as_input(images[i : i + size]))[1] for i in range(0, len(images), size)]
        return {key: np.concatenate([np.asarray(part[key]) for part in parts]) for key in ("theta", "warped")}

    return all_of, int(state.step)


def _turned(images, angles):
    return jax.jit(jax.vmap(distort.turn))(images, jnp.radians(jnp.asarray(angles)))


def _grey(maps):
    """The mean of a map's channels, each map from its least to its most."""
    grey = maps.mean(-1, keepdims=True)
    low, high = grey.min((1, 2, 3), keepdims=True), grey.max((1, 2, 3), keepdims=True)
    return (grey - low) / np.maximum(high - low, 1e-6)


if __name__ == "__main__":
    main()
