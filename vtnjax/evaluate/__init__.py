"""Evaluation of trained networks."""

from vtnjax.evaluate.base import Evaluation, Test
from vtnjax.evaluate.boxes import intersection_over_union, window_boxes
from vtnjax.evaluate.classification import Classification, all_right
from vtnjax.evaluate.ensemble import Averaged
from vtnjax.evaluate.rotation import angle_correlation, centred_angles, predicted_angle
from vtnjax.evaluate.super_classes import SuperClasses, by_super_class

__all__ = [
    "Averaged",
    "Classification",
    "Evaluation",
    "SuperClasses",
    "Test",
    "all_right",
    "angle_correlation",
    "by_super_class",
    "centred_angles",
    "intersection_over_union",
    "predicted_angle",
    "window_boxes",
]
