"""Evaluation of trained networks."""

from vtnjax.evaluate.classification import classification, make_classify

__all__ = ["classification", "make_classify"]
