"""The picture that a run leaves, of what the network did with the first test images."""

import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from etils import epath
from flax import nnx
from jaxtyping import Array

from vtnjax import data, evaluate
from vtnjax.recipes.pictures import COLOURS, PICTURES, Picture, check_picture, look_at
from vtnjax.recipes.recipe import Recipe
from vtnjax.train.state import TrainState, merged
from vtnjax.train.store import write_whole

COUNT = 10
_LONGEST = 15


def make_look(
    graphdef: nnx.GraphDef, picture: Picture | None = None
) -> Callable[[TrainState, Array], tuple[Array, dict[str, Array]]]:
    """`(state, images) -> (logits, out)` of the model in evaluation mode, with what a picture shows beside it."""
    return lambda state, images: look_at(picture, merged(graphdef, state), images)


def check_look(name: str, recipe: Recipe, graphdef: nnx.GraphDef, state: TrainState) -> None:
    """Raise a ValueError, before anything is trained, unless the picture of a name can show what the network makes.

    Args:
        name: the picture's name, `config.picture.name`.
        recipe: the recipe of the run.
        graphdef: the model's structure.
        state: the state that the run begins with.
    """
    importlib.import_module("vtnjax.plot")  # says now if Matplotlib is missing
    image, look = recipe.test[0]["image"], make_look(graphdef, PICTURES[name])
    spec = jax.ShapeDtypeStruct((1, *image.shape), image.dtype)
    _, out = jax.eval_shape(lambda state, images: look(state, recipe.as_input(images)), state, spec)
    check_picture(name, out)


def save_figure(recipe: Recipe, graphdef: nnx.GraphDef, state: TrainState, path: epath.PathLike) -> None:
    """Ten test images of different classes where there are that many, with the labels and the guesses, if any.

    Args:
        recipe: the run's recipe.
        graphdef: the model's structure.
        state: the run's state.
        path: the file to write, whose suffix says the format.
    """
    from vtnjax import plot

    records = one_of_each(recipe.test)
    images = np.stack([record["image"] for record in records])
    shown = images if images.shape[-1] <= COLOURS else _brightness(images)
    look = jax.jit(make_look(graphdef, recipe.picture))
    logits, out = jax.device_get(look(jax.device_get(state), recipe.as_input(jax.device_put(images))))
    out |= located(records)
    guesses = logits.argmax(-1)
    if isinstance(recipe.evaluation, evaluate.Retrieval):  # of a network that describes images and guesses nothing
        out |= recipe.evaluation.best()
        guesses = [record["label"] for record in records]
    titles = [
        short_name(recipe.test.classes, record["label"])
        + ("" if np.array_equal(guess, record["label"]) else f"\nnot {short_name(recipe.test.classes, guess)}")
        for record, guess in zip(records, guesses, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder) / epath.Path(path).name
        plot.save(recipe.picture(shown, out, titles, recipe.as_picture), drawn)
        epath.Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_whole(epath.Path(path), drawn.read_bytes())


def _brightness(features):
    """Features, which have no colours, as grey images: the mean over the channels, the brightest of each being 1."""
    mean = features.astype(np.float32).mean(-1, keepdims=True)
    highest = mean.max((1, 2), keepdims=True)
    return np.clip(mean / np.where(highest > 0, highest, 1), 0, 1)


def short_name(classes: tuple[str, ...], label: Any, *, longest: int = _LONGEST) -> str:
    """A class's name as long as an image is wide; of several labels their names side by side, without "none"."""
    names = [classes[each] for each in np.atleast_1d(label)]
    name = names[0] if len(names) == 1 else "".join(name for name in names if name != "none")
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def located(records: list[Any]) -> dict[str, np.ndarray]:
    """The `box` (n, 4) of records; nothing where they have none."""
    boxes = [record["box"] for record in records if "box" in record]
    return {"box": np.stack(boxes)} if boxes else {}


def one_of_each(test: data.Source) -> list[data.Record]:
    """The first records of different classes, ten at most, in the order of the classes."""
    chosen: dict[tuple[int, ...], data.Record] = {}
    for index in range(min(len(test), 20 * COUNT)):
        record = test[index]
        chosen.setdefault(tuple(np.atleast_1d(record["label"]).tolist()), record)
        if len(chosen) == COUNT:
            break
    return [chosen[label] for label in sorted(chosen)]
