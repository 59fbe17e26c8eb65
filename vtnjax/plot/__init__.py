"""Pictures of warps: where each output pixel read its input. Functions return Matplotlib figures or draw on axes."""

from vtnjax._checks import needing

with needing("train", room=__name__):
    from vtnjax.plot.drawing import (
        colour_coords,
        draw_box,
        draw_folds,
        draw_grid,
        draw_image,
        draw_sources,
        draw_window,
        sampling_density,
    )
    from vtnjax.plot.image_figures import angles, attention_maps, attention_sampling, gallery, heat, rows, save
    from vtnjax.plot.retrieved import retrieved
    from vtnjax.plot.warp_figures import before_after, fields, folds, projections, windows

__all__ = [
    "angles",
    "attention_maps",
    "attention_sampling",
    "before_after",
    "colour_coords",
    "draw_box",
    "draw_folds",
    "draw_grid",
    "draw_image",
    "draw_sources",
    "draw_window",
    "fields",
    "folds",
    "gallery",
    "heat",
    "projections",
    "retrieved",
    "rows",
    "sampling_density",
    "save",
    "windows",
]
