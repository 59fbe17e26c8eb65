"""Pictures of warps: where each output pixel read its input."""

from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Shaped
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from vtnjax import ops
from vtnjax.plot.drawing import draw_folds, draw_grid, draw_image, draw_sources, draw_window

# The colours of windows; red and green are the paper's.
_COLOURS = ("tab:red", "lime", "deepskyblue", "gold", "magenta", "tab:orange")
# Of areas: blue is magnified, red is shrunk.
_AREAS, _COLOURED = LogNorm(1 / 4, 4), "coolwarm"


def before_after(
    images: Shaped[ArrayLike, "n h w c"],
    coords: Float[ArrayLike, "n h2 w2 2"],
    warped: Shaped[ArrayLike, "n h2 w2 c"],
    titles: Sequence[str] | None = None,
) -> Figure:
    """Three rows: the inputs, the inputs with the grid that was read, and the warped images.

    The grid's top edge is cyan, and cells in which it folds are black.
    """
    images, coords, warped = (np.asarray(each) for each in (images, coords, warped))
    n = len(images)
    figure = Figure(figsize=(1.15 * n + 0.4, 3.9), layout="constrained")
    axes = figure.subplots(3, n, squeeze=False)
    for i in range(n):
        draw_image(axes[0, i], images[i], titles[i] if titles else "")
        draw_image(axes[1, i], images[i])
        draw_grid(axes[1, i], coords[i])
        draw_folds(axes[1, i], coords[i])
        draw_image(axes[2, i], warped[i])
    for row, name in enumerate(("input", "grid", "warped")):
        axes[row, 0].set_ylabel(name)
    return figure


def projections(
    volumes: Float[ArrayLike, "n d h w c"], planes: Float[ArrayLike, "n h2 w2 c"], titles: Sequence[str] | None = None
) -> Figure:
    """Three rows: volumes from the front and from the side, and the planes that a model made of them (STN Fig. 5).

    Each picture is a sum along one axis, from 0 to its largest value. From the side the depth runs to the right.
    """
    volumes = np.asarray(volumes, np.float32)
    views = {"front": volumes.sum(1), "side": volumes.sum(3).swapaxes(1, 2), "plane": np.asarray(planes, np.float32)}
    n = len(volumes)
    figure = Figure(figsize=(1.15 * n + 0.4, 3.9), layout="constrained")
    axes = figure.subplots(3, n, squeeze=False)
    for row, (name, view) in enumerate(views.items()):
        axes[row, 0].set_ylabel(name)
        for i, image in enumerate(view):
            draw_image(axes[row, i], image / max(image.max(), 1e-6), titles[i] if titles and row == 0 else "")
    return figure


def windows(
    images: Shaped[ArrayLike, "n h w c"],
    coords: Float[ArrayLike, "n windows h2 w2 2"],
    shown: Shaped[ArrayLike, "n windows h2 w2 c"],
    titles: Sequence[str] | None = None,
) -> Figure:
    """A column for each image: the image with its windows, each in its own colour, and the windows (STN Table 3).

    Args:
        images: the network's inputs.
        coords: the pixel coordinates (x, y) of the images at which each window read.
        shown: the windows, as they were read.
        titles: the columns' titles.
    """
    images, coords, shown = (np.asarray(each) for each in (images, coords, shown))
    n, count = coords.shape[:2]
    figure = Figure(figsize=(1.15 * n + 0.4, 1.15 * count + 1.5), layout="constrained")
    axes = figure.subplots(1 + count, n, squeeze=False)
    for i in range(n):
        draw_image(axes[0, i], images[i], titles[i] if titles else "")
        for j in range(count):
            colour = _COLOURS[j % len(_COLOURS)]
            draw_window(axes[0, i], coords[i, j], colour)
            draw_image(axes[1 + j, i], shown[i, j])
            for spine in axes[1 + j, i].spines.values():
                spine.set(color=colour, linewidth=2)
    for row, name in enumerate(("input", *(f"window {j + 1}" for j in range(count)))):
        axes[row, 0].set_ylabel(name)
    return figure


def fields(
    images: Shaped[ArrayLike, "n h w c"],
    coords: Float[ArrayLike, "n h2 w2 *groups 2"],
    titles: Sequence[str] | None = None,
    *,
    groups: Sequence[int] | None = None,
) -> Figure:
    """A column for each image: the image, and where each group's field reads in it, as in Fig. 5 of VTN.

    Args:
        images: the network's inputs.
        coords: (n, h', w', 2), or (n, h', w', g, 2) of several fields, pixel coordinates (x, y) of the feature map.
        titles: the columns' titles.
        groups: the numbers of the fields to draw; by default the first four.
    """
    return _by_group(images, coords, titles, groups, draw_sources)


def folds(
    images: Shaped[ArrayLike, "n h w c"],
    coords: Float[ArrayLike, "n h2 w2 *groups 2"],
    titles: Sequence[str] | None = None,
    *,
    groups: Sequence[int] | None = None,
) -> Figure:
    """A column for each image: the image, and how far each group's field stretches it, and where it folds.

    The colour of an output pixel is the area that it reads, in pixels, on a logarithmic scale: blue is magnified, red
    is shrunk. Black are the cells between 2 x 2 output pixels in which the field folds, see `ops.folds`.

    Args:
        images: the network's inputs.
        coords: (n, h', w', 2), or (n, h', w', g, 2) of several fields, pixel coordinates (x, y) of what was warped.
        titles: the columns' titles.
        groups: the numbers of the fields to draw; by default the first four.
    """
    figure = _by_group(images, coords, titles, groups, lambda axes, _, coords: _draw_stretch(axes, coords))
    width, height = figure.get_size_inches()
    figure.set_size_inches(width + 0.8, height)
    bar = figure.colorbar(ScalarMappable(_AREAS, _COLOURED), ax=figure.axes, ticks=(1 / 4, 1, 4), extend="both")
    bar.minorticks_off()
    bar.set_ticklabels(["1/4", "1", "4"])
    bar.set_label("pixels read", fontsize=8)
    return figure


def _draw_stretch(axes, coords):
    """The area that each pixel of a field (h, w, 2) reads, as colours, and where it folds."""
    coords = coords.astype(np.float32)
    h, w = coords.shape[:2]
    slopes = np.asarray(ops.jacobian(coords))
    area = np.abs(slopes[..., 0, 0] * slopes[..., 1, 1] - slopes[..., 0, 1] * slopes[..., 1, 0])
    axes.imshow(np.maximum(area, 1e-3), cmap=_COLOURED, norm=_AREAS)
    if min(h, w) > 1:
        # A cell lies between the centres of its pixels.
        shown = np.where(np.asarray(ops.folds(coords))[..., None], [0, 0, 0, 0.8], 0)
        axes.imshow(shown, extent=(0, w - 1, h - 1, 0), interpolation="nearest")
    axes.set(xlim=(-0.5, w - 0.5), ylim=(h - 0.5, -0.5), xticks=[], yticks=[])


def _by_group(images, coords, titles, groups, draw):
    """A column for each image: the image, and what `draw(axes, image, coords)` makes of each group's field."""
    images, coords = np.asarray(images), np.asarray(coords)
    coords = coords[..., None, :] if coords.ndim == 4 else coords
    chosen = range(min(4, coords.shape[-2])) if groups is None else groups
    n = len(images)
    figure = Figure(figsize=(1.15 * n + 0.4, 1.15 * len(chosen) + 1.5), layout="constrained")
    axes = figure.subplots(1 + len(chosen), n, squeeze=False)
    for i in range(n):
        draw_image(axes[0, i], images[i], titles[i] if titles else "")
        for row, group in enumerate(chosen, 1):
            draw(axes[row, i], images[i], coords[i, :, :, group])
    axes[0, 0].set_ylabel("input")
    for row, group in enumerate(chosen, 1):
        axes[row, 0].set_ylabel(f"field {group}")
    return figure
