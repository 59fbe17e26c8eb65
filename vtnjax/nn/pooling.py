"""Modules that pool features to one vector an image: by how the channels vary together, and for retrieval."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vtnjax import ops
from vtnjax._arrays import by_rows, widest
from vtnjax._checks import check_at_least_1, check_positive
from vtnjax.ops.pooling import regional_maxima, unit


class Fixed(nnx.Variable):
    """What a module draws or is given once, such as a sketch: never learned, and in checkpoints."""


class _Pooling(nnx.Module):
    """What the poolings share: calling one with features (n, h, w, channels) returns (n, size), at least float32."""

    def __init__(self, channels: int, size: int):
        check_at_least_1("channels", channels)
        self.channels, self.size = channels, size

    def __call__(self, features: Float[Array, "n h w c"]) -> Float[Array, "n size"]:
        """Pool a batch; see the class."""
        if features.ndim != 4 or features.shape[-1] != self.channels:
            raise ValueError(
                f"features must have the shape (n, h, w, {self.channels}), but their shape is {features.shape}"
            )
        return jax.vmap(self._one())(self._reduced(features))

    def _one(self) -> Callable[[Array], Array]:
        """The function of one example (h, w, c)."""
        raise NotImplementedError

    def _reduced(self, features):
        return features


class _Reducing(_Pooling):
    """A pooling behind a reduction of the channels, or without one; `size` is that of so many channels."""

    def __init__(self, channels, reduced, size, *, use_bias=False, dtype, rngs):
        if reduced is not None:
            check_at_least_1("reduced", reduced)
        super().__init__(channels, size(reduced or channels))
        self.reduction = None if reduced is None else _Reduction(channels, reduced, use_bias, dtype=dtype, rngs=rngs)

    def _reduced(self, features):
        return features if self.reduction is None else self.reduction(features)


class _Reduction(nnx.Module):
    """A 1 x 1 convolution, BatchNorm and ReLU. The convolution is a product of matrices, whose gradients are fast."""

    def __init__(self, inputs, outputs, use_bias, *, dtype, rngs):
        self.conv = nnx.Linear(inputs, outputs, use_bias=use_bias, dtype=dtype, rngs=rngs)
        wide = None if dtype is None else widest(dtype, jnp.float32)
        self.norm = nnx.BatchNorm(outputs, momentum=0.9, epsilon=1e-5, dtype=wide, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w r"]:
        """The reduced features, at least float32: what is centred next loses no digits."""
        if self.conv.dtype is None:
            x = x.astype(widest(x.dtype, jnp.float32))
        return by_rows(lambda rows: nnx.relu(self.norm(self.conv(rows))), x)


class ISQRTCOV(_Reducing):
    """The covariance's square root by Newton-Schulz iterations, its upper triangle (iSQRT-COV, Li 2018).

    Calling it with features (n, h, w, channels) returns (n, size), at least float32; `size` is k (k + 1) / 2 of k
    reduced channels, 32,896 by default. In the reference the network's last stage has stride 1 (28 x 28 positions of
    448 x 448 pixels), and neither dropout nor a normalisation follows.

    Examples:
        >>> pool = nn.ISQRTCOV(8, reduced=3, rngs=nnx.Rngs(0))
        >>> pool(jnp.ones((2, 4, 4, 8))).shape  # 3 * 4 / 2 numbers of 3 channels
        (2, 6)
        >>> nn.ISQRTCOV(512, rngs=nnx.Rngs(0)).size  # 256 * 257 / 2
        32896
    """

    def __init__(
        self,
        channels: int,
        *,
        reduced: int | None = 256,
        iterations: int = 5,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        """Make the pooling.

        Args:
            channels: how many channels the features have.
            reduced: how many a 1 x 1 convolution without bias, BatchNorm and ReLU leave; None: no reduction.
            iterations: as in `ops.isqrt_covariance`.
            dtype: of the convolution, by default the widest of features and parameters.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if a number is not whole and at least 1.
        """
        super().__init__(channels, reduced, _triangle, dtype=dtype, rngs=rngs)
        check_at_least_1("iterations", iterations)
        self.iterations = iterations

    def _one(self):
        return lambda x: ops.isqrt_covariance(x, iterations=self.iterations)


class MPNCOV(_Reducing):
    """The covariance's square root by eigenvalues, its upper triangle (MPN-COV, Li 2017).

    Calling it with features (n, h, w, channels) returns (n, size), at least float32; `size` is k (k + 1) / 2 of k
    reduced channels, 32,896 by default.

    Examples:
        >>> pool = nn.MPNCOV(2, reduced=None, rngs=nnx.Rngs(0))
        >>> features = jnp.array([[[[-1.0, 0.0], [1.0, 0.0]]], [[[-6.0, 8.0], [6.0, 8.0]]]])  # of two images
        >>> pool(features).round(2).tolist()  # the second channel varies nowhere
        [[1.0, 0.0, 0.0], [6.0, 0.0, 0.0]]
    """

    def __init__(self, channels: int, *, reduced: int | None = 256, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        """Make the pooling.

        Args:
            channels: how many channels the features have.
            reduced: how many a 1 x 1 convolution with a bias, BatchNorm and ReLU leave; None: no reduction.
            dtype: of the convolution, by default the widest of features and parameters.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if a number is not whole and at least 1.
        """
        super().__init__(channels, reduced, _triangle, use_bias=True, dtype=dtype, rngs=rngs)

    def _one(self):
        return ops.matrix_power_covariance


class BilinearPool(_Reducing):
    """Bilinear pooling: the mean outer product, its signed roots, at length 1 (bilinear CNN, Lin 2015).

    Calling it with features (n, h, w, channels) returns (n, size), at least float32; `size` is the square of the
    channels, 262,144 of VGG's 512. Of the 2,048 of a ResNet-50 it would be 4 million: reduce them.

    Examples:
        >>> pool = nn.BilinearPool(4, rngs=nnx.Rngs(0))
        >>> pooled = pool(jnp.ones((2, 3, 3, 4)))
        >>> pooled.shape
        (2, 16)
        >>> float(jnp.linalg.norm(pooled[0]).round(2))  # the length
        1.0
    """

    def __init__(self, channels: int, *, reduced: int | None = None, dtype: DTypeLike | None = None, rngs: nnx.Rngs):
        """Make the pooling.

        Args:
            channels: how many channels the features have.
            reduced: how many a 1 x 1 convolution without bias, BatchNorm and ReLU leave; None: no reduction.
            dtype: of the convolution, by default the widest of features and parameters.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if a number is not whole and at least 1.
        """
        super().__init__(channels, reduced, lambda count: count**2, dtype=dtype, rngs=rngs)

    def _one(self):
        return ops.bilinear_pool


class CompactBilinearPool(_Pooling):
    """Compact bilinear pooling by Tensor Sketch, signed roots, at length 1 (Gao 2016).

    Calling it with features (n, h, w, channels) returns (n, size), at least float32. The sketch is drawn once, and the
    same streams draw the same one on every device; it is not learned, and checkpoints hold it.

    Examples:
        >>> pool = nn.CompactBilinearPool(64, size=16, rngs=nnx.Rngs(0))
        >>> pool(jnp.ones((2, 3, 3, 64))).shape  # 16 numbers where `BilinearPool` gives 4096
        (2, 16)
        >>> len(jax.tree.leaves(nnx.state(pool, nnx.Param)))  # nothing is learned
        0
    """

    def __init__(self, channels: int, size: int = 8192, *, rngs: nnx.Rngs):
        """Make the pooling.

        Args:
            channels: how many channels the features have.
            size: how many numbers come out.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if a number is not whole and at least 1.
        """
        check_at_least_1("size", size)
        super().__init__(channels, size)
        self.hashes, self.signs = _draw_sketches(2, channels, size, rngs)

    def _one(self):
        hashes, signs = self.hashes[...], self.signs[...]
        return lambda x: ops.compact_bilinear_pool(x, hashes, signs, self.size)


class KernelPool(_Pooling):
    """Kernel pooling: sketches of products of up to `orders` channels, signed roots, at length 1 (Cui 2017).

    Calling it with features (n, h, w, channels) returns (n, size), at least float32; `size` is 1 + channels +
    (orders - 1) times the argument. The sketches are drawn once, as those of `CompactBilinearPool`. The coefficients
    begin as those of exp(-gamma |x - y|^2), which for unit vectors is a series in their inner product. The paper takes
    for gamma the inverse of the mean inner product between two positions of an image.

    Examples:
        >>> pool = nn.KernelPool(4, 8, orders=3, rngs=nnx.Rngs(0))
        >>> pool.size  # 1 + 4 + 8 + 8
        21
        >>> pool.coefficients.shape  # of the orders 0 to 3
        (4,)
    """

    def __init__(
        self,
        channels: int,
        size: int = 4096,
        orders: int = 4,
        *,
        gamma: float = 1.0,
        learned: bool = True,
        unit: bool = True,
        rngs: nnx.Rngs,
    ):
        """Make the pooling.

        Args:
            channels: how many channels the features have.
            size: how many numbers each order above the first has.
            orders: p, the highest order, at least 2.
            gamma: of the kernel that the coefficients begin with, above 0.
            learned: whether the coefficients are learned.
            unit: whether the features of each position are first brought to length 1.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if a number is not whole, or out of range.
        """
        check_at_least_1("size", size)
        if not hasattr(orders, "__index__") or orders < 2:
            raise ValueError(f"orders must be a whole number of at least 2, not {orders!r}")
        check_positive("gamma", gamma)
        super().__init__(channels, 1 + channels + (orders - 1) * size)
        self.sketch_size, self.unit = size, unit
        self.hashes, self.signs = _draw_sketches(orders, channels, size, rngs)
        order = np.arange(orders + 1)
        squares = np.exp(-2 * gamma) * (2 * gamma) ** order / np.cumprod([1, *order[1:]])
        coefficients = jnp.asarray(np.sqrt(squares), jnp.float32)
        self.coefficients: Any = (nnx.Param if learned else Fixed)(coefficients)

    def _one(self):
        hashes, signs, coefficients = self.hashes[...], self.signs[...], self.coefficients[...]
        return lambda x: ops.kernel_pool(x, hashes, signs, self.sketch_size, coefficients, unit=self.unit)


class GeM(_Pooling):
    """Generalised-mean pooling with a learned power (GeM, Radenovic 2018).

    Calling it with features (n, h, w, channels) returns (n, channels), at least float32 and not of length 1. `p` is one
    number for all channels; the reference code trains it at ten times the rate of the trunk and without weight decay.

    Examples:
        >>> pool = nn.GeM(2, rngs=nnx.Rngs(0))
        >>> float(pool.p[...])
        3.0
        >>> pool(jnp.ones((1, 3, 4, 2))).round(2).tolist()
        [[1.0, 1.0]]
    """

    def __init__(self, channels: int, *, p: float = 3.0, rngs: nnx.Rngs):
        """Make the pooling.

        Args:
            channels: how many channels the features have.
            p: the power to begin with, above 0.
            rngs: NNX's random streams, which every pooling takes; none is used.

        Raises:
            ValueError: if `channels` is not whole and at least 1, or `p` is not above 0 and finite.
        """
        check_positive("p", p)
        super().__init__(channels, channels)
        self.p = nnx.Param(jnp.asarray(p, jnp.float32))

    def _one(self):
        p = self.p[...]
        return lambda x: ops.gem(x, p)


class RMAC(_Pooling):
    """Regional maxima, each brought to length 1, added up, with a learned whitening between (R-MAC, Tolias 2016).

    Calling it with features (n, h, w, channels) returns (n, size), at least float32 and not of length 1. With
    `whitening` each region's vector passes a linear layer and is brought to length 1 again before the sum, as the
    fine-tuned R-MAC of Gordo (2017) has it; the whole map is one more region. Without it this is `ops.rmac`.

    Examples:
        >>> pool = nn.RMAC(2048, whitening=512, rngs=nnx.Rngs(0))
        >>> pool.size
        512
    """

    def __init__(
        self,
        channels: int,
        *,
        levels: int = 3,
        whitening: int | None = None,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        """Make the pooling.

        Args:
            channels: how many channels the features have.
            levels: how many sizes of regions; see `ops.pooling.regional_maxima`.
            whitening: how many numbers the linear layer makes; None: no layer.
            dtype: of the linear layer, by default the widest of features and parameters.
            rngs: NNX's random streams; `params` is used for the layer.

        Raises:
            ValueError: if a number is not whole and at least 1.
        """
        check_at_least_1("levels", levels)
        if whitening is not None:
            check_at_least_1("whitening", whitening)
        super().__init__(channels, whitening or channels)
        self.levels = levels
        self.whitening = None if whitening is None else nnx.Linear(channels, whitening, dtype=dtype, rngs=rngs)

    def _one(self):
        whitening = self.whitening
        if whitening is None:
            return lambda x: ops.rmac(x, levels=self.levels)

        def one(x):
            vectors = whitening(unit(regional_maxima(x, levels=self.levels)))
            return unit(vectors.astype(widest(jnp.float32, vectors.dtype))).sum(0)

        return one


def _triangle(count):
    return count * (count + 1) // 2


def _draw_sketches(count, channels, size, rngs):
    """Hashes, int32, and signs, int8, of `count` sketches, (count, channels)."""
    shape = (count, channels)
    hashes = jax.random.randint(rngs.params(), shape, 0, size, jnp.int32)
    signs = 2 * jax.random.bernoulli(rngs.params(), shape=shape).astype(jnp.int8) - 1
    return Fixed(hashes), Fixed(signs)
