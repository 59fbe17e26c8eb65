"""Find the digit that 100 images share, without labels: co-localisation, appendix A.2 of STN.

    python -m vtnjax.experiments.colocalisation --images T
    python -m vtnjax.experiments.colocalisation --images TC --encoder runs/colocalisation/encoder --classes 3 8

Each image is a test digit of one class at a random whole-pixel place of 84 x 84 black pixels (T), among 16 random 6 x 6
pieces of training digits (TC). A localiser is trained on those 100 images alone, by the triplet hinge of Eq. 8 in the
descriptors of a digit classifier that stays as it is, `--tries` times, of which the lowest loss counts; the percentage
of boxes that overlap the digit's square of 28 x 28 pixels by more than half stands beside the paper's. The classifier
is the latest checkpoint of `--encoder`, a workdir of train.py; without it one is trained first, on the training digits
as they are.

Each class leaves a JSON file in `results/experiments/colocalisation/`; pictures go to `runs/colocalisation`.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from vtnjax import data
from vtnjax.evaluate import intersection_over_union
from vtnjax.experiments.checkout import find_checkout
from vtnjax.experiments.colocalisation.encoder import load_encoder
from vtnjax.experiments.colocalisation.images import PATCHES, class_images, tight_boxes
from vtnjax.experiments.colocalisation.localiser import AS_WRITTEN, BLOCK, Colocaliser, Recipe
from vtnjax.experiments.colocalisation.pictures import save_pictures
from vtnjax.experiments.record import write_record

PAPER = {"T": (100,) * 10, "TC": (81, 82, 88, 75, 94, 84, 93, 85, 89, 87)}


def measure(found: Float[np.ndarray, "n 4"], truth: Array) -> dict[str, float]:
    """How many of the boxes overlap the true ones by more than half, 0 to 1, and the mean overlap."""
    overlap = np.asarray(intersection_over_union(found, truth))
    return {"found": float((overlap > 0.5).mean()), "overlap": float(overlap.mean())}


def run_class(colocaliser: Colocaliser, arguments: argparse.Namespace, label: int, recipe: Recipe) -> dict[str, float]:
    """One class: images, training, pictures and the record of it."""
    began = time.perf_counter()
    images, truth = class_images(arguments.images, label, arguments.seed)
    tries = [colocaliser.run(images, seed) for seed in range(arguments.seed, arguments.seed + arguments.tries)]
    boxes, loss = min(tries, key=lambda found: found[1])  # no label is needed for that
    test = data.Digits("test")
    tight = tight_boxes(np.asarray(truth), test.images[test.labels == label])
    figures = measure(boxes[-1], truth) | {"found_tight": measure(boxes[-1], jnp.asarray(tight))["found"]}
    figures |= {"found_at_first": measure(boxes[0], truth)["found"], "loss": loss}
    name = f"{arguments.images}{'-as_written' * arguments.as_written}-{label}-{arguments.seed}"
    save_pictures(images, truth, boxes, arguments.pictures / name)
    write_record(
        arguments.results / "colocalisation" / f"{name}.json",
        " ".join(["python -m vtnjax.experiments.colocalisation", *sys.argv[1:]]),
        seed=arguments.seed,
        steps=recipe.steps,
        seconds=time.perf_counter() - began,
        recipe=recipe._asdict(),
        label=label,
        figures=figures,
        tries=[{"loss": loss, "found": measure(boxes[-1], truth)["found"]} for boxes, loss in tries],
    )
    return figures


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vtnjax.experiments.colocalisation", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--encoder", type=Path, help="workdir of the digit classifier; without it one is trained")
    parser.add_argument("--images", choices=list(PATCHES), required=True)
    parser.add_argument("--classes", type=int, nargs="+", choices=range(10), default=list(range(10)), metavar="DIGIT")
    parser.add_argument("--steps", type=int, default=Recipe().steps)
    parser.add_argument("--tries", type=int, default=3, help="localisers trained; the one of the lowest loss counts")
    parser.add_argument("--seed", type=int, default=0, help="of the images and the first localiser")
    parser.add_argument("--jitter", type=float, help="how far windows move at random at first, normalised; 0: not")
    parser.add_argument("--as_written", action="store_true", help="keep to the paper, which fails here")
    parser.add_argument("--results", type=Path, help="where results go; by default results/experiments")
    parser.add_argument("--pictures", type=Path, help="where pictures go; by default runs/colocalisation")
    arguments = parser.parse_args()
    if arguments.tries < 1:
        parser.error(f"--tries must be at least 1, not {arguments.tries}")
    if arguments.jitter is not None and not 0 <= arguments.jitter < 1:
        parser.error(f"--jitter must be at least 0 and below 1, not {arguments.jitter}")
    if arguments.steps < BLOCK or arguments.steps % BLOCK:
        parser.error(f"--steps must be a multiple of {BLOCK}, not {arguments.steps}")
    return arguments


def main() -> None:
    """The command."""
    arguments = parse()
    recipe = (AS_WRITTEN if arguments.as_written else Recipe())._replace(steps=arguments.steps)
    if arguments.jitter is not None:
        recipe = recipe._replace(jitter=arguments.jitter)
    try:
        arguments.results = arguments.results or find_checkout() / "results" / "experiments"
        arguments.pictures = arguments.pictures or find_checkout() / "runs" / "colocalisation"
        colocaliser = Colocaliser(load_encoder(arguments.encoder, print), recipe)
    except (ValueError, OSError, ImportError, subprocess.CalledProcessError) as error:
        sys.exit(f"colocalisation: {error}")
    for label in arguments.classes:
        figures = run_class(colocaliser, arguments, label, recipe)
        print(
            f"{arguments.images}, digit {label}: {100 * figures['found']:.0f} % found (the paper: "
            f"{PAPER[arguments.images][label]}), mean overlap {figures['overlap']:.2f}, at first "
            f"{100 * figures['found_at_first']:.0f} %",
            flush=True,
        )


if __name__ == "__main__":
    main()
