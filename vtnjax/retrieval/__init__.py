"""Search beyond one network's output, in NumPy alone: whitening of descriptors."""

from vtnjax.retrieval.whitening import Whitening, learned_whitening, pca_whitening

__all__ = ["Whitening", "learned_whitening", "pca_whitening"]
