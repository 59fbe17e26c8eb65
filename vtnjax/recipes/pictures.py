"""Pictures by name, of images and of a network's output if it warps anything."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Array

from vtnjax import evaluate

if TYPE_CHECKING:
    import matplotlib.figure

Figure: TypeAlias = "matplotlib.figure.Figure"
Picture: TypeAlias = Callable[[np.ndarray, dict[str, Any], Sequence[str], Callable[[np.ndarray], Any]], Figure]


def _plot():
    # Matplotlib takes a third of a second to import, so that it waits until something is drawn.
    from vtnjax import plot

    return plot


def _gallery(images: np.ndarray, out: dict[str, Any], titles: Sequence[str], as_picture: Callable) -> Figure:
    """The images."""
    return _plot().gallery(images, titles)


def _before_after(images: np.ndarray, out: dict[str, Any], titles: Sequence[str], as_picture: Callable) -> Figure:
    """A warped input: before, the grid, and after."""
    if "coords" not in out:
        return _gallery(images, out, titles, as_picture)
    return _plot().before_after(images, out["coords"], as_picture(out["warped"].astype(np.float32)), titles)


def _windows(images: np.ndarray, out: dict[str, Any], titles: Sequence[str], as_picture: Callable) -> Figure:
    """Several windows of the input: where they are, and what they show."""
    if "coords" not in out:
        return _gallery(images, out, titles, as_picture)
    warped = out["warped"].astype(np.float32)
    shown = as_picture(warped.reshape(-1, *warped.shape[2:])).reshape(warped.shape)
    return _plot().windows(images, out["coords"], shown, titles)


def _fields(images: np.ndarray, out: dict[str, Any], titles: Sequence[str], as_picture: Callable) -> Figure:
    """Warped features: where each field reads."""
    if "coords" not in out:
        return _gallery(images, out, titles, as_picture)
    return _plot().fields(images, out["coords"], titles)


def _folds(images: np.ndarray, out: dict[str, Any], titles: Sequence[str], as_picture: Callable) -> Figure:
    """A warp: how far each field stretches, and where it folds."""
    if "coords" not in out:
        return _gallery(images, out, titles, as_picture)
    return _plot().folds(images, out["coords"], titles)


def _projections(images: np.ndarray, out: dict[str, Any], titles: Sequence[str], as_picture: Callable) -> Figure:
    """Volumes: two projections, and the plane that the network makes."""
    return _plot().projections(images, out["plane"], titles)


def _heat(images: np.ndarray, out: dict[str, Any], titles: Sequence[str], as_picture: Callable) -> Figure:
    """Where the likeliest class is seen, the box of its heat, and the true box where there is one."""
    boxes = evaluate.heat_boxes(out["heat"], images.shape[1:3])
    return _plot().heat(images, {"heat": out["heat"]}, {"heat": boxes}, true=out.get("box"), titles=titles)


def _retrieved(images: np.ndarray, out: dict[str, Any], titles: Sequence[str], as_picture: Callable) -> Figure:
    """Queries of the run's last search with their best five images; images that were not searched with alone."""
    return _plot().retrieved(**out["retrieved"]) if "retrieved" in out else _gallery(images, out, titles, as_picture)


def look_at(picture: Picture | None, model: Any, images: Array) -> tuple[Array, dict[str, Any]]:
    """A network's logits and its output, with the `heat` that the picture of this name shows."""
    return evaluate.with_heat(model, images) if picture is _heat else model(images)


PICTURES: dict[str, Picture] = {
    "gallery": _gallery,
    "before_after": _before_after,
    "windows": _windows,
    "fields": _fields,
    "folds": _folds,
    "heat": _heat,
    "projections": _projections,
    "retrieved": _retrieved,
}

COLOURS = 4  # channels of an image with opacity; coordinates have fewer
# The number of axes of what a picture shows of the output. A network that warps nothing has no "coords", and its images
# alone are shown.
_SHOWN: dict[str, dict[str, int]] = {
    "gallery": {},
    "before_after": {"coords": 4, "warped": 4},
    "windows": {"coords": 5, "warped": 5},
    "fields": {},
    "folds": {},
    "heat": {},
    "projections": {"plane": 4},
    "retrieved": {},
}


def check_picture(name: str, out: Mapping[str, Any]) -> None:
    """Raise a ValueError unless a picture can show what a network makes.

    Args:
        name: the picture's name.
        out: the network's output, arrays or their shapes.
    """
    shown = _SHOWN[name] if "coords" in out or name == "projections" else {}
    shapes = {part: out[part].shape for part in shown if part in out}
    fits = all(len(shape) == shown[part] and shape[-1] <= COLOURS for part, shape in shapes.items())
    if not fits or len(shapes) < len(shown):
        known = ", ".join(f"{part} {tuple(array.shape)}" for part, array in out.items() if hasattr(array, "shape"))
        raise ValueError(f"config.picture.name must fit what the network makes ({known}), not {name!r}")
