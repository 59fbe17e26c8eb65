"""The volumetric transformer: a warping field of its own for each group of channels (VTN section 3)."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import export, lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vtnjax import ops
from vtnjax._arrays import by_rows, highest, maximum, widest
from vtnjax._checks import check_at_least_1, check_choice
from vtnjax.ops.candidates import BORDERS, check_temperature, check_window

_SQUEEZED = (3 / 4, 1 / 2, 3 / 8, 1 / 4)
_EPSILON = 1e-5
# More candidates of one batch than this (256 MB), or of one whose size is not known when it is exported, are computed
# again in the backward pass instead of kept.
_KEPT = 2**26


class VolumetricTransformer(nnx.Module):
    """Warp a feature map, each group of its channels by a field that an encoder-decoder estimates from all groups.

    The channels are split in order into groups, each pooled over its channels to two maps, the maximum and the mean,
    and normalised. The encoder's four levels, each a convolution shared by the groups and a mix over the groups,
    squeeze the groups; the decoder's four levels expand them again (Fig. 3). The last convolution, whose kernel and
    bias begin at zero, gives a residual for each candidate in a window around each position. A softmax over the
    candidates' responses (maximum + mean) plus residuals makes probabilities (Eq. 2), and the candidates' mean offset
    is the field (Eq. 1).

    The paper gives no widths, no kernel sizes, no rule for a window at the border, and does not say which channels
    share a field; the arguments say what is chosen instead.

    Calling it with features (n, h, w, channels) of any size returns `(v, out)`: `v` has their shape and dtype, and
    `out` holds `displacement` and `coords`, (n, h, w, groups, 2), float32, (x, y) in pixels of the map, and
    `probabilities` (n, h, w, groups, rows * columns), absent with `probabilistic=False`.

    Examples:
        >>> vtn = nn.VolumetricTransformer(4, groups=2, window=(3, 3), widths=(2, 2, 2, 2), rngs=nnx.Rngs(0))
        >>> v, out = nnx.jit(lambda vtn, features: vtn(features))(vtn, jnp.ones((1, 6, 6, 4)))
        >>> v.shape, out["coords"].shape, out["probabilities"].shape
        ((1, 6, 6, 4), (1, 6, 6, 2, 2), (1, 6, 6, 2, 9))
        >>> out["displacement"][0, 0, 0, 0].round(2).tolist()  # in the corner, the mean of the four candidates inside
        [0.5, 0.5]
    """

    def __init__(
        self,
        channels: int,
        groups: int = 32,
        *,
        window: Sequence[int] = (11, 11),
        temperature: float = 10.0,
        widths: Sequence[int] = (16, 32, 64, 64),
        squeezed: Sequence[int] | None = None,
        mix_channels: bool = True,
        probabilistic: bool = True,
        border: str = "mask",
        centre_bias: float = 0.0,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        """Make a transformer whose field is that of the responses alone.

        Args:
            channels: how many channels the features have.
            groups: how many fields, a divisor of `channels`; consecutive channels share one. With groups = channels
                (Table 1, without grouping) each channel is taken as it is, neither pooled nor normalised.
            window: (rows, columns) of the candidates, both odd.
            temperature: beta, the softmax's. The paper's 10 is for the large activations of a pretrained network; with
                activations of order 1 it makes the softmax almost uniform, and 1 is better.
            widths: features of the shared convolutions at each level of the encoder; the decoder has them backwards.
            squeezed: groups after each level of the encoder; by default 3/4, 1/2, 3/8 and 1/4 of `groups`.
            mix_channels: whether information passes between groups; False is Table 1 without W_cs, W_ce.
            probabilistic: with False the last convolution gives the displacement (Table 1, without T-Probability).
            border: "mask" or "zero", as in `ops.candidate_probabilities`.
            centre_bias: the centre candidate's residual to begin with (the paper's is 0), in units of the response:
                the larger, the nearer the first fields are to the identity.
            dtype: dtype of the convolutions, by default the widest of features and parameters; probabilities and
                coordinates are float32.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if groups do not divide the channels, or another argument is out of range.
        """
        check_at_least_1("channels", channels)
        if groups < 1 or channels % groups:
            raise ValueError(f"groups must be a whole number that divides the {channels} channels, not {groups}")
        check_temperature(temperature)
        check_choice("border", border, BORDERS)
        self.channels, self.groups, self.window = channels, groups, check_window(window)
        self.temperature, self.border, self.probabilistic = temperature, border, probabilistic
        widths = tuple(widths)
        counts = (groups, *_squeezed(groups, widths, squeezed)) if mix_channels else None
        inputs = 1 if groups == channels else 2

        def levels(sizes, counts):
            pairs = [None] * len(widths) if counts is None else itertools.pairwise(counts)
            steps = zip(sizes[:-1], sizes[1:], pairs, strict=True)
            return nnx.List([_Level(*size, dtype=dtype, rngs=rngs) for size in steps])

        self.encoder = levels((inputs, *widths), counts)
        self.decoder = levels((*widths[::-1], widths[0]), counts and counts[::-1])
        candidates = self.window[0] * self.window[1]
        self.head = _head(widths[0], candidates if probabilistic else 2, probabilistic and centre_bias, dtype, rngs)

    def __call__(self, features: Float[Array, "n h w c"]) -> tuple[Float[Array, "n h w c"], dict[str, Array]]:
        """Warp a batch of feature maps, as the class says."""
        if features.ndim != 4 or features.shape[-1] != self.channels:
            raise ValueError(
                f"features must have the shape (n, h, w, {self.channels}), but their shape is {features.shape}"
            )
        x, response = self._pool(features)
        estimate = self._estimate(jnp.moveaxis(x, 3, 1))
        displacement, out = (self._expect if self.probabilistic else self._regress)(estimate, response)
        coords = jax.vmap(ops.displace)(displacement)
        warped = jax.vmap(ops.sample_channels)(features, coords)
        return warped, {"displacement": displacement, "coords": coords, **out}

    def _pool(self, features):
        """Each group's normalised maps, (n, h, w, groups, 1 or 2), and its response, (n, h, w, groups)."""
        features = features.astype(widest(jnp.float32, features.dtype))
        if self.groups == self.channels:
            return features[..., None], 2 * features
        grouped = features.reshape(*features.shape[:-1], self.groups, self.channels // self.groups)
        pooled = jnp.stack([highest(grouped), grouped.mean(-1)], axis=-1)
        variance = pooled.var((1, 2, 4), keepdims=True)
        normalised = (pooled - pooled.mean((1, 2, 4), keepdims=True)) * lax.rsqrt(variance + _EPSILON)
        return normalised, pooled.sum(-1)

    def _estimate(self, x):
        """The estimator's features, (n, groups, h, w, widths[0])."""
        sizes = []
        for level in self.encoder:
            sizes.append(x.shape[2:4])
            x = _halved(level(x))
        for level in self.decoder:
            x = level(x)
            x = jax.image.resize(x, (*x.shape[:2], *sizes.pop(), x.shape[-1]), "bilinear")
        return x

    def _regress(self, estimate, response):
        return jnp.moveaxis(self.head(estimate).astype(response.dtype), 1, 3), {}

    def _expect(self, estimate, response):
        """The displacement (n, h, w, groups, 2) and `probabilities`."""

        def one(residual, response):  # of a group: (h, w, n) and (h, w)
            probabilities = ops.candidate_probabilities(
                residual[:, :, None],
                response[:, :, None],
                window=self.window,
                temperature=self.temperature,
                border=self.border,
            )
            return ops.expected_displacement(probabilities, window=self.window)[:, :, 0], probabilities[:, :, 0]

        def infer(estimate, response):
            residual = self.head(estimate).astype(response.dtype)
            out = jax.vmap(jax.vmap(one))(residual, jnp.moveaxis(response, 3, 1))
            return [jnp.moveaxis(each, 1, 3) for each in out]

        candidates = response.size * self.window[0] * self.window[1]
        if export.is_symbolic_dim(candidates) or candidates > _KEPT:
            infer = jax.checkpoint(infer)
        displacement, probabilities = infer(estimate, response)
        return displacement, {"probabilities": probabilities}


def _head(inputs, outputs, centre_bias, dtype, rngs):
    """The last convolution: it begins at zero, but for the centre candidate's bias."""
    bias = np.zeros(outputs)
    bias[outputs // 2] = centre_bias
    return nnx.Conv(
        inputs,
        outputs,
        (3, 3),
        kernel_init=nnx.initializers.zeros,
        bias_init=lambda _, shape, dtype: jnp.asarray(bias, dtype).reshape(shape),
        dtype=dtype,
        conv_general_dilated=_conv,
        rngs=rngs,
    )


class _Level(nnx.Module):
    """A convolution shared by the groups, BatchNorm, ReLU, and a mix over the groups without bias (W_cs or W_ce)."""

    def __init__(self, inputs, outputs, mixed, *, dtype, rngs):
        self.conv = nnx.Conv(inputs, outputs, (3, 3), use_bias=False, dtype=dtype, rngs=rngs)
        wide = None if dtype is None else widest(dtype, jnp.float32)
        self.norm = nnx.BatchNorm(outputs, momentum=0.9, epsilon=_EPSILON, dtype=wide, rngs=rngs)
        self.mix = None if mixed is None else nnx.Linear(*mixed, use_bias=False, dtype=dtype, rngs=rngs)

    def __call__(self, x: Float[Array, "n g h w d"]) -> Float[Array, "n g2 h w d2"]:
        x = self.conv(x)
        x = by_rows(lambda rows: nnx.relu(self.norm(rows).astype(x.dtype)), x)
        return x if self.mix is None else jnp.moveaxis(self.mix(jnp.moveaxis(x, 1, -1)), -1, 1)


def _halved(x: Float[Array, "n g h w d"]) -> Float[Array, "n g h2 w2 d"]:
    """2 x 2 max pooling in ceil mode. Of slices: the gradient of a window reduction is ten times slower on a CPU."""
    margins = [(0, 0), (0, 0), (0, x.shape[2] % 2), (0, x.shape[3] % 2), (0, 0)]
    x = jnp.pad(x, margins, constant_values=-jnp.inf)
    rows = maximum(x[:, :, ::2], x[:, :, 1::2])
    return maximum(rows[:, :, :, ::2], rows[:, :, :, 1::2])


def _conv(x, kernel, strides, padding, **options):
    """`lax.conv_general_dilated` with outputs filled up to a multiple of 8.

    A GPU's library would pad every array of 121 outputs itself, which takes an eighth of the transformer's time.
    """
    outputs = kernel.shape[-1]
    kernel = jnp.pad(kernel, ((0, 0), (0, 0), (0, 0), (0, -outputs % 8)))
    return lax.conv_general_dilated(x, kernel, strides, padding, **options)[..., :outputs]


def _squeezed(groups, widths, squeezed):
    if squeezed is None:
        if len(widths) != len(_SQUEEZED):
            raise ValueError(
                f"squeezed must be {len(widths)} numbers of groups, one for each of widths, not None, which has "
                f"{len(_SQUEEZED)}"
            )
        squeezed = [max(1, round(groups * share)) for share in _SQUEEZED]
    if len(squeezed) != len(widths) or min(squeezed) < 1:
        raise ValueError(
            f"squeezed must be {len(widths)} numbers of groups, one for each of widths, not {tuple(squeezed)}"
        )
    return tuple(squeezed)
