"""Warping fields as expectations over candidates in a window around each position (VTN section 3.3, Eq. 1-2)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from vtnjax._arrays import check_floating, check_last, check_rank, widest
from vtnjax._checks import check_choice

BORDERS = ("mask", "zero")


def candidate_offsets(window: Sequence[int]) -> Int[Array, "n 2"]:
    """The offsets j - i of the candidates j of a position i.

    Convention:
        Direction: output to input; an offset leads from position i to its candidate j.
        Origin and order: the centre, (0, 0), is in the middle, row by row; the last axis is (x, y), y down.
        Outside: offsets know no border; `candidate_probabilities` says what a candidate off the map counts.

    Args:
        window: (rows, columns), both odd.

    Returns:
        (rows * columns, 2), int32, in pixels.

    Raises:
        ValueError: if `window` is not two odd numbers.

    Examples:
        >>> ops.candidate_offsets((1, 3)).tolist()
        [[-1, 0], [0, 0], [1, 0]]
        >>> ops.candidate_offsets((3, 3))[0].tolist()  # the first is up and to the left
        [-1, -1]
    """
    rows, columns = check_window(window)
    y, x = np.mgrid[:rows, :columns]
    return jnp.asarray(np.stack([x - columns // 2, y - rows // 2], axis=-1).reshape(-1, 2), jnp.int32)


def candidate_probabilities(
    residual: Float[ArrayLike, "h w g n"],
    response: Float[ArrayLike, "h w g"],
    *,
    window: Sequence[int],
    temperature: float = 10.0,
    border: str = "mask",
) -> Float[Array, "h w g n"]:
    """How probable each candidate is for each position of each group: softmax((response(j) + residual(i, j)) / beta).

    This is VTN Eq. 2; `response` is the paper's U^max + U^avg.

    With a residual of zero and a response of order 1, a temperature of 10 leaves the softmax almost uniform. With
    `border="mask"` the field is then a fixed zoom: near a border only the candidates inside are averaged, which draws
    everything towards the centre. A temperature near 1, or a residual that favours the centre candidate, starts nearer
    the identity; with `border="zero"` the average of a uniform softmax is the position itself.

    Convention:
        Direction: output to input; entry [i, k] is the probability that position i reads its candidate k.
        Origin and order: candidate k of position i lies at i + candidate_offsets(window)[k], row by row.
        Outside: `border` says what a candidate off the map counts, of which the paper says nothing.

    Args:
        residual: (h, w, g, n), the estimator's output E_c(i, j) for each candidate.
        response: (h, w, g), the response of each position in each group.
        window: (rows, columns), both odd, n = rows * columns.
        temperature: beta, above 0.
        border: with "mask" a candidate off the map has probability 0; with "zero" it has response 0.

    Returns:
        (h, w, g, n), at least float32; the sums over n are 1.

    Raises:
        ValueError: if a shape, a dtype, the window, the temperature or the border's name is wrong.

    Examples:
        >>> response = jnp.log(jnp.array([1.0, 3.0])).reshape(1, 2, 1)  # weights 1 and 3
        >>> residual = jnp.zeros((1, 2, 1, 3))
        >>> found = ops.candidate_probabilities(residual, response, window=(1, 3), temperature=1.0)
        >>> found[0, :, 0].round(2).tolist()  # left, centre and right candidate of each position
        [[0.0, 0.25, 0.75], [0.25, 0.75, 0.0]]
    """
    residual, response = jnp.asarray(residual), jnp.asarray(response)
    rows, columns = check_window(window)
    check_choice("border", border, BORDERS)
    for name, array, axes in (("residual", residual, "h w g n"), ("response", response, "h w g")):
        check_rank(name, array, axes)
        check_floating(name, array)
    if residual.shape != (*response.shape, rows * columns):
        raise ValueError(
            f"residual must have the shape {(*response.shape, rows * columns)}, that of response and an entry for each "
            f"candidate of the window {rows} x {columns}, but its shape is {residual.shape}"
        )
    check_temperature(temperature)
    dtype = widest(jnp.float32, residual.dtype, response.dtype)
    outside = -jnp.inf if border == "mask" else 0.0
    candidates = jnp.moveaxis(_neighbours(response.astype(dtype), (rows, columns), outside), 0, -1)
    return jax.nn.softmax((candidates + residual.astype(dtype)) / temperature, axis=-1)


def expected_displacement(
    probabilities: Float[ArrayLike, "h w g n"], *, window: Sequence[int]
) -> Float[Array, "h w g 2"]:
    """The mean offset of the candidates: G(i) = sum over j of P(i, j) (j - i), VTN Eq. 1.

    Convention:
        Direction: output to input; position i reads the map at i + G(i), which `displace` makes.
        Origin and order: (0, 0) is the position itself; the last axis is (x, y), x right, y down.
        Outside: nothing is clipped; where candidates off the map have probability 0, i + G(i) is on the map.

    Args:
        probabilities: (h, w, g, n), of the candidates in the order of `candidate_offsets`.
        window: (rows, columns), both odd, n = rows * columns.

    Returns:
        (h, w, g, 2), displacements in pixels, at least float32.

    Raises:
        ValueError: if a shape, the dtype or the window is wrong.

    Examples:
        >>> left, right = jax.nn.one_hot(jnp.array([3, 5]), 9).reshape(2, 1, 1, 1, 9)
        >>> ops.expected_displacement(right, window=(3, 3)).tolist()
        [[[[1.0, 0.0]]]]
        >>> ops.expected_displacement(0.25 * left + 0.75 * right, window=(3, 3)).tolist()
        [[[[0.5, 0.0]]]]
    """
    probabilities = jnp.asarray(probabilities)
    check_rank("probabilities", probabilities, "h w g n")
    check_floating("probabilities", probabilities)
    offsets = candidate_offsets(window)
    check_last("probabilities", probabilities, len(offsets), f"the {len(offsets)} candidates of the window")
    probabilities = probabilities.astype(widest(jnp.float32, probabilities.dtype))
    offsets = offsets.astype(probabilities.dtype)
    return jnp.einsum("...n,nk->...k", probabilities, offsets, precision=lax.Precision.HIGHEST)


def check_window(window: Sequence[int]) -> tuple[int, int]:
    """Return (rows, columns), or raise a ValueError unless both are odd."""
    try:
        rows, columns = (int(size.__index__()) for size in window)
    except (TypeError, ValueError, AttributeError):
        rows = columns = 0
    if rows < 1 or columns < 1 or rows % 2 == 0 or columns % 2 == 0:
        raise ValueError(f"window must be (rows, columns), two odd numbers of candidates, not {window!r}")
    return rows, columns


def check_temperature(temperature: float) -> None:
    """Raise a ValueError unless the softmax's temperature is above 0."""
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, not {temperature!r}")


def _neighbours(response, window, outside):
    """The responses in each position's window, (n, h, w, g): whole maps side by side, since a copy of rows is fast."""
    (rows, columns), (h, w, _) = window, response.shape
    margins = [(size // 2, size // 2) for size in window]
    padded = jnp.pad(response, (*margins, (0, 0)), constant_values=outside)
    down = jnp.stack([lax.slice_in_dim(padded, i, i + h, axis=0) for i in range(rows)])
    across = jnp.stack([lax.slice_in_dim(down, j, j + w, axis=2) for j in range(columns)], axis=1)
    return across.reshape(rows * columns, *response.shape)
