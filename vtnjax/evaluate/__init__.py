"""Evaluation of trained networks."""

from vtnjax.evaluate.base import Evaluation, OwnImages, Test
from vtnjax.evaluate.boxes import intersection_over_union, largest_box, window_boxes
from vtnjax.evaluate.classification import Classification, all_right
from vtnjax.evaluate.describe import describe
from vtnjax.evaluate.describe_all import describe_all
from vtnjax.evaluate.ensemble import Averaged
from vtnjax.evaluate.folded import folded
from vtnjax.evaluate.grad_cam import OneTrunk, grad_cam, hires_cam, with_heat
from vtnjax.evaluate.local_features import local_features
from vtnjax.evaluate.local_retrieval import LocalRetrieval
from vtnjax.evaluate.localisation import Localisation, heat_boxes
from vtnjax.evaluate.retrieval import Retrieval
from vtnjax.evaluate.revisited import revisited
from vtnjax.evaluate.rotation import angle_correlation, centred_angles, predicted_angle
from vtnjax.evaluate.super_classes import SuperClasses, by_super_class

__all__ = [
    "Averaged",
    "Classification",
    "Evaluation",
    "LocalRetrieval",
    "Localisation",
    "OneTrunk",
    "OwnImages",
    "Retrieval",
    "SuperClasses",
    "Test",
    "all_right",
    "angle_correlation",
    "by_super_class",
    "centred_angles",
    "describe",
    "describe_all",
    "folded",
    "grad_cam",
    "heat_boxes",
    "hires_cam",
    "intersection_over_union",
    "largest_box",
    "local_features",
    "predicted_angle",
    "revisited",
    "window_boxes",
    "with_heat",
]
