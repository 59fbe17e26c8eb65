"""How fast is spatial verification, beside scikit-image's RANSAC, and whom does it believe?

    python benchmarks/verification.py

Both try 1,000 affine maps of three matches each, in turn in one process. The matches are drawn: three in ten follow a
map but for noise of 2 pixels, the others lie anywhere. Prints the medians in milliseconds, the median of the ratios of
neighbouring turns and the inliers that both find. Then it verifies pairs of photographs by SIFT features: a wall whose
homography is known, of Debian's package opencv-doc, and pairs of the package image-matching-models, where they are
installed. Writes results/verification-<platform>.json. Needs scikit-image (extra `scenes`).
"""

import argparse
import importlib.util
import statistics
import time
import xml.etree.ElementTree
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from saving import save
from skimage.measure import ransac  # pyright: ignore[reportMissingImports]
from skimage.transform import AffineTransform  # pyright: ignore[reportMissingImports]
from timing import turns

from vtnjax.retrieval import affine_ransac, match_features

TRIALS, THRESHOLD, NEAR = 1000, 10.0, 20.0
OPENCV = Path("/usr/share/doc/opencv-doc/examples/data")
SPEC = importlib.util.find_spec("imm")
PAIRS = Path((SPEC and SPEC.origin) or "nowhere").parent / "assets" / "example_pairs"
PHOTOGRAPHS = {
    "graf1, graf3": (OPENCV / "graf1.png", OPENCV / "graf3.png"),
    "graf1, building": (OPENCV / "graf1.png", OPENCV / "building.jpg"),
    "Notre-Dame, Chartres": tuple(PAIRS / "false_positive" / f"{name}.jpg" for name in ("notre_dame", "chartres")),
    "Montmartre, close and far": tuple(PAIRS / "outdoor" / f"montmartre_{name}.jpg" for name in ("close", "far")),
}


def matches(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in both images, pixels of about 1000 x 800."""
    rng = np.random.default_rng(count)
    source, target = rng.uniform(0, [1000, 800], (2, count, 2))
    right = count * 3 // 10
    moved = source[:right] @ np.array([[0.8, 0.4], [-0.5, 1.1]]) + [120, -30]
    target[:right] = moved + 2 * rng.standard_normal(moved.shape)
    return source, target


def beside(count: int, rounds: int) -> dict[str, float]:
    """Milliseconds of both, their ratio, and the inliers of both."""
    source, target = matches(count)
    options = {"min_samples": 3, "residual_threshold": THRESHOLD, "max_trials": TRIALS}
    calls = {
        "vtnjax": lambda: affine_ransac(source, target, threshold=THRESHOLD, trials=TRIALS).inliers,
        "scikit-image": lambda: ransac((source, target), AffineTransform, rng=0, **options)[1],
    }
    times = turns(calls, rounds, lambda _: None, calls=1)
    ratios = [theirs / ours for ours, theirs in zip(*times.values(), strict=True)]
    return {
        **{name: statistics.median(values) for name, values in times.items()},
        "faster": statistics.median(ratios),
        **{f"inliers, {name}": int(call().sum()) for name, call in calls.items()},
    }


def sift(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Places and descriptors of length 1 of the 1,000 strongest features."""
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    points, descriptors = cv2.SIFT_create(1000).detectAndCompute(image, None)  # pyright: ignore[reportAttributeAccessIssue]
    return np.array([point.pt for point in points]), descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)


def verify(first: Path, second: Path) -> dict[str, Any]:
    """How many features match and follow one map, and of the wall, which share of these is right."""
    (places, descriptors), (others, theirs) = sift(first), sift(second)
    pairs = match_features(descriptors, theirs)
    source, target = places[pairs[:, 0]], others[pairs[:, 1]]
    inliers = affine_ransac(source, target, threshold=THRESHOLD, trials=TRIALS).inliers
    found: dict[str, Any] = {"matches": len(pairs), "inliers": int(inliers.sum())}
    if second.name == "graf3.png":
        numbers = xml.etree.ElementTree.parse(OPENCV / "H1to3p.xml").findtext("H13/data") or ""
        homography = np.array(numbers.split(), float).reshape(3, 3)
        true = np.append(source[inliers], np.ones((inliers.sum(), 1)), axis=1) @ homography.T
        distances = np.linalg.norm(true[:, :2] / true[:, 2:] - target[inliers], axis=1)
        found["right"] = float((distances < NEAR).mean())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="timed calls of each (default 7)")
    arguments = parser.parse_args()
    began = time.perf_counter()
    figures: dict[str, Any] = {"results": {}, "photographs": {}}
    print("| matches | vtnjax ms | scikit-image ms | times as fast | inliers of both |\n|---|---|---|---|---|")
    for count in (100, 300, 1000):
        found = figures["results"][f"{count:,} matches"] = beside(count, arguments.rounds)
        inliers = f"{found['inliers, vtnjax']}, {found['inliers, scikit-image']}"
        milliseconds = f"{found['vtnjax']:.1f} | {found['scikit-image']:.0f}"
        print(f"| {count} | {milliseconds} | {found['faster']:.0f} | {inliers} |", flush=True)
    for name, paths in PHOTOGRAPHS.items():
        if all(path.is_file() for path in paths):
            figures["photographs"][name] = verify(*paths)
            print(name, figures["photographs"][name])
    command = f"python benchmarks/verification.py --rounds {arguments.rounds}"
    packages = ["scikit-image", "opencv-python-headless"]
    save("verification", command, seconds=time.perf_counter() - began, figures=figures, packages=packages)


if __name__ == "__main__":
    main()
