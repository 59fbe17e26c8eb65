"""What pictures of warps are made of: images, grids, windows and boxes, drawn on axes in pixel coordinates."""

import contextlib
from collections.abc import Sequence

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import hsv_to_rgb
from numpy import ndarray

from vtnjax import ops

_FAR = 1e6


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


def draw_folds(axes: Axes, coords: Float[ArrayLike, "h w 2"], *, colour: str = "black") -> None:
    """Fill where cells read in which a warp folds, see `ops.folds`, over an image already drawn."""
    coords = np.asarray(coords, np.float32)
    corners = np.stack([coords[:-1, :-1], coords[:-1, 1:], coords[1:, 1:], coords[1:, :-1]], axis=2)
    corners = corners[np.asarray(ops.folds(coords))]
    near = list(corners[(np.abs(corners) < _FAR).all((1, 2))])
    if near:
        with _view_kept(axes):
            axes.add_collection(PolyCollection(near, facecolors=colour, edgecolors=colour, linewidths=0.6, alpha=0.6))


def draw_box(axes: Axes, box: Float[ArrayLike, "4"], colour: str, *, width: float = 1.5) -> None:
    """Draw a box (left, top, right, bottom), in pixels, over an image already drawn."""
    left, top, right, bottom = np.asarray(box, np.float64)
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])
    with _view_kept(axes):
        axes.add_collection(LineCollection(_finite([corners]), colors=colour, linewidths=width))


def draw_window(axes: Axes, coords: Float[ArrayLike, "h w 2"], colour: str, *, width: float = 1.8) -> None:
    """Draw the border of a window that was read over an image already drawn, in one colour."""
    coords = np.asarray(coords)
    with _view_kept(axes):
        axes.add_collection(LineCollection(_finite(_border(coords)), colors=colour, linewidths=width))


def draw_sources(axes: Axes, image: Shaped[ArrayLike, "h w c"], coords: Float[ArrayLike, "h2 w2 2"]) -> None:
    """Draw where a warp of a feature map reads, on the image that the map was made of, as in Fig. 5 of VTN.

    Each place of the warped map is a dot where it reads, in the colour of the place: dots of one colour in different
    images are brought to the same place. Cells between four places in which the warp folds are black.

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
    # The map's pixels are patches of the image: the centres of both cover it alike.
    places = (coords + 0.5) * np.array([image.shape[1] / w, image.shape[0] / h]) - 0.5
    with _view_kept(axes):
        axes.scatter(*places.reshape(-1, 2).T, s=max(3.0, 900 / (h * w)), c=colours, linewidths=0)
    draw_folds(axes, places)


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


def sampling_density(coords: Float[ArrayLike, "*points 2"], shape: Sequence[int]) -> Float[ndarray, "h w"]:
    """How many samples fell on each input pixel, (h, w): a high count is magnified, 0 was not read."""
    coords = np.asarray(coords, np.float64).reshape(-1, 2)
    x, y = coords[np.isfinite(coords).all(-1)].T
    h, w = shape
    edges = [np.arange(h + 1) - 0.5, np.arange(w + 1) - 0.5]
    return np.histogram2d(y, x, bins=edges)[0]


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
