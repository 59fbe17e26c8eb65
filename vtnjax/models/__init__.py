"""Whole networks; each returns `(logits, out)`."""

from vtnjax.models.stn import STN, count_parameters

__all__ = ["STN", "count_parameters"]
