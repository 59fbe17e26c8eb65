"""How long does a query by local descriptors take, and how much memory does an index?

    python benchmarks/asmk.py

Indices of ASMK* (signs) and ASMK (residuals) with 65,536 words of 40 numbers, drawn in place of found: each image has
1,000 features, whose words come by chance, the r-th word 1 / sqrt(r) as often as the first, and what is kept of a word
is noise. Queries are descriptors about words drawn alike, and are assigned to their nearest words as any other. Prints
the median milliseconds of a query and the index's gigabytes, and writes results/asmk-<platform>.json.
"""

import argparse
import resource
import sys
import time
from typing import Any

import numpy as np
from saving import save
from timing import median

from vtnjax.retrieval import ASMKIndex, build_index, nearest_words

WORDS, SIZE, FEATURES, TOGETHER = 65_536, 40, 1000, 1000
CASES = (("ASMK*", 5_000), ("ASMK*", 20_000), ("ASMK", 5_000), ("ASMK", 20_000), ("ASMK*", 100_000))
RNG = np.random.default_rng(0)
CODEBOOK = RNG.standard_normal((WORDS, SIZE), np.float32)
OFTEN = (1 / np.sqrt(np.arange(1, WORDS + 1))).cumsum()


def drawn_words(shape: tuple[int, ...]) -> np.ndarray:
    """Words by how often they come."""
    return OFTEN.searchsorted(RNG.uniform(0, OFTEN[-1], shape)).astype(np.uint16)


def drawn_image() -> np.ndarray:
    """The descriptors of an image, near words."""
    words = drawn_words((FEATURES,))
    return CODEBOOK[words] + 0.3 * RNG.standard_normal((FEATURES, SIZE), np.float32)


def drawn_index(kind: str, count: int) -> ASMKIndex:
    """An index of so many images, as `build_index` would lay it out."""
    found, lengths = [], []
    for start in range(0, count, TOGETHER):
        words = np.sort(drawn_words((min(TOGETHER, count - start), FEATURES)), axis=1)
        first = np.diff(words.astype(np.int32), axis=1, prepend=-1) > 0
        found.append(words[first])
        lengths.append(first.sum(1))
    words, own = np.concatenate(found), np.concatenate(lengths)
    starts = np.append(0, np.bincount(words, minlength=WORDS).cumsum())
    images = np.repeat(np.arange(count, dtype=np.int32), own)[words.argsort(kind="stable")]
    if kind == "ASMK*":
        vectors = RNG.integers(0, 2**SIZE, (len(images), 1), np.uint64)
    else:
        vectors = RNG.standard_normal((len(images), SIZE), np.float32)
        vectors /= np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    return ASMKIndex(CODEBOOK, kind == "ASMK*", starts, images, vectors, own)


def measure(kind: str, count: int, queries: list[np.ndarray], rounds: int) -> dict[str, float]:
    """Milliseconds of a query by assignments, and gigabytes."""
    index = drawn_index(kind, count)
    arrays = (index.starts, index.images, index.vectors, index.words)
    found: dict[str, float] = {"gigabytes": sum(each.nbytes for each in arrays) / 1e9}
    for assignments in (1, 5):
        turn = iter(queries * rounds)
        found[f"ms, {assignments}"] = median(lambda: index.search(next(turn), assignments=assignments), rounds)  # noqa: B023
    return found


def peak() -> float:
    """The most gigabytes that this process has held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="timed queries (default 9)")
    rounds = parser.parse_args().rounds
    began, queries = time.perf_counter(), [drawn_image() for _ in range(rounds + 1)]
    assigning = median(lambda: nearest_words(queries[0], CODEBOOK, count=5), rounds)
    indexing = median(lambda: build_index(CODEBOOK, queries[:2]), rounds) / 2
    print(f"1,000 features are assigned to 5 words in {assigning:.0f} ms, and indexed in {indexing:.0f} ms\n")
    print("| index | images | ms, 1 word a feature | ms, 5 words | GB |\n|---|---|---|---|---|", flush=True)
    results: dict[str, Any] = {}
    for kind, count in CASES:
        found = results[f"{kind}, {count:,} images"] = measure(kind, count, queries, rounds)
        milliseconds = f"{found['ms, 1']:.0f} | {found['ms, 5']:.0f}"
        print(f"| {kind} | {count} | {milliseconds} | {found['gigabytes']:.2f} |", flush=True)
    print(f"\nThe process held {peak():.1f} GB at most.")
    figures = {"assigning_ms": assigning, "indexing_ms": indexing, "peak_gigabytes": peak(), "results": results}
    command = f"python benchmarks/asmk.py --rounds {rounds}"
    save("asmk", command, seconds=time.perf_counter() - began, figures=figures)


if __name__ == "__main__":
    main()
