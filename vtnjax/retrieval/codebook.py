"""Visual words: the centres of clusters of local descriptors, and which of them are nearest to a descriptor."""

import numpy as np
from jaxtyping import Float, Int

from vtnjax._checks import check_at_least_1, needing
from vtnjax.retrieval._given import check_rows

BLOCK = 2**21  # distances that are held at a time, so that they stay in a core's cache


def train_codebook(
    descriptors: Float[np.ndarray, "n d"], words: int, *, iterations: int = 10, seed: int = 0
) -> Float[np.ndarray, "words d"]:
    """Visual words by k-means of faiss, over all descriptors in every iteration.

    Needs the extra `retrieval`.

    Args:
        descriptors: (n, d) local descriptors of images other than those to search in.
        words: how many; 65,536 is usual (Tolias 2020), of many descriptors a word.
        iterations: of k-means; the default is Tolias 2020's.
        seed: of the first centres.

    Returns:
        (words, d), float32.

    Raises:
        ValueError: if the descriptors are not (n, d) finite floating point numbers, fewer than the words, or a number
            is not at least 1.
        ModuleNotFoundError: if faiss is not installed.

    Examples:
        >>> descriptors = np.random.default_rng(0).standard_normal((1000, 8))
        >>> retrieval.train_codebook(descriptors, 16).shape
        (16, 8)
    """
    given = check_rows("descriptors", descriptors)
    check_at_least_1("words", words)
    check_at_least_1("iterations", iterations)
    if len(given) < words:
        raise ValueError(f"descriptors must be at least as many as the {words} words, not {len(given)}")
    with needing("retrieval", room="vtnjax.retrieval.train_codebook"):
        import faiss  # pyright: ignore[reportMissingImports]
    # faiss would leave descriptors out beyond 256 a word, and warn below 39.
    limits = {"min_points_per_centroid": 1, "max_points_per_centroid": len(given)}
    clusters = faiss.Kmeans(given.shape[1], words, niter=iterations, seed=seed, **limits)
    clusters.train(np.ascontiguousarray(given, np.float32))
    return np.asarray(clusters.centroids)


def nearest_words(
    descriptors: Float[np.ndarray, "n d"], codebook: Float[np.ndarray, "words d"], *, count: int = 1
) -> Int[np.ndarray, "n count"]:
    """The nearest words of each descriptor, nearest first, computed in the codebook's dtype.

    Args:
        descriptors: (n, d).
        codebook: (words, d).
        count: how many words of each descriptor.

    Raises:
        ValueError: if the arrays are not finite floating point numbers with rows of one length, or `count` is not
            between 1 and the number of words.

    Examples:
        >>> retrieval.nearest_words(np.array([[0.9, 0.0], [0.0, 3.0]]), np.eye(2), count=2).tolist()
        [[0, 1], [1, 0]]
    """
    codebook = check_rows("codebook", codebook)
    given = check_rows("descriptors", descriptors, size=codebook.shape[1]).astype(codebook.dtype, copy=False)
    check_at_least_1("count", count)
    if count > len(codebook):
        raise ValueError(f"count must be at most {len(codebook)}, the number of words, not {count}")
    found = np.empty((len(given), count), np.int64)
    # Squared distances but for the descriptor's own square, which is the same for all words, as one product.
    given = np.append(given, np.ones((len(given), 1), given.dtype), axis=1)
    by_words = np.concatenate([-2 * codebook.T, (codebook**2).sum(1)[None]])
    step = max(1, BLOCK // len(codebook))
    for start in range(0, len(given), step):
        block = slice(start, start + step)
        distances = given[block] @ by_words
        for place in range(count):
            found[block, place] = nearest = distances.argmin(1)
            distances[np.arange(len(nearest)), nearest] = np.inf
    return found
