"""Pictures of the windows while they move."""

from pathlib import Path
from typing import Any

from jaxtyping import Array, Float
from matplotlib.animation import PillowWriter
from matplotlib.figure import Figure
from numpy import ndarray

from vtnjax import plot
from vtnjax.experiments.colocalisation.localiser import BLOCK

SHOWN = 6


def draw_boxes(images: Array, truth: Array, boxes: Float[ndarray, "n 4"], step: int, row: Any):
    """A row of images with the digits' squares, green, and the boxes, orange."""
    for i, axes in enumerate(row):
        axes.clear()
        plot.draw_image(axes, images[i])
        plot.draw_box(axes, truth[i], "tab:green")
        plot.draw_box(axes, boxes[i], "tab:orange")
    row[0].set_ylabel(f"step {step}", fontsize=8)


def save_pictures(images: Array, truth: Array, boxes: Float[ndarray, "blocks n 4"], stem: Path) -> None:
    """`stem`.png, some moments of the optimisation (as Fig. 4), and `stem`.gif, all of them."""
    last = len(boxes) - 1
    moments = sorted({round(last * part) for part in (0, 0.1, 0.3, 1)})
    figure = Figure(figsize=(1.1 * SHOWN, 1.15 * len(moments)), layout="constrained")
    for row, moment in zip(figure.subplots(len(moments), SHOWN, squeeze=False), moments, strict=True):
        draw_boxes(images, truth, boxes[moment], moment * BLOCK, row)
    plot.save(figure, stem.with_suffix(".png"))
    figure = Figure(figsize=(1.1 * SHOWN, 1.3), layout="constrained")
    row, writer = figure.subplots(1, SHOWN), PillowWriter(fps=4)
    with writer.saving(figure, str(stem.with_suffix(".gif")), dpi=80):
        for moment, found in enumerate(boxes):
            draw_boxes(images, truth, found, moment * BLOCK, row)
            writer.grab_frame()
