"""From a config's values to everything that a run is made of."""

from vtnjax._checks import needing

with needing("train", room=__name__):
    from vtnjax.recipes.build import (
        abstract_batch,
        build_batches,
        build_input,
        build_objective,
        build_picture,
        build_prepare,
        build_sources,
        check_config,
        distort_source,
        to_float,
    )
    from vtnjax.recipes.check_data import check_data, show_left_out
    from vtnjax.recipes.evaluating import make_evaluate
    from vtnjax.recipes.members import averaged, load_members, load_run
    from vtnjax.recipes.networks import build_model, build_rates
    from vtnjax.recipes.objectives import Consistency, CrossEntropy, Distillation
    from vtnjax.recipes.pictures import make_look, save_figure
    from vtnjax.recipes.together import train_together

__all__ = [
    "Consistency",
    "CrossEntropy",
    "Distillation",
    "abstract_batch",
    "averaged",
    "build_batches",
    "build_input",
    "build_model",
    "build_objective",
    "build_picture",
    "build_prepare",
    "build_rates",
    "build_sources",
    "check_config",
    "check_data",
    "distort_source",
    "load_members",
    "load_run",
    "make_evaluate",
    "make_look",
    "save_figure",
    "show_left_out",
    "to_float",
    "train_together",
]
