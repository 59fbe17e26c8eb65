"""Local features: what stands out in an image, where it is, and how it is described."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from vtnjax._checks import check_at_least_1
from vtnjax.retrieval._given import check_rows


class LocalFeatures(NamedTuple):
    """The local features of one image, best first, such as `evaluate.local_features` finds.

    Attributes:
        keypoints: (n, 2), pixel coordinates (x, y) in the image.
        descriptors: (n, d), of length 1.
        scores: (n,), how much each counts.
        scales: (n,), the factor of the image's size at which it was seen.
    """

    keypoints: Float[np.ndarray, "n 2"]
    descriptors: Float[np.ndarray, "n d"]
    scores: Float[np.ndarray, " n"]
    scales: Float[np.ndarray, " n"]

    def best(self, most: int, *, threshold: float = 0.0) -> "LocalFeatures":
        """The features of the highest scores, best first, and of equal ones those that come first.

        As in the reference code (DELF, `feature_extractor.py`) with its published settings: nothing is left out because
        it lies near another one.

        Args:
            most: how many at most.
            threshold: none with a lower score.

        Raises:
            ValueError: if `most` is not at least 1.
        """
        check_at_least_1("most", most)
        order = np.argsort(-self.scores, kind="stable")[:most]
        order = order[self.scores[order] >= threshold]
        return LocalFeatures(*(each[order] for each in self))


def check_features(name: str, features: LocalFeatures, *, size: int) -> LocalFeatures:
    """Features as arrays, or a ValueError unless they have descriptors of `size` numbers, each with its keypoint."""
    descriptors = check_rows(f"the descriptors of {name}", features.descriptors, size=size)
    keypoints = check_rows(f"the keypoints of {name}", features.keypoints, size=2)
    if len(keypoints) != len(descriptors):
        raise ValueError(
            f"{name} must have a keypoint for each of {len(descriptors)} descriptors, not {len(keypoints)}"
        )
    return features._replace(keypoints=keypoints, descriptors=descriptors)
