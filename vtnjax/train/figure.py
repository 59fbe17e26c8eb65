"""The picture a run leaves: what the network did with the first test images."""

from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array

from vtnjax import data, plot
from vtnjax.train.state import TrainState

COUNT = 10


def make_look(graphdef: nnx.GraphDef) -> Callable[[TrainState, Array], tuple[Array, dict[str, Array]]]:
    """`(state, images) -> (logits, out)` of the model in evaluation mode."""

    def look(state, images):
        model = nnx.merge(graphdef, state.params, state.statistics, copy=True)
        model.eval()
        return model(images)

    return look


def save_figure(look: Callable[[np.ndarray], tuple[Array, dict[str, Array]]], test: data.Source, path: Path) -> None:
    """Ten test images of different classes where there are that many, with the labels and the guesses.

    Where the model warps its input: before, the grid, and after. Where it warps features: where each field reads.

    Args:
        look: the model on a batch of images as the test set has them.
        test: the test set as the network sees it.
        path: where to write; the suffix says the format.
    """
    records = _one_of_each(test)
    images = np.stack([record["image"] for record in records])
    logits, out = jax.device_get(look(images))
    titles = [
        f"{test.classes[record['label']]}" + ("" if guess == record["label"] else f" not {test.classes[guess]}")
        for record, guess in zip(records, logits.argmax(-1), strict=True)
    ]
    if "coords" in out and out["features"].shape[:3] == out["warped"].shape[:3]:
        figure = plot.fields(images, out["coords"], titles)
    elif "coords" in out:
        figure = plot.before_after(images, out["coords"], out["warped"].astype(np.float32), titles)
    else:
        figure = plot.gallery(images, titles)
    plot.save(figure, path)


def _one_of_each(test: data.Source) -> list[data.Record]:
    chosen: dict[int, data.Record] = {}
    for index in range(min(len(test), 20 * COUNT)):
        record = test[index]
        chosen.setdefault(record["label"], record)
        if len(chosen) == COUNT:
            break
    return [chosen[label] for label in sorted(chosen)]
