"""Principal components of descriptors, and whitening, after which they vary alike in every direction."""

import dataclasses
import os

import numpy as np
from jaxtyping import Float, Int

from vtnjax._checks import check_at_least_1
from vtnjax._files import read_arrays, write_arrays
from vtnjax.retrieval._given import check_indices, check_rows

EPSILON = 1e-6  # cirtorch's, added to a length


@dataclasses.dataclass(frozen=True, eq=False)
class Whitening:
    """A learned projection: descriptor x becomes projection @ (x - mean), at length 1.

    `pca_whitening` and `learned_whitening` make one that whitens, `principal_components` one that does not.

    Attributes:
        mean: (d,), what is taken off, float64.
        projection: (size, d), float64; its rows come in the order of falling variance, so the first few are a
            projection to fewer dimensions.
    """

    mean: Float[np.ndarray, " d"]
    projection: Float[np.ndarray, "size d"]

    def apply(self, descriptors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n size"]:
        """Whitened descriptors of length 1, computed in float64.

        Args:
            descriptors: (n, d), one a row.

        Returns:
            (n, size), of the descriptors' dtype. As in the reference code 1e-6 is added to the length before the
            division, so that a descriptor equal to the mean gives zeros.

        Raises:
            ValueError: if the descriptors are not (n, d) finite floating point numbers.
        """
        given = check_rows("descriptors", descriptors, size=len(self.mean))
        whitened = (given - self.mean) @ self.projection.T
        return (whitened / (np.linalg.norm(whitened, axis=1, keepdims=True) + EPSILON)).astype(given.dtype)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, as `.npz` whatever the name."""
        write_arrays(path, {"mean": self.mean, "projection": self.projection})

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "Whitening":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file holds no whitening.
        """
        return Whitening(**read_arrays(path, ("mean", "projection"), "a whitening"))


def pca_whitening(descriptors: Float[np.ndarray, "n d"], *, size: int | None = None) -> Whitening:
    """Whitening by principal components: the descriptors get the covariance 1 (Jegou and Chum 2012).

    Args:
        descriptors: (n, d), of a set other than the one to search in.
        size: how many of the d dimensions to keep, those of the largest variance; None keeps all.

    Returns:
        Whose projection is diag(variances)^-1/2 V^T, with the variances of x - mean, divided by n, and their
        directions V, as the reference code has it (cirtorch, `pcawhitenlearn`).

    Raises:
        ValueError: if the descriptors are not (n, d) finite floating point numbers, or vary in fewer than `size`
            dimensions.

    Examples:
        >>> descriptors = np.random.default_rng(0).standard_normal((100, 8))
        >>> retrieval.pca_whitening(descriptors, size=4).apply(descriptors).shape
        (100, 4)
    """
    mean, variances, directions = _components(descriptors, size)
    return Whitening(mean, (directions / np.sqrt(variances)).T)


def principal_components(descriptors: Float[np.ndarray, "n d"], *, size: int | None = None) -> Whitening:
    """Principal components without whitening: each keeps the variance that it has (DELF, Noh et al. 2017).

    DELF's local descriptors, of length 1, are so made shorter, to 40 numbers in 2017 and to 128 later.

    Args:
        descriptors: (n, d), of a set other than the one to search in.
        size: how many of the d dimensions to keep, those of the largest variance; None keeps all.

    Returns:
        Whose projection is V^T, the directions of the largest variance of x - mean, each of length 1.

    Raises:
        ValueError: if the descriptors are not (n, d) finite floating point numbers, or vary in fewer than `size`
            dimensions.

    Examples:
        >>> descriptors = np.random.default_rng(0).standard_normal((100, 8))
        >>> retrieval.principal_components(descriptors, size=4).apply(descriptors).shape
        (100, 4)
    """
    mean, _, directions = _components(descriptors, size)
    return Whitening(mean, directions.T)


def learned_whitening(
    descriptors: Float[np.ndarray, "n d"],
    queries: Int[np.ndarray, " pairs"],
    positives: Int[np.ndarray, " pairs"],
    *,
    size: int | None = None,
) -> Whitening:
    """Whitening learned from matching pairs: Lw of Radenovic 2018 ("Fine-tuning CNN image retrieval", section 3.4).

    With C_S the mean of d d^T over the differences d of matching descriptors and L L^T = C_S, the projection is
    V^T L^-1, so that the differences get the covariance 1 in all d dimensions; V holds the principal directions of the
    descriptors after L^-1, by falling variance. As in the reference code (cirtorch, `whitenlearn`) those are of all
    descriptors about the mean of the queries; the paper writes the differences of pairs that do not match, and the
    root C_S^1/2 in place of L, which differs by a rotation that V takes back.

    Args:
        descriptors: (n, d), of a set other than the one to search in.
        queries: (pairs,), the index of one image of each matching pair; one may come several times.
        positives: (pairs,), the index of the other.
        size: how many of the d dimensions to keep, those of the largest variance; None keeps all.

    Raises:
        ValueError: if the descriptors are not (n, d) finite floating point numbers, an index is none of theirs, the
            lists are not equally long, or the differences of the pairs vary in fewer than d dimensions. (The
            reference code then adds 1e-10 or more to the diagonal of C_S, which makes the dimensions in which no pair
            differs outweigh all others; cut them off with `pca_whitening` first.)

    Examples:
        >>> descriptors = np.random.default_rng(0).standard_normal((100, 8))
        >>> whitening = retrieval.learned_whitening(descriptors, np.arange(50), np.arange(50, 100), size=4)
        >>> whitening.apply(descriptors).shape
        (100, 4)
    """
    given = check_rows("descriptors", descriptors).astype(np.float64)
    queries = check_indices("queries", queries, len(given), "descriptors")
    positives = check_indices("positives", positives, len(given), "descriptors")
    if len(queries) != len(positives):
        raise ValueError(f"positives must have one for each of {len(queries)} queries, not {len(positives)}")
    size = _check_size(size, given.shape[1])
    differences = given[queries] - given[positives]
    varying = _rank(_principal(differences, len(differences))[0], differences.shape)
    if varying < given.shape[1]:
        raise ValueError(
            f"the {len(queries)} pairs must differ in all {given.shape[1]} dimensions, not only in {varying}; give "
            "more pairs, or cut the descriptors to fewer dimensions with pca_whitening first"
        )
    mean = given[queries].mean(0)
    inverse = np.linalg.inv(np.linalg.cholesky(differences.T @ differences / len(differences)))
    _, directions = _principal((given - mean) @ inverse.T, len(given))
    return Whitening(mean, directions[:, :size].T @ inverse)


def _components(descriptors, size: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean (d,), the largest variances (size,) and their directions (d, size), one a column."""
    given = check_rows("descriptors", descriptors).astype(np.float64)
    size = _check_size(size, given.shape[1])
    mean = given.mean(0) if len(given) else np.zeros(given.shape[1])
    variances, directions = _principal(given - mean, len(given))
    varying = _rank(variances, given.shape)
    if varying < size:
        raise ValueError(
            f"size must be at most {varying}, the dimensions in which the {len(given)} descriptors vary, not {size}"
        )
    return mean, variances[:size], directions[:, :size]


def _principal(rows: Float[np.ndarray, "n d"], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean squares along the principal directions, falling, and these directions (d, d), one a column."""
    values, directions = np.linalg.eigh(rows.T @ rows / max(count, 1))
    return values[::-1], directions[:, ::-1]


def _rank(values: Float[np.ndarray, " d"], shape: tuple[int, ...]) -> int:
    """How many mean squares are more than rounding."""
    return int((values > values[0] * max(shape) * np.finfo(np.float64).eps).sum())


def _check_size(size: int | None, most: int) -> int:
    if size is None:
        return most
    check_at_least_1("size", size)
    if size > most:
        raise ValueError(f"size must be at most {most}, the numbers of a descriptor, not {size}")
    return int(size)
