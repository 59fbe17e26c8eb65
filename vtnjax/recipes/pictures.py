"""The picture a run leaves: what the network did with the first test images."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import nnx
from jaxtyping import Array

from vtnjax import data, plot
from vtnjax.recipes.build import build_input, build_picture
from vtnjax.train.config import Config
from vtnjax.train.state import TrainState, merged
from vtnjax.train.store import write_whole

COUNT = 10
_LONGEST = 15


def make_look(graphdef: nnx.GraphDef) -> Callable[[TrainState, Array], tuple[Array, dict[str, Array]]]:
    """`(state, images) -> (logits, out)` of the model in evaluation mode."""
    return lambda state, images: merged(graphdef, state)(images)


def save_figure(
    config: Config, graphdef: nnx.GraphDef, state: TrainState, test: data.Source, path: epath.PathLike
) -> None:
    """Ten test images of different classes where there are that many, with the labels and the guesses.

    Where the model warps its input: before, the grid, and after; where it reads several windows of it: these, and what
    they show. Where it warps features: where each field reads. Of volumes: two projections, and the plane that the
    model makes.

    Args:
        config: of the run.
        graphdef: the model's structure.
        state: of the run.
        test: the test set.
        path: where to write; the suffix says the format.
    """
    records = _one_of_each(test)
    images = np.stack([record["image"] for record in records])
    look, as_input = jax.jit(make_look(graphdef)), build_input(config)
    logits, out = jax.device_get(look(jax.device_get(state), as_input(jax.device_put(images))))
    titles = [
        _short(test, record["label"])
        + ("" if np.array_equal(guess, record["label"]) else f"\nnot {_short(test, guess)}")
        for record, guess in zip(records, logits.argmax(-1), strict=True)
    ]
    if images.ndim == 5:
        figure = plot.projections(images, out["plane"], titles)
    elif "coords" in out and out["warped"].ndim == 5:
        shown = build_picture(config)(out["warped"].astype(np.float32).reshape(-1, *out["warped"].shape[2:]))
        figure = plot.windows(images, out["coords"], shown.reshape(out["warped"].shape), titles)
    elif "coords" in out and _warps_features(out, images):
        figure = plot.fields(images, out["coords"], titles)
    elif "coords" in out:
        warped = build_picture(config)(out["warped"].astype(np.float32))
        figure = plot.before_after(images, out["coords"], warped, titles)
    else:
        figure = plot.gallery(images, titles)
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / epath.Path(path).name
        plot.save(figure, drawn)
        epath.Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(epath.Path(path), drawn.read_bytes())


def _warps_features(out: dict[str, Any], images: np.ndarray) -> bool:
    """Whether what was warped is a map of features: of the last ones' size, or with other channels than the images."""
    return out["features"].shape[:3] == out["warped"].shape[:3] or out["warped"].shape[-1] != images.shape[-1]


def _short(source: data.Source, label: Any) -> str:
    """A class's name as long as an image is wide; of several labels their names side by side, without "none"."""
    names = [source.classes[each] for each in np.atleast_1d(label)]
    name = names[0] if len(names) == 1 else "".join(name for name in names if name != "none")
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _one_of_each(test: data.Source) -> list[data.Record]:
    chosen: dict[tuple[int, ...], data.Record] = {}
    for index in range(min(len(test), 20 * COUNT)):
        record = test[index]
        chosen.setdefault(tuple(np.atleast_1d(record["label"]).tolist()), record)
        if len(chosen) == COUNT:
            break
    return [chosen[label] for label in sorted(chosen)]
