"""Search by local descriptors: aggregated selective match kernels (ASMK, Tolias 2013 and 2016) by an inverted file."""

import dataclasses
import hashlib
import math
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from vtnjax._checks import check_at_least_1, check_positive
from vtnjax._files import read_arrays, write_arrays
from vtnjax.retrieval._given import check_rows
from vtnjax.retrieval.codebook import nearest_words

EPSILON = 1e-6  # added to the length of a sum of residuals, as in the reference code
BLOCK = 2**16  # entries that are compared at a time
ARRAYS = ("starts", "images", "vectors", "words")


@dataclasses.dataclass(frozen=True, eq=False)
class ASMKIndex:
    """What `build_index` made of the local descriptors of many images, in the order of the words.

    An entry is one image's descriptor of one word: the sum of the residuals of all its features nearest to that word.

    Attributes:
        codebook: (words, d), the visual words.
        binary: whether entries are signs (ASMK*) or residuals of length 1 (ASMK).
        starts: (words + 1,), the entries of word w are starts[w]..starts[w + 1] - 1.
        images: (entries,), the image of each entry.
        vectors: (entries, d) of the codebook's dtype, or of ASMK* (entries, ceil(d / 64)), uint64, a bit a sign.
        words: (images,), how many different words each image has.
    """

    codebook: Float[np.ndarray, "vocabulary d"]
    binary: bool
    starts: Int[np.ndarray, " offsets"]
    images: Int[np.ndarray, " entries"]
    vectors: Shaped[np.ndarray, "entries stored"]
    words: Int[np.ndarray, " images"]

    def search(
        self,
        descriptors: Float[np.ndarray, "n d"],
        *,
        assignments: int = 5,
        alpha: float = 3.0,
        threshold: float = 0.0,
        idf: bool = False,
    ) -> Float[np.ndarray, " images"]:
        """How similar each image is to a query, 1 for itself where both have the same number of assignments.

        The score is sum_w idf_w s(u_w) / sqrt(sum_w idf_w over the query's words, times that over the image's), over
        the words w that both have. u is the inner product of both entries, or of ASMK* 1 - 2 h / d with h of d signs
        different; s(u) = sign(u) |u|^alpha where u >= threshold, else 0.

        The reference codes divide h by the length of the padded bits, so that padding agrees; here d is the true one.
        They also give NaN (asmk) or -1 (DELF) where the score is 0 by 0; here it is 0.

        Args:
            descriptors: (n, d), the query's local descriptors.
            assignments: how many of its nearest words each descriptor counts for; 5 in Tolias 2020, 1 in DELF.
            alpha: above 1, near descriptors count more.
            threshold: below it, descriptors do not match.
            idf: whether word w counts log(images / images that have it)^2 in place of 1. A word of no image counts as
                if one had it.

        Returns:
            (images,), float64. Every word of the query counts in its length, also one of no image.

        Raises:
            ValueError: if the descriptors are not (n, d) finite floating point numbers, alpha is not above 0, the
                threshold is not finite, or there are fewer words than assignments.
        """
        check_positive("alpha", alpha)
        if not math.isfinite(threshold):
            raise ValueError(f"threshold must be finite, not {threshold!r}")
        words, vectors = _entries(descriptors, self.codebook, assignments, self.binary)
        weights = self._weights(idf)
        owners, entries = _ranges(self.starts[words], self.starts[words + 1])
        found = np.empty(len(entries))
        for start in range(0, len(entries), BLOCK):
            block = slice(start, start + BLOCK)
            similarity = self._similarity(vectors[owners[block]], self.vectors[entries[block]])
            kept = np.where(similarity >= threshold, similarity, 0)
            found[block] = np.sign(kept) * np.abs(kept) ** alpha * weights[words[owners[block]]]
        scores = np.bincount(self.images[entries], found, minlength=len(self.words))
        lengths = np.sqrt(weights[words].sum() * self._own_weights(weights, idf))
        return np.divide(scores, lengths, out=np.zeros(len(scores)), where=lengths > 0)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, as `.npz` whatever the name. The codebook is not in it: keep it beside."""
        write_arrays(path, self.arrays())

    def arrays(self) -> dict[str, np.ndarray]:
        """What `save` writes, which may stand in a file beside other arrays; of the codebook it has a name alone."""
        arrays = {name: getattr(self, name) for name in ARRAYS}
        return {**arrays, "binary": np.array(self.binary), "codebook": np.array(_digest(self.codebook))}

    @staticmethod
    def load(path: str | os.PathLike[str], codebook: Float[np.ndarray, "vocabulary d"]) -> "ASMKIndex":
        """Read what `save` wrote.

        Args:
            path: of the file.
            codebook: (words, d), the one that the index was built with.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file holds no index, or one of another codebook.
        """
        found = read_arrays(path, (*ARRAYS, "binary", "codebook"), "an ASMK index")
        codebook = check_rows("codebook", codebook)
        if str(found.pop("codebook")) != _digest(codebook):
            raise ValueError(f"codebook must be the one that the index {str(path)!r} was built with, but is another")
        return ASMKIndex(codebook, bool(found.pop("binary")), **found)

    def _similarity(self, queries, entries) -> np.ndarray:
        if not self.binary:
            return np.einsum("nd,nd->n", queries, entries)
        different = np.bitwise_count(queries ^ entries).sum(1, dtype=np.int64)
        size = self.codebook.shape[1]
        return (size - 2 * different) / size

    def _weights(self, idf: bool) -> Float[np.ndarray, " vocabulary"]:
        if not idf:
            return np.ones(len(self.codebook))
        return np.log(max(len(self.words), 1) / np.maximum(np.diff(self.starts), 1)) ** 2

    def _own_weights(self, weights, idf: bool) -> Float[np.ndarray, " images"]:
        """Of each image, the sum of its words' weights."""
        if not idf:
            return self.words.astype(np.float64)
        found = np.bincount(self.images, np.repeat(weights, np.diff(self.starts)), minlength=len(self.words))
        return found.astype(np.float64)  # without entries NumPy gives whole numbers


def build_index(
    codebook: Float[np.ndarray, "words d"],
    images: Iterable[Float[np.ndarray, "_ d"]],
    *,
    binary: bool = True,
    assignments: int = 1,
) -> ASMKIndex:
    """An index of images to search in.

    Args:
        codebook: (words, d), the visual words, such as `train_codebook` gives.
        images: the local descriptors (n, d) of each image, one after the other; n may differ and be 0.
        binary: ASMK*, which keeps the signs of the aggregated residuals alone: 1 bit for 32.
        assignments: how many of its nearest words each descriptor counts for.

    Raises:
        ValueError: if the codebook or the descriptors of an image are not finite floating point numbers with rows of
            one length, or there are fewer words than assignments.

    Examples:
        >>> rng = np.random.default_rng(0)
        >>> images = [rng.standard_normal((30, 8)) for _ in range(4)]
        >>> index = retrieval.build_index(rng.standard_normal((16, 8)), images, binary=False)
        >>> index.search(images[2], assignments=1).argmax().item()
        2
    """
    codebook = check_rows("codebook", codebook)
    found, starts = [], np.zeros(len(codebook) + 1, np.int64)
    for number, descriptors in enumerate(images):
        found.append(_entries(descriptors, codebook, assignments, binary, name=f"image {number}"))
        starts[found[-1][0] + 1] += 1  # no image has a word twice
    words, starts = np.array([len(each) for each, _ in found], np.int64), starts.cumsum()
    places, dtype, stored = starts[:-1].copy(), *_stored(codebook, binary)
    images_of, vectors = np.empty(starts[-1], np.int32), np.empty((starts[-1], stored), dtype)
    for image in range(len(found)):
        each, sums = found[image]
        images_of[places[each]] = image
        vectors[places[each]] = sums
        places[each] += 1
        found[image] = None  # what is placed is not kept twice
    return ASMKIndex(codebook, binary, starts, images_of, vectors, words)


def _entries(
    descriptors: Any, codebook: np.ndarray, assignments: int, binary: bool, *, name: str = "descriptors"
) -> tuple[Int[np.ndarray, " words"], Shaped[np.ndarray, "words stored"]]:
    """The words of an image and what is kept of each: the residuals of its descriptors, summed."""
    given = check_rows(name, descriptors, size=codebook.shape[1]).astype(codebook.dtype, copy=False)
    check_at_least_1("assignments", assignments)
    if assignments > len(codebook):
        raise ValueError(f"assignments must be at most {len(codebook)}, the number of words, not {assignments}")
    nearest = nearest_words(given, codebook, count=assignments)
    order = nearest.ravel().argsort(kind="stable")
    words, starts = np.unique(nearest.ravel()[order], return_index=True)
    dtype, stored = _stored(codebook, binary)
    if not len(words):
        return words, np.zeros((0, stored), dtype)
    sums = np.add.reduceat(given[order // assignments] - codebook[nearest.ravel()[order]], starts)
    if binary:
        bits = np.zeros((len(words), 64 * stored), bool)
        bits[:, : sums.shape[1]] = sums > 0
        return words, np.packbits(bits, axis=1).view(np.uint64)
    return words, sums / (np.linalg.norm(sums, axis=1, keepdims=True) + EPSILON).astype(dtype)


def _stored(codebook: np.ndarray, binary: bool) -> tuple[np.dtype, int]:
    """The dtype and length of an entry's vector."""
    size = codebook.shape[1]
    return (np.dtype(np.uint64), -(-size // 64)) if binary else (codebook.dtype, size)


def _ranges(starts: Int[np.ndarray, " n"], ends: Int[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    """All whole numbers of starts[i]..ends[i] - 1, for each i, and beside them i."""
    lengths = ends - starts
    owners = np.repeat(np.arange(len(starts)), lengths)
    before = lengths.cumsum() - lengths
    return owners, np.arange(len(owners)) + (starts - before)[owners]


def _digest(codebook: np.ndarray) -> str:
    """A name for a codebook, another for another."""
    kind = f"{codebook.shape} {codebook.dtype}".encode()
    return hashlib.sha256(kind + np.ascontiguousarray(codebook).tobytes()).hexdigest()
