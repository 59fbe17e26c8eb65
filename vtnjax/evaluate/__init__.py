"""Evaluation of trained networks."""

from vtnjax.evaluate.classification import classification, make_classify
from vtnjax.evaluate.ensemble import make_ensemble

__all__ = ["classification", "make_classify", "make_ensemble"]
