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
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray
from matplotlib.animation import PillowWriter
from matplotlib.figure import Figure

from vtnjax import data, distort, losses, models, nn, ops, plot, train
from vtnjax.evaluate import intersection_over_union, window_boxes
from vtnjax.experiments.runner import ROOT, write_record
from vtnjax.models.stn import CNN

PAPER = {"T": (100,) * 10, "TC": (81, 82, 88, 75, 94, 84, 93, 85, 89, 87)}
PATCHES = {"T": 0, "TC": 16}
CANVAS, WINDOW = (84, 84), (28, 28)
DIGIT_SCALE = (WINDOW[0] - 1) / (CANVAS[0] - 1)  # of the window that copies a square of WINDOW pixels
BATCH, BLOCK = 16, 25
JITTERED = 0.6
ENCODER_PARAMETERS = 54_000  # 32 filters a layer, the fewest of A.4
_CELLS = 4  # of the CNN's last layer on 28 x 28 pixels
SHOWN = 6


class Recipe(NamedTuple):
    """How a localiser is trained. `AS_WRITTEN` keeps to the paper.

    The gradient of a window tells no more than its own pixels do: where no digit is near, nothing, and clutter tells
    wrong things. So windows are moved at random while training, ever less, which is the gradient of a smoother loss.

    As written, all crops can become alike by showing nothing: a window off the image, or many times its size, sees
    black, which is at no distance from other black. Then each hinge is at most the margin.

    Attributes:
        steps: of Adam, each on BATCH images, all pairs of them, and random crops of each.
        rate: the learning rate at its highest, after a tenth of the steps; it falls to 0 by a cosine.
        margin: alpha of Eq. 8, in squared units of the descriptors, whose squared distances are thousands.
        scale: the windows' size over the image's, fixed at a digit's; None: learned, beginning at the whole image.
        detached: whether a pair's hinge moves the window of its first image alone; see `losses.colocalisation_loss`.
        inside: weight of the squared normalised distance by which a window leaves the image.
        jitter: the standard deviation of a window's random move at first, normalised; 0 after JITTERED of the steps.
        looks: how often a step moves the windows and cuts random crops; their losses are averaged.
    """

    steps: int = 800
    rate: float = 1e-3
    margin: float = 150.0
    scale: float | None = DIGIT_SCALE
    detached: bool = True
    inside: float = 10_000.0
    jitter: float = 0.25
    looks: int = 4


AS_WRITTEN = Recipe(margin=1.0, scale=None, detached=False, inside=0.0, jitter=0.0, looks=1)


def hidden_digits(
    key: PRNGKeyArray, digits: Float[np.ndarray, "n h w 1"], others: Float[np.ndarray, "m h w 1"], patches: int
) -> tuple[Float[Array, "n 84 84 1"], Float[Array, "n 4"]]:
    """Each digit somewhere on a black canvas, `patches` pieces of the others over it, and the digits' boxes."""
    draw_key, key = jax.random.split(key)
    chosen = jax.random.randint(draw_key, (len(digits), patches), 0, len(others))
    keys = jax.random.split(key, len(digits))
    place = jax.vmap(lambda key, image, others: distort.translate_clutter_place(key, image, others, shape=CANVAS))
    images, corners = place(keys, jnp.asarray(digits), jnp.asarray(others)[chosen])
    left_top = corners.astype(jnp.float32) - 0.5
    size = jnp.array(WINDOW[::-1], jnp.float32)[None]
    return images, jnp.concatenate([left_top, left_top + size], axis=1)


def random_crop(key: PRNGKeyArray, image: Float[Array, "h w c"]) -> Float[Array, "28 28 c"]:
    """I^rand: WINDOW pixels at a random whole-pixel place, whatever the localiser's scale is."""
    room = jnp.array([c - w + 1 for c, w in zip(CANVAS, WINDOW, strict=True)], jnp.int32)
    y, x = jax.random.randint(key, (2,), jnp.zeros(2, jnp.int32), room)
    return jax.lax.dynamic_slice(image, (y, x, jnp.zeros((), jnp.int32)), (*WINDOW, image.shape[-1]))


def cut_window(image: Float[Array, "h w c"], window: Float[Array, "3"]) -> Float[Array, "28 28 c"]:
    """I^T: WINDOW pixels of the window of a scale and a translation."""
    grid = ops.attention_grid(window[0], window[1:], WINDOW)
    return ops.sample(image, ops.to_pixels(grid, CANVAS))


class Colocaliser:
    """Trains localisers for sets of images, compiled once."""

    def __init__(self, describe: Callable[[Array], Array], recipe: Recipe):
        self._describe, self._recipe = describe, recipe
        rate = optax.warmup_cosine_decay_schedule(0.0, recipe.rate, max(1, recipe.steps // 10), recipe.steps)
        self._optimiser = optax.adam(rate)
        self._graphdef, _ = nnx.split(self._make(0))
        self._block = jax.jit(self._run_block)
        self._boxes = jax.jit(lambda params, images: window_boxes(self._windows(params, images), CANVAS, WINDOW))

    def run(
        self, images: Float[Array, "n 84 84 1"], seed: int, *, say: Callable[[str], None] = print
    ) -> tuple[Float[np.ndarray, "blocks n 4"], float]:
        """The images' boxes before the first step and after every BLOCK steps, and the mean loss of the last block."""
        _, params = nnx.split(self._make(seed))
        state, boxes, loss = (params, self._optimiser.init(params)), [self._boxes(params, images)], jnp.nan
        steps = self._recipe.steps
        keys = jax.random.split(jax.random.key(seed), steps)
        jitter = self._recipe.jitter * np.maximum(0, 1 - np.arange(steps, dtype=np.float32) / (JITTERED * steps))
        for start in range(0, steps, BLOCK):
            state, loss = self._block(state, images, keys[start : start + BLOCK], jitter[start : start + BLOCK])
            boxes.append(self._boxes(state[0], images))
            if (start // BLOCK) % 4 == 3:
                say(f"  step {start + BLOCK}: loss {float(loss):.4g}")
        return np.stack(jax.device_get(boxes)), float(loss)

    def _make(self, seed):
        rngs = nnx.Rngs(seed)
        localiser = models.ColocalisationLocaliser((*CANVAS, 1), rngs=rngs)
        options: dict[str, Any] = {"warp": "attention", "shape": WINDOW, "scale": self._recipe.scale}
        return nn.SpatialTransformer(localiser, localiser.features, **options, rngs=rngs)

    def _windows(self, params, images):
        """The windows' scale and translation, (n, 3)."""
        theta = nnx.merge(self._graphdef, params, copy=True)(images)[1]["theta"]
        if self._recipe.scale is None:
            return theta
        return jnp.concatenate([jnp.full((len(images), 1), self._recipe.scale), theta], axis=1)

    def _objective(self, params, images, key, jitter):
        """What is minimised, and the loss of Eq. 8 in it."""
        windows = self._windows(params, images)
        options: dict[str, Any] = {"margin": self._recipe.margin, "detach_partner": self._recipe.detached}
        options["reduction"] = "mean"

        def look(key):
            move_key, crop_key = jax.random.split(key)
            moves = jitter * jax.random.normal(move_key, (len(images), 2))
            crops = jax.vmap(cut_window)(images, windows.at[:, 1:].add(moves))
            random = jax.vmap(random_crop)(jax.random.split(crop_key, len(images)), images)
            return losses.colocalisation_loss(self._describe(crops), self._describe(random), **options)

        loss = jax.vmap(look)(jax.random.split(key, self._recipe.looks)).mean()
        beyond = jax.nn.relu(jnp.abs(windows[:, 1:]) + windows[:, :1] - 1)
        return loss + self._recipe.inside * jnp.sum(beyond**2, axis=1).mean(), loss

    def _run_block(self, state, images, keys, jitter):
        def step(state, drawn):
            params, slots = state
            key, jitter = drawn
            batch_key, look_key = jax.random.split(key)
            chosen = jax.random.choice(batch_key, len(images), (min(BATCH, len(images)),), replace=False)
            batch = jnp.take(images, chosen, axis=0)
            slopes, loss = jax.grad(self._objective, has_aux=True)(params, batch, look_key, jitter)
            updates, slots = self._optimiser.update(slopes, slots, params)
            return (optax.apply_updates(params, updates), slots), loss

        state, found = jax.lax.scan(step, state, (keys, jitter))
        return state, found.mean()


def load_encoder(workdir: Path | None, say: Callable[[str], None]) -> Callable[[Array], Array]:
    """The descriptors of a trained CNN; without a workdir one is trained, or taken from where that was done before.

    Raises:
        ValueError: if the workdir holds no trained run of a CNN for digits of 28 x 28 pixels.
    """
    if workdir is None:
        workdir = ROOT / "runs" / "colocalisation" / "encoder"
        say(f"no --encoder: training one in {workdir}, or taking it from there")
        command = [sys.executable, "train.py", "--config", "configs/digits_stn.py:model=cnn,distortion=none"]
        command += ["--config.steps=600", "--config.batch_size=64", "--config.learning_rate=0.001"]
        command += [f"--config.parameters={ENCODER_PARAMETERS}"]
        subprocess.run([*command, "--workdir", str(workdir)], cwd=ROOT, check=True)
    graphdef, state, _ = train.load_run(workdir, data.load_source("digits", "train"), train.data_mesh(), say)
    model = nnx.merge(graphdef, state.params, state.statistics)
    classifier = model.classifier if isinstance(model, models.STN) and model.transformer is None else None
    if not isinstance(classifier, CNN) or classifier.classifier.in_features != _CELLS * classifier.conv2.out_features:
        raise ValueError(f"--encoder must be a run of model=cnn,distortion=none, but {workdir} is of another network")
    return lambda crops: models.describe_crops(classifier, crops)


def class_images(images: str, label: int, seed: int) -> tuple[Float[Array, "n 84 84 1"], Float[Array, "n 4"]]:
    """The 100 test digits of a class, which the encoder has not seen, hidden in images; and their boxes."""
    test, others = data.Digits("test"), data.Digits("train")
    digits = test.images[test.labels == label].astype(np.float32) / 255
    key = jax.random.fold_in(jax.random.key(seed), label)
    return hidden_digits(key, digits, others.images.astype(np.float32) / 255, PATCHES[images])


def tight_boxes(boxes: Float[np.ndarray, "n 4"], digits: Float[np.ndarray, "n h w 1"]) -> Float[np.ndarray, "n 4"]:
    """The boxes of the digits' own pixels, given those of their squares."""
    found = []
    for box, digit in zip(boxes, digits, strict=True):
        rows, columns = np.nonzero(digit[..., 0])
        inside = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        found.append(np.tile(box[:2], 2) + inside)
    return np.stack(found).astype(np.float32)


def draw_boxes(images: Array, truth: Array, boxes: Float[np.ndarray, "n 4"], step: int, figure: Figure, row: Any):
    """A row of images with the digits' squares, green, and the boxes, orange."""
    for i, axes in enumerate(row):
        axes.clear()
        plot.draw_image(axes, images[i])
        plot.draw_box(axes, truth[i], "tab:green")
        plot.draw_box(axes, boxes[i], "tab:orange")
    row[0].set_ylabel(f"step {step}", fontsize=8)


def save_pictures(images: Array, truth: Array, boxes: Float[np.ndarray, "blocks n 4"], stem: Path) -> None:
    """`stem`.png, some moments of the optimisation (as Fig. 4), and `stem`.gif, all of them."""
    last = len(boxes) - 1
    moments = sorted({round(last * part) for part in (0, 0.1, 0.3, 1)})
    figure = Figure(figsize=(1.1 * SHOWN, 1.15 * len(moments)), layout="constrained")
    for row, moment in zip(figure.subplots(len(moments), SHOWN, squeeze=False), moments, strict=True):
        draw_boxes(images, truth, boxes[moment], moment * BLOCK, figure, row)
    plot.save(figure, stem.with_suffix(".png"))
    figure = Figure(figsize=(1.1 * SHOWN, 1.3), layout="constrained")
    row, writer = figure.subplots(1, SHOWN), PillowWriter(fps=4)
    with writer.saving(figure, str(stem.with_suffix(".gif")), dpi=80):
        for moment, found in enumerate(boxes):
            draw_boxes(images, truth, found, moment * BLOCK, figure, row)
            writer.grab_frame()


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
        cores=len(os.sched_getaffinity(0)),
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
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "experiments", help="where results go")
    parser.add_argument("--pictures", type=Path, default=ROOT / "runs" / "colocalisation", help="where pictures go")
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
