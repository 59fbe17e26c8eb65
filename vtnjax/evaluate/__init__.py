"""Evaluation of trained networks."""

from vtnjax.evaluate.boxes import intersection_over_union, window_boxes
from vtnjax.evaluate.classification import all_right, classification, make_classify
from vtnjax.evaluate.ensemble import make_ensemble

__all__ = [
    "all_right",
    "classification",
    "intersection_over_union",
    "make_classify",
    "make_ensemble",
    "window_boxes",
]
