"""Whether a transformer sees how its input is turned (Finnveden et al. 2020, Fig. 3)."""

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from numpy import ndarray


def predicted_angle(theta: Float[ArrayLike, "n 2 3"]) -> Float[ndarray, "n"]:
    """The turn that an affine warp undoes, -180 to 180 degrees: the angle of `distort.turn`, if it undoes all of it.

    It is the angle of the first row of theta's inverse, from which the authors' code reads it.
    """
    theta = np.asarray(theta, np.float64)
    determinant = theta[..., 0, 0] * theta[..., 1, 1] - theta[..., 0, 1] * theta[..., 1, 0]
    sign = np.sign(determinant)
    return np.degrees(np.arctan2(-sign * theta[..., 0, 1], sign * theta[..., 1, 1]))


def angle_correlation(applied: Float[ArrayLike, "n"], predicted: Float[ArrayLike, "n"]) -> float:
    """Pearson's correlation of two lists of angles in degrees, the second measured from its mean direction.

    A network may bring its inputs to any pose, so that angles about 180 may mean the same as angles about 0. If all
    angles of a list are the same, the correlation is 0.
    """
    both = np.asarray(applied, np.float64), centred_angles(predicted)
    return float(np.corrcoef(*both)[0, 1]) if all(each.std() > 0 for each in both) else 0.0


def centred_angles(angles: Float[ArrayLike, "n"]) -> Float[ndarray, "n"]:
    """Angles in degrees from their mean direction, -180 to 180."""
    turns = np.exp(1j * np.radians(np.asarray(angles, np.float64)))
    return np.degrees(np.angle(turns * np.conj(turns.mean())))
