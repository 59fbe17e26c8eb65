"""Pictures of images, and of what networks see in them: heat, attention, angles."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Shaped
from matplotlib.figure import Figure

from vtnjax.plot.drawing import draw_box, draw_image


def gallery(images: Shaped[ArrayLike, "n h w c"], titles: Sequence[str]) -> Figure:
    """One row of images, each with a title."""
    images = np.asarray(images)
    figure = Figure(figsize=(1.15 * len(images) + 0.4, 1.6), layout="constrained")
    axes = figure.subplots(1, len(images), squeeze=False)
    for i, image in enumerate(images):
        draw_image(axes[0, i], image, titles[i])
    return figure


def rows(images: Mapping[str, Shaped[ArrayLike, "n h w c"]], titles: Sequence[str] | None = None) -> Figure:
    """Named rows of images of any size, the same number in each row, with titles above the columns."""
    count = len(np.asarray(next(iter(images.values()))))
    figure = Figure(figsize=(1.15 * count + 0.4, 1.25 * len(images) + 0.3), layout="constrained")
    axes = figure.subplots(len(images), count, squeeze=False)
    for row, (name, stack) in zip(axes, images.items(), strict=True):
        for each, image in zip(row, np.asarray(stack), strict=True):
            draw_image(each, image)
        row[0].set_ylabel(name)
    for each, title in zip(axes[0], titles or (), strict=False):
        each.set_title(title, fontsize=8)
    return figure


def heat(
    images: Shaped[ArrayLike, "n h w c"],
    heats: Mapping[str, Float[ArrayLike, "n _h2 _w2"]],
    boxes: Mapping[str, Float[ArrayLike, "n 4"]],
    *,
    true: Float[ArrayLike, "n 4"] | None = None,
    titles: Sequence[str] | None = None,
) -> Figure:
    """A column for each image: the image, and below it where each of some networks sees its class (VTN Fig. 6).

    Args:
        images: the networks' inputs.
        heats: for each network, by its name, heat maps of any size that cover the images; red is a map's maximum.
        boxes: for each network the boxes (left, top, right, bottom) of its maps, in red; pixels' edges are at whole
            numbers.
        true: the true boxes, in green.
        titles: the columns' titles.
    """
    images = np.asarray(images)
    n, h, w = images.shape[:3]
    figure = Figure(figsize=(1.15 * n + 0.4, 1.15 * len(heats) + 1.5), layout="constrained")
    axes = figure.subplots(1 + len(heats), n, squeeze=False)
    for i in range(n):
        draw_image(axes[0, i], images[i], titles[i] if titles else "")
    axes[0, 0].set_ylabel("input")
    for row, (name, maps) in zip(axes[1:], heats.items(), strict=True):
        row[0].set_ylabel(name)
        for i, (each, box) in enumerate(zip(np.asarray(maps, np.float32), np.asarray(boxes[name]), strict=True)):
            draw_image(row[i], images[i])
            scale = {"vmin": 0, "vmax": max(each.max(), np.finfo(np.float32).tiny)}
            extent = (-0.5, w - 0.5, h - 0.5, -0.5)
            row[i].imshow(each, cmap="jet", alpha=0.5, interpolation="bilinear", extent=extent, **scale)
            draw_box(row[i], box - 0.5, "red")
    if true is not None:
        for row in axes:
            for each, box in zip(row, np.asarray(true), strict=True):
                draw_box(each, box - 0.5, "lime")
    return figure


def angles(applied: Float[ArrayLike, "n"], predicted: Mapping[str, Float[ArrayLike, "n"]]) -> Figure:
    """Predicted against applied angles in degrees, a panel for each network (Finnveden et al. 2020, Fig. 3)."""
    figure = Figure(figsize=(2.9 * len(predicted) + 0.3, 3.1), layout="constrained")
    axes = figure.subplots(1, len(predicted), squeeze=False)[0]
    for each, (name, found) in zip(axes, predicted.items(), strict=True):
        each.plot(np.asarray(applied), np.asarray(found), ".", markersize=2)
        each.set_title(name, fontsize=8)
        each.set_xlabel("applied angle")
        each.tick_params(labelsize=6)
    axes[0].set_ylabel("predicted angle")
    return figure


def attention_sampling(
    image: Shaped[ArrayLike, "h w c"],
    attention: Float[ArrayLike, "h0 w0"],
    coords: Float[ArrayLike, "h2 w2 2"],
    sampled: Shaped[ArrayLike, "h2 w2 c"],
) -> Figure:
    """How attention becomes a sampling, as in Fig. 4 of TASN.

    From the left stand the map, the largest attention of each column and row, the integrals of both with dots at the
    pixels that were read, the image with dots at these pixels, and the sampled image.

    Args:
        image: the image before it was sampled.
        attention: the map, of any size, over the whole image.
        coords: separable pixel coordinates (x, y), as `nn.AttentionSampler` gives them for one image.
        sampled: the image as it was sampled.
    """
    attention, coords = np.asarray(attention, np.float32), np.asarray(coords)
    lines = coords[0, :, 0], coords[:, 0, 1]  # x by column, y by row
    figure = Figure(figsize=(11, 2.5), layout="constrained")
    axes = figure.subplots(1, 5)
    axes[0].imshow(attention, cmap="viridis")
    for line, axis, size, name in zip(lines, (0, 1), np.shape(image)[1::-1], ("x", "y"), strict=True):
        highest = attention.max(axis)
        cells = np.linspace(0, size - 1, len(highest))
        axes[1].plot(cells, highest / highest.sum(), label=name)
        axes[2].plot(line, np.arange(len(line)) / len(line), ".-", markersize=2, label=name)
    axes[1].legend(fontsize=7)
    draw_image(axes[3], image)
    axes[3].plot(*(each.ravel() for each in (coords[::2, ::2, 0], coords[::2, ::2, 1])), ".", markersize=1)
    draw_image(axes[4], sampled)
    for each, title in zip(axes, ("attention", "marginals", "integrals", "sampling points", "sampled"), strict=True):
        each.set_title(title, fontsize=8)
        each.tick_params(labelsize=6)
    return figure


def attention_maps(
    features: Float[ArrayLike, "h w c"], maps: Float[ArrayLike, "h w c"], channels: Sequence[int]
) -> Figure:
    """Feature channels above and their attention maps below (TASN Fig. 5), each coloured from its least to its most."""
    figure = Figure(figsize=(1.1 * len(channels) + 0.4, 2.6), layout="constrained")
    axes = figure.subplots(2, len(channels), squeeze=False)
    for row, (stack, name) in enumerate(((features, "features"), (maps, "attention"))):
        for each, channel in zip(axes[row], channels, strict=True):
            each.imshow(np.asarray(stack, np.float32)[..., channel], cmap="viridis")
            each.set_xticks([])
            each.set_yticks([])
        axes[row, 0].set_ylabel(name)
    for each, channel in zip(axes[0], channels, strict=True):
        each.set_title(f"channel {channel}", fontsize=8)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure to a file, whole or not at all; the suffix says the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    figure.savefig(partial, dpi=120)
    partial.replace(path)
