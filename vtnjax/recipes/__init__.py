"""Recipes: every part of a run, made from a config's values."""

from vtnjax._checks import needing

with needing("train", room=__name__):
    from vtnjax.recipes import presets
    from vtnjax.recipes.batches import BATCHES
    from vtnjax.recipes.check_data import check_data, show_left_out
    from vtnjax.recipes.evaluating import make_evaluate
    from vtnjax.recipes.heads import HEADS, POOLINGS
    from vtnjax.recipes.init_from import init_from
    from vtnjax.recipes.inputs import INPUTS, Images, Input, Photographs, Volumes, to_float
    from vtnjax.recipes.look import check_look, make_look, save_figure
    from vtnjax.recipes.members import averaged, load_member, load_members
    from vtnjax.recipes.moved import MOVED
    from vtnjax.recipes.networks import NETWORKS
    from vtnjax.recipes.objectives import (
        OBJECTIVES,
        Consistency,
        ConsistentDestruction,
        ConsistentDistillation,
        CrossEntropy,
        Destruction,
        Distillation,
    )
    from vtnjax.recipes.pictures import PICTURES
    from vtnjax.recipes.pools import POOLS
    from vtnjax.recipes.ranking import Contrastive, Triplet
    from vtnjax.recipes.recipe import EVALUATIONS, Recipe, check_config, read_recipe
    from vtnjax.recipes.runs import Run, load_run
    from vtnjax.recipes.together import train_together
    from vtnjax.recipes.trained import read_trained
    from vtnjax.recipes.trunks import TRUNKS
    from vtnjax.recipes.warps import FEATURE_WARPS

__all__ = [
    "BATCHES",
    "Consistency",
    "ConsistentDestruction",
    "ConsistentDistillation",
    "Contrastive",
    "CrossEntropy",
    "Destruction",
    "Distillation",
    "EVALUATIONS",
    "FEATURE_WARPS",
    "HEADS",
    "INPUTS",
    "Images",
    "Input",
    "MOVED",
    "NETWORKS",
    "OBJECTIVES",
    "PICTURES",
    "POOLINGS",
    "POOLS",
    "Photographs",
    "Recipe",
    "Run",
    "TRUNKS",
    "Triplet",
    "Volumes",
    "averaged",
    "check_config",
    "check_data",
    "check_look",
    "init_from",
    "load_member",
    "load_members",
    "load_run",
    "make_evaluate",
    "make_look",
    "presets",
    "read_recipe",
    "read_trained",
    "save_figure",
    "show_left_out",
    "to_float",
    "train_together",
]
