"""Evaluation of trained networks."""

from vtnjax.evaluate.boxes import intersection_over_union, window_boxes
from vtnjax.evaluate.classification import all_right, classification, make_classify
from vtnjax.evaluate.ensemble import make_ensemble
from vtnjax.evaluate.rotation import angle_correlation, centred_angles, predicted_angle

__all__ = [
    "all_right",
    "angle_correlation",
    "centred_angles",
    "classification",
    "intersection_over_union",
    "make_classify",
    "make_ensemble",
    "predicted_angle",
    "window_boxes",
]
