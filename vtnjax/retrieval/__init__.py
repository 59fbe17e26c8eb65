"""Search beyond one network's output, in NumPy: whitening, search by local descriptors, spatial verification."""

from vtnjax.retrieval.asmk import ASMKIndex, build_index
from vtnjax.retrieval.codebook import nearest_words, train_codebook
from vtnjax.retrieval.features import LocalFeatures
from vtnjax.retrieval.local_search import LocalSearch, build_local_search
from vtnjax.retrieval.verification import AffineFit, affine_ransac, match_features, rerank
from vtnjax.retrieval.whitening import Whitening, learned_whitening, pca_whitening, principal_components

__all__ = [
    "ASMKIndex",
    "AffineFit",
    "LocalFeatures",
    "LocalSearch",
    "Whitening",
    "affine_ransac",
    "build_index",
    "build_local_search",
    "learned_whitening",
    "match_features",
    "nearest_words",
    "pca_whitening",
    "principal_components",
    "rerank",
    "train_codebook",
]
