"""Evaluation of trained networks."""

from vtnjax.evaluate.classification import all_right, classification, make_classify
from vtnjax.evaluate.ensemble import make_ensemble

__all__ = ["all_right", "classification", "make_classify", "make_ensemble"]
