"""Pictures of what a search found."""

from collections.abc import Sequence

from jax.typing import ArrayLike
from jaxtyping import Shaped
from matplotlib.figure import Figure

from vtnjax._checks import check_choice
from vtnjax.plot.drawing import draw_image

_COLOURS = {"right": "tab:green", "junk": "tab:gray", "wrong": "tab:red"}


def retrieved(
    queries: Sequence[Shaped[ArrayLike, "_h _w c"]],
    found: Sequence[Sequence[Shaped[ArrayLike, "_h _w c"]]],
    kinds: Sequence[Sequence[str]],
    *,
    titles: Sequence[str] | None = None,
) -> Figure:
    """A row for each query: the query, and what was found, best first, in a frame that says what it is.

    Args:
        queries: images of any size.
        found: for each query the images that were found, as many for each.
        kinds: for each of these "right", with a green frame, "junk", which counts neither way, with a grey one, or
            "wrong", with a red one.
        titles: the queries' titles.

    Raises:
        ValueError: if there is no query, or a kind is another word.
    """
    if not len(queries):
        raise ValueError("queries must be at least one, not none")
    for kind in (each for row in kinds for each in row):
        check_choice("kinds", kind, tuple(_COLOURS))
    columns = 1 + len(found[0])
    figure = Figure(figsize=(1.3 * columns + 0.2, 1.3 * len(queries) + 0.3), layout="constrained")
    axes = figure.subplots(len(queries), columns, squeeze=False)
    for number, (row, query, images, names) in enumerate(zip(axes, queries, found, kinds, strict=True)):
        draw_image(row[0], query, titles[number] if titles else "query" if number == 0 else "")
        for each, image, kind in zip(row[1:], images, names, strict=True):
            draw_image(each, image)
            for spine in each.spines.values():
                spine.set(color=_COLOURS[kind], linewidth=4)
    return figure
