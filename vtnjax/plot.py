"""Pictures of warps: where each output pixel read its input. Functions return Matplotlib figures or draw on axes."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Shaped
from numpy import ndarray

from vtnjax._checks import needing

with needing("train", room=__name__):
    from matplotlib.axes import Axes
    from matplotlib.collections import LineCollection
    from matplotlib.colors import hsv_to_rgb
    from matplotlib.figure import Figure

_FAR = 1e6
# The colours of windows; red and green are the paper's.
_COLOURS = ("tab:red", "lime", "deepskyblue", "gold", "magenta", "tab:orange")


def draw_image(axes: Axes, image: Shaped[ArrayLike, "h w c"], title: str = "") -> None:
    """Draw an image on axes in pixel coordinates; float values run from 0 to 1.

    One channel is grey. Of two channels the first is red and the second cyan, so that both together are white.
    """
    image = np.asarray(image)
    image = image[..., [0, 1, 1]] if image.shape[-1] == 2 else image
    image = image if image.dtype == np.uint8 else image.astype(np.float32)  # Matplotlib does not know bfloat16
    if image.shape[-1] == 1:
        axes.imshow(image[..., 0], cmap="gray", vmin=0, vmax=255 if image.dtype == np.uint8 else 1)
    else:
        axes.imshow(image if image.dtype == np.uint8 else np.clip(image, 0, 1))
    axes.set_title(title, fontsize=8)
    axes.set_xticks([])
    axes.set_yticks([])


def draw_grid(
    axes: Axes, coords: Float[ArrayLike, "h w 2"], *, lines: int = 8, colour: str = "tab:orange", width: float = 0.9
) -> None:
    """Draw a sampling grid over an image already drawn: `lines` rows and columns of the output, its border thick."""
    coords = np.asarray(coords)
    h, w = coords.shape[:2]
    rows, columns = (np.unique(np.linspace(0, n - 1, lines).round().astype(int)) for n in (h, w))
    inner = [coords[i] for i in rows] + [coords[:, j] for j in columns]
    with _view_kept(axes):
        axes.add_collection(LineCollection(_finite(inner), colors=colour, linewidths=width * 0.6, alpha=0.7))
        axes.add_collection(LineCollection(_finite(_border(coords)), colors=colour, linewidths=width * 2))
        # The top edge in another colour shows turns and reflections.
        axes.add_collection(LineCollection(_finite([coords[0]]), colors="tab:cyan", linewidths=width * 2))


def draw_box(axes: Axes, box: Float[ArrayLike, "4"], colour: str, *, width: float = 1.5) -> None:
    """Draw a box (left, top, right, bottom), in pixels, over an image already drawn."""
    left, top, right, bottom = np.asarray(box, np.float64)
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])
    with _view_kept(axes):
        axes.add_collection(LineCollection(_finite([corners]), colors=colour, linewidths=width))


def before_after(
    images: Shaped[ArrayLike, "n h w c"],
    coords: Float[ArrayLike, "n h2 w2 2"],
    warped: Shaped[ArrayLike, "n h2 w2 c"],
    titles: Sequence[str] | None = None,
) -> Figure:
    """Three rows: the inputs, the inputs with the grid that was read, and the warped images.

    The grid's top edge is cyan.
    """
    images, coords, warped = (np.asarray(each) for each in (images, coords, warped))
    n = len(images)
    figure = Figure(figsize=(1.15 * n + 0.4, 3.9), layout="constrained")
    axes = figure.subplots(3, n, squeeze=False)
    for i in range(n):
        draw_image(axes[0, i], images[i], titles[i] if titles else "")
        draw_image(axes[1, i], images[i])
        draw_grid(axes[1, i], coords[i])
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


def draw_window(axes: Axes, coords: Float[ArrayLike, "h w 2"], colour: str, *, width: float = 1.8) -> None:
    """Draw the border of a window that was read over an image already drawn, in one colour."""
    coords = np.asarray(coords)
    with _view_kept(axes):
        axes.add_collection(LineCollection(_finite(_border(coords)), colors=colour, linewidths=width))


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


def sampling_density(coords: Float[ArrayLike, "*points 2"], shape: Sequence[int]) -> Float[ndarray, "h w"]:
    """How many samples fell on each input pixel, (h, w): a high count is magnified, 0 was not read."""
    coords = np.asarray(coords, np.float64).reshape(-1, 2)
    x, y = coords[np.isfinite(coords).all(-1)].T
    h, w = shape
    edges = [np.arange(h + 1) - 0.5, np.arange(w + 1) - 0.5]
    return np.histogram2d(y, x, bins=edges)[0]


def colour_coords(coords: Float[ArrayLike, "*points 2"], shape: Sequence[int]) -> Float[ndarray, "*points 3"]:
    """A colour for each place of the input, as in Fig. 1 of VTN; equal places have equal colours.

    The hue is the direction from the image's centre, the saturation the distance; places outside are black. The
    identity gives the key to the colours.
    """
    h, w = shape
    centre = np.array([w - 1, h - 1]) / 2
    offset = (np.asarray(coords, np.float64) - centre) / np.maximum(centre, 0.5)
    inside = np.all(np.abs(offset) <= 1 + 1e-6, axis=-1)
    offset = np.where(inside[..., None], offset, 0)
    hue = np.arctan2(offset[..., 1], offset[..., 0]) / (2 * np.pi) % 1
    distance = np.minimum(np.abs(offset).max(-1), 1)
    return np.where(inside[..., None], hsv_to_rgb(np.stack([hue, distance, np.ones_like(hue)], axis=-1)), 0)


def draw_sources(axes: Axes, image: Shaped[ArrayLike, "h w c"], coords: Float[ArrayLike, "h2 w2 2"]) -> None:
    """Draw where a warp of a feature map reads, on the image that the map was made of, as in Fig. 5 of VTN.

    Each place of the warped map is a dot where it reads, in the colour of the place: dots of one colour in different
    images are brought to the same place.

    Args:
        axes: the axes to draw on.
        image: the network's input.
        coords: (h', w', 2), pixel coordinates (x, y) of a feature map of h' x w' pixels that covers the image.
    """
    image, coords = np.asarray(image), np.asarray(coords, np.float64)
    h, w = coords.shape[:2]
    draw_image(axes, image)
    axes.images[-1].set_alpha(0.45)
    y, x = np.mgrid[:h, :w]
    colours = colour_coords(np.stack([x, y], axis=-1).astype(np.float64), (h, w)).reshape(-1, 3)
    with _view_kept(axes):
        # The map's pixels are patches of the image: the centres of both cover it alike.
        places = (coords.reshape(-1, 2) + 0.5) * np.array([image.shape[1] / w, image.shape[0] / h]) - 0.5
        axes.scatter(*places.T, s=max(3.0, 900 / (h * w)), c=colours, linewidths=0)


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
    images, coords = np.asarray(images), np.asarray(coords)
    coords = coords[..., None, :] if coords.ndim == 4 else coords
    chosen = range(min(4, coords.shape[-2])) if groups is None else groups
    n = len(images)
    figure = Figure(figsize=(1.15 * n + 0.4, 1.15 * len(chosen) + 1.5), layout="constrained")
    axes = figure.subplots(1 + len(chosen), n, squeeze=False)
    for i in range(n):
        draw_image(axes[0, i], images[i], titles[i] if titles else "")
        for row, group in enumerate(chosen, 1):
            draw_sources(axes[row, i], images[i], coords[i, :, :, group])
    axes[0, 0].set_ylabel("input")
    for row, group in enumerate(chosen, 1):
        axes[row, 0].set_ylabel(f"field {group}")
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


@contextlib.contextmanager
def _view_kept(axes):
    """Around what is drawn over an image: the view stays on the image."""
    limits = axes.get_xlim(), axes.get_ylim()
    yield
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])


def _border(coords):
    """The four outer lines of a grid."""
    return [coords[0], coords[-1], coords[:, 0], coords[:, -1]]


def _finite(lines):
    """Lines with gaps where a point is NaN or infinite, or too far for Matplotlib to draw."""
    return [np.where(np.abs(line) < _FAR, line, np.nan) for line in lines]
