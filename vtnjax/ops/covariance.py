"""Second-order pooling: how the channels of a feature map vary together, as one vector an image.

All of them are computed in float32 at least, products at the highest precision: a bfloat16 iteration is 1.5 % off.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int, Real

from vtnjax._arrays import as_coords, as_positions, check_static
from vtnjax._checks import check_at_least_1, check_positive
from vtnjax.ops._gather import take

_EPSILON = 1e-8


def covariance(features: Float[ArrayLike, "h w c"]) -> Float[Array, "c c"]:
    """The covariance of the channels over the positions, divided by their number h w (iSQRT-COV Eq. 1).

    The features are centred first: in float32, E[x x'] - m m' would be off in the second digit and not even positive.

    Args:
        features: (h, w, c), floating.

    Returns:
        (c, c), at least float32.

    Raises:
        ValueError: if the features are not floating (h, w, c) with at least one position.

    Examples:
        >>> features = jnp.array([[[0.0, 0.0], [2.0, 4.0]]])  # two positions, two channels
        >>> ops.covariance(features).tolist()
        [[1.0, 2.0], [2.0, 4.0]]
        >>> ops.covariance(features + 7).tolist()  # the mean does not count
        [[1.0, 2.0], [2.0, 4.0]]
    """
    x = as_positions("features", features)
    x = x - x.mean(0, keepdims=True)
    return _products(x) / x.shape[0]


def isqrt_covariance(features: Float[ArrayLike, "h w c"], *, iterations: int = 5) -> Float[Array, " n"]:
    """The covariance's approximate square root, by the coupled Newton-Schulz iteration (iSQRT-COV, Li 2018).

    The covariance is divided by its trace, iterated, and multiplied by the root of the trace. As in the paper 5 steps
    are all: of eigenvalues far below the trace the root is not reached but suppressed (of a hundredth, 0.66 of it; of a
    thousandth, 0.24). So do not expect SciPy's `sqrtm`. In float32, with fewer positions than channels, some 20 steps
    begin to diverge. The pooling is of the first degree in the features, and a constant added to a channel changes
    nothing.

    Where the reference divides 0 by 0, for a map that is the same everywhere, this gives 0 and a gradient of 0.

    Args:
        features: (h, w, c), floating.
        iterations: how many steps, at least 1.

    Returns:
        (c (c + 1) / 2,), at least float32: the upper triangle row by row.

    Raises:
        ValueError: if the features are not floating (h, w, c) with at least one position, or there is no step.

    Examples:
        >>> features = 3 * jnp.array([[[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]])
        >>> ops.covariance(features).tolist()
        [[9.0, 0.0], [0.0, 9.0]]
        >>> ops.isqrt_covariance(features).round(2).tolist()  # the root's upper triangle
        [3.0, 0.0, 3.0]
    """
    check_at_least_1("iterations", iterations)
    matrix = covariance(features)
    size = lax.stop_gradient(jnp.trace(matrix))
    some = size > jnp.finfo(size.dtype).tiny
    size = jnp.where(some, size, 1)
    matrix = matrix / size  # which no result depends on, but the square of a large trace would overflow in gradients
    trace = jnp.where(some, jnp.trace(matrix), 1)
    root = _newton_schulz(matrix / trace, iterations)
    return _upper_triangle(root) * jnp.where(some, jnp.sqrt(trace) * jnp.sqrt(size), 0)


def _newton_schulz(y, iterations):
    """Y_n of Y_0 = y, Z_0 = 1: Y <- Y T, Z <- T Z with T = (3 - Z Y) / 2."""
    three = 3 * np.eye(y.shape[0], dtype=y.dtype)
    z = (three - y) / 2
    y = _matmul(y, z)
    for step in range(1, iterations):
        t = (three - _matmul(z, y)) / 2
        y = _matmul(y, t)
        if step < iterations - 1:
            z = _matmul(t, z)
    return y


def matrix_power_covariance(features: Float[ArrayLike, "h w c"], *, power: float = 0.5) -> Float[Array, " n"]:
    """A power of the covariance, by its eigenvalues (MPN-COV, Li 2017).

    Eigenvalues of at most c times the dtype's precision of the largest count as 0, and so do their directions. The
    reference's derivative divides by differences of eigenvalues. This one uses quotients that stay finite, so that dead
    channels and fewer positions than channels have a gradient; of the second order that is so only where the
    eigenvalues differ. Eigenvalues are slow on a GPU or a TPU: `isqrt_covariance` is made of products alone.

    The reference has the upper triangle column by column.

    Args:
        features: (h, w, c), floating.
        power: alpha, above 0; the paper's is 1/2.

    Returns:
        (c (c + 1) / 2,), at least float32: the upper triangle row by row.

    Raises:
        ValueError: if the features are not floating (h, w, c) with at least one position, or the power is not above 0.

    Examples:
        >>> features = jnp.array([[[-1.0, -4.0], [-1.0, 4.0], [1.0, -4.0], [1.0, 4.0]]])  # variances 1 and 16
        >>> ops.matrix_power_covariance(features).round(2).tolist()
        [1.0, 0.0, 4.0]
        >>> ops.matrix_power_covariance(features, power=0.25).round(2).tolist()
        [1.0, 0.0, 2.0]
    """
    check_positive("power", power)
    return _upper_triangle(_power(covariance(features), power))


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _power(matrix, power):
    return _recompose(*_spectrum(matrix), power)


@_power.defjvp
def _power_jvp(power, primals, tangents):
    """In the eigenvectors' frame the tangent is multiplied by quotients (a^p - b^p) / (a - b) of the eigenvalues."""
    (matrix,), (dmatrix,) = primals, tangents
    values, vectors = _spectrum(matrix)
    inside = _matmul(_matmul(vectors.T, dmatrix), vectors) * _quotients(values, power)
    return _recompose(values, vectors, power), _matmul(_matmul(vectors, inside), vectors.T)


def _spectrum(matrix):
    """The eigenvalues, those that are nothing but rounding set to 0, and the eigenvectors as columns."""
    values, vectors = jnp.linalg.eigh(matrix)
    least = values[-1] * values.size * jnp.finfo(values.dtype).eps
    return jnp.where(values > least, values, 0), vectors


def _recompose(values, vectors, power):
    return _matmul(vectors * _powers(values, power)[None], vectors.T)


def _powers(values, power):
    """Powers of what is above 0, else 0."""
    return jnp.where(values > 0, jnp.where(values > 0, values, 1) ** power, 0)


def _quotients(values, power):
    """(a^p - b^p) / (a - b) of all pairs of values, also of equal ones, and 0 of two zeros.

    With t = log(b / a) it is a^(p - 1) expm1(p t) / expm1(t), in which nothing cancels.
    """
    some = values > 0
    logs = jnp.log(jnp.where(some, values, 1))
    t = logs[None, :] - logs[:, None]
    apart = jnp.where(t == 0, 1, t)
    ratio = jnp.where(t == 0, power, jnp.expm1(power * apart) / jnp.expm1(apart))
    lower = _powers(values, power - 1)
    one = lower[:, None] + lower[None, :]  # of a zero and another: the other's alone
    return jnp.where(some[:, None] & some[None, :], lower[:, None] * ratio, one)


def bilinear_pool(features: Float[ArrayLike, "h w c"], *, epsilon: float = _EPSILON) -> Float[Array, " n"]:
    """The mean outer product of the features with themselves, its signed roots, at length 1 (bilinear CNN, Lin 2015).

    A product p gives sign(p) sqrt(|p| + epsilon), whose slope at 0 is 0, as in the code of iSQRT-COV's authors.

    Args:
        features: (h, w, c), floating.
        epsilon: what keeps the root's slope finite, above 0.

    Returns:
        (c * c,), at least float32, of length 1, or 0 where all features are.

    Raises:
        ValueError: if the features are not floating (h, w, c) with at least one position, or epsilon is not above 0.

    Examples:
        >>> ops.bilinear_pool(jnp.array([[[5.0, -5.0]]])).round(2).tolist()  # of the products 25, -25, -25, 25
        [0.5, -0.5, -0.5, 0.5]
    """
    check_positive("epsilon", epsilon)
    x = as_positions("features", features)
    return _normalised((_products(x) / x.shape[0]).reshape(x.shape[1] ** 2), epsilon)


def compact_bilinear_pool(
    features: Float[ArrayLike, "h w c"],
    hashes: Int[ArrayLike, "2 c"],
    signs: Real[ArrayLike, "2 c"],
    size: int,
    *,
    normalise: bool = True,
) -> Float[Array, " size"]:
    """Bilinear pooling in fewer numbers, by Tensor Sketch (compact bilinear pooling, Gao 2016).

    A count sketch of x adds s_i x_i to place h_i. The convolution, around a circle, of two sketches of x with hashes
    and signs of their own has inner products that on average are the squares of those of the features.

    Where the products of two channels are no more than the numbers of all positions' sketches, h w size, they are added
    to the places (h_i + h_j) mod size; else the spectra of the sketches are multiplied.

    Args:
        features: (h, w, c), floating.
        hashes: (2, c) places from 0 to size - 1, whole numbers.
        signs: (2, c), each -1 or 1.
        size: how many numbers come out; the paper's is 8192.
        normalise: whether the sum over the positions is followed by signed roots, as in `bilinear_pool`, and brought to
            length 1.

    Returns:
        (size,), at least float32.

    Raises:
        ValueError: if the features are not floating (h, w, c) with at least one position, or a sketch is of another
            shape or dtype.

    Examples:
        >>> features, signs = jnp.array([[[2.0, 3.0]]]), jnp.ones((2, 2))
        >>> hashes = jnp.array([[0, 1], [0, 2]])  # so that the four products go to places of their own
        >>> ops.compact_bilinear_pool(features, hashes, signs, 4, normalise=False).tolist()
        [4.0, 6.0, 6.0, 9.0]
        >>> hashes = jnp.array([[0, 1], [0, 0]])  # 4 + 6 and 6 + 9
        >>> ops.compact_bilinear_pool(features, hashes, signs, 2, normalise=False).round(2).tolist()
        [10.0, 15.0]
    """
    x = as_positions("features", features)
    hashes, signs = _sketch(x, hashes, signs, size, count=2)
    if x.shape[1] ** 2 <= x.shape[0] * size:
        places = (hashes[0][:, None] + hashes[1][None, :]) % size
        products = signs[0][:, None] * signs[1][None, :] * _products(x)
        pooled = jnp.zeros(size, x.dtype).at[places.reshape(-1)].add(products.reshape(-1))
    else:
        one, other = _spectra(x, hashes, signs, size)
        pooled = jnp.fft.irfft((one * other).sum(0), size)
    return _normalised(pooled, _EPSILON) if normalise else pooled


def kernel_pool(
    features: Float[ArrayLike, "h w c"],
    hashes: Int[ArrayLike, "p c"],
    signs: Real[ArrayLike, "p c"],
    size: int,
    coefficients: Float[ArrayLike, " p+1"],
    *,
    unit: bool = True,
    normalise: bool = True,
) -> Float[Array, " n"]:
    """Products of the features up to the p-th order, by Tensor Sketch (kernel pooling, Cui 2017).

    Inner products of the mean over the positions of [a_0, a_1 x, a_2 TS_2(x), ..., a_p TS_p(x)] approximate those of a
    kernel, the sum of a_i^2 <x, y>^i. TS_i convolves the first i count sketches, which the orders share; see
    `compact_bilinear_pool`.

    Args:
        features: (h, w, c), floating.
        hashes: (p, c) places from 0 to size - 1, whole numbers; p is at least 2.
        signs: (p, c), each -1 or 1.
        size: how many numbers each order above the first has; 4096 in the paper's networks.
        coefficients: (p + 1,), the a_i, floating.
        unit: whether the features of each position are first brought to length 1, which the coefficients of a Gaussian
            kernel assume.
        normalise: whether the mean is followed by signed roots, as in `bilinear_pool`, and brought to length 1.

    Returns:
        (1 + c + (p - 1) size,), at least float32.

    Raises:
        ValueError: if the features are not floating (h, w, c) with at least one position, or a sketch or the
            coefficients are of another shape or dtype.

    Examples:
        >>> features, options = jnp.array([[[1.0, 2.0]]]), {"unit": False, "normalise": False}
        >>> hashes, signs = jnp.array([[0, 1], [0, 1], [0, 1]]), jnp.ones((3, 2))
        >>> pooled = ops.kernel_pool(features, hashes, signs, 3, jnp.ones(4), **options)
        >>> pooled[:3].tolist(), pooled[3:6].round(2).tolist()  # 1, the features, and (1 + 2 t)^2 = 1 + 4 t + 4 t^2
        ([1.0, 1.0, 2.0], [1.0, 4.0, 4.0])
        >>> pooled[6:].round(2).tolist()  # (1 + 2 t)^3 = 1 + 6 t + 12 t^2 + 8 t^3, whose t^3 is place 0 again
        [9.0, 6.0, 12.0]
    """
    x = as_positions("features", features)
    hashes, signs = _sketch(x, hashes, signs, size)
    coefficients = as_coords("coefficients", coefficients)
    if coefficients.shape != (len(hashes) + 1,):
        raise ValueError(
            f"coefficients must be {len(hashes) + 1}, one more than there are hashes, but their shape is "
            f"{coefficients.shape}"
        )
    constant, linear, *others = coefficients.astype(x.dtype)
    x = _unit(x) if unit else x
    product, *spectra = _spectra(x, hashes, signs, size)
    orders = [constant[None], linear * x.mean(0)]
    for coefficient, spectrum in zip(others, spectra, strict=True):
        product = product * spectrum
        orders.append(coefficient * jnp.fft.irfft(product.mean(0), size))
    pooled = jnp.concatenate(orders)
    return _normalised(pooled, _EPSILON) if normalise else pooled


def _sketch(x, hashes, signs, size, *, count=None):
    """Hashes and signs as arrays, or a ValueError unless there are `count` (or at least 2) for the channels of x."""
    check_static("size", size)
    check_at_least_1("size", size)
    hashes, signs = jnp.asarray(hashes), jnp.asarray(signs)
    if not jnp.issubdtype(hashes.dtype, jnp.integer):
        raise ValueError(f"hashes must be whole numbers, but their dtype is {hashes.dtype}")
    rows = hashes.shape[0] if hashes.ndim else 0
    if hashes.shape != (count or rows, x.shape[1]) or rows < 2:
        wanted = f"({count or 'p'}, {x.shape[1]}){'' if count else ' with p of at least 2'}"
        raise ValueError(f"hashes must have the shape {wanted} for these features, but it is {hashes.shape}")
    if signs.shape != hashes.shape:
        raise ValueError(f"signs must have the shape of hashes, {hashes.shape}, but it is {signs.shape}")
    return hashes.astype(jnp.int32), signs.astype(x.dtype)


def _spectra(x, hashes, signs, size):
    """Spectra (positions, size // 2 + 1) of the count sketches of all positions, one for each row of hashes."""

    def spectrum(places, signs):
        sketch = jnp.zeros((size, x.shape[0]), x.dtype).at[places].add((x * signs[None]).T)
        return jnp.fft.rfft(sketch.T)

    return [spectrum(*each) for each in zip(hashes, signs, strict=True)]


def _normalised(x, epsilon):
    """Signed roots, at length 1."""
    return _unit(jnp.sign(x) * jnp.sqrt(jnp.abs(x) + epsilon))


def _unit(x):
    """Each row at length 1, as PyTorch's `normalize`; a row of zeros stays so, with a finite gradient."""
    square = jnp.square(x).sum(-1, keepdims=True)
    least = np.asarray(1e-24, x.dtype)
    return x * lax.rsqrt(jnp.where(square > least, square, least))


@jax.custom_jvp
def _products(x):
    """The sums over the positions of the products of two channels, (c, c)."""
    return jnp.einsum("pi,pj->ij", x, x, precision=lax.Precision.HIGHEST)


@_products.defjvp
def _products_jvp(primals, tangents):
    """One product and its transpose, where JAX would multiply twice."""
    (x,), (dx,) = primals, tangents
    half = jnp.einsum("pi,pj->ij", x, dx, precision=lax.Precision.HIGHEST)
    return _products(x), half + half.T


def _matmul(a, b):
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _upper_triangle(matrix):
    """Its upper triangle row by row, (c (c + 1) / 2,)."""
    size = matrix.shape[0]
    index = np.flatnonzero(np.triu(np.ones((size, size), bool))).astype(np.int32)
    return take(matrix.reshape(size * size), jnp.asarray(index))
