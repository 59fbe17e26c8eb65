"""Search beyond one network's output, in NumPy alone: whitening of descriptors, and spatial verification."""

from vtnjax.retrieval.verification import AffineFit, affine_ransac, match_features, rerank
from vtnjax.retrieval.whitening import Whitening, learned_whitening, pca_whitening

__all__ = [
    "AffineFit",
    "Whitening",
    "affine_ransac",
    "learned_whitening",
    "match_features",
    "pca_whitening",
    "rerank",
]
