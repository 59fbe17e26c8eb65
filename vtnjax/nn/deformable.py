"""The deformable convolution as a layer that predicts its own offsets."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vtnjax import ops
from vtnjax._arrays import check_floating, check_pair, widest
from vtnjax.ops.deform import check_conv_padding, check_feature_groups, deformable_coords


class DeformableConv(nnx.Module):
    """A convolution that predicts where its kernel cells read (Dai et al. 2017; with a mask Zhu et al. 2019, "v2").

    The predictor, a convolution of the same size, stride, dilation and padding, gives an offset for each kernel cell,
    each group of channels and each output pixel. It starts with zero kernel and bias, so that the layer starts as the
    ordinary convolution; v2 trains it at a tenth of the learning rate. The predictor and the coordinates are float32
    whatever the features' dtype is.

    With `mask=True` the predictor gives v2's modulation too, a sigmoid that multiplies the pixel each cell reads. In
    the paper the sigmoid starts at 0.5, so the layer starts as half the ordinary convolution (but for the bias). The
    authors' implementation doubles the sigmoid (`mask_scale=2.0`) and so starts as the ordinary convolution, as a layer
    with pretrained weights should.

    Calling it with features (n, h, w, c) returns `(y, out)`: `y` is (n, h', w', c'); `out["offsets"]` (x, y) in pixels
    and `out["coords"]`, the pixel coordinates that were read, are (n, h', w', groups, kh, kw, 2); `out["mask"]`, with a
    mask, is (n, h', w', groups, kh, kw), times `mask_scale`.

    Attributes:
        kernel: (kh, kw, c / feature_group_count, c'), as that of `nnx.Conv`.
        bias: (c',), or None.
        predictor: the convolution that predicts; its channels are (x, y) of each group and kernel cell, then all masks.

    Examples:
        >>> conv = nn.DeformableConv(3, 8, rngs=nnx.Rngs(0))
        >>> y, out = conv(jnp.ones((2, 5, 5, 3)))
        >>> y.shape, out["offsets"].shape
        ((2, 5, 5, 8), (2, 5, 5, 1, 3, 3, 2))
        >>> float(jnp.abs(out["offsets"]).max())  # it starts as the ordinary convolution
        0.0
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        kernel_size: int | Sequence[int] = (3, 3),
        *,
        groups: int = 1,
        mask: bool = False,
        mask_scale: float = 1.0,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
        padding: str | Sequence[Sequence[int]] = "SAME",
        feature_group_count: int = 1,
        use_bias: bool = True,
        dtype: DTypeLike | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Make a layer that starts as an ordinary convolution.

        Args:
            features_in: c, the channels of the input.
            features_out: c', the channels of the output.
            kernel_size: how many cells the kernel has, one number or (rows, columns).
            groups: how many groups of channels have offsets of their own (deformable groups, not the kernel's). The
                first paper's authors use 4 in the last stage of a ResNet.
            mask: whether to predict v2's modulation.
            mask_scale: the factor of the sigmoid: 1 in v2's paper, 2 in its authors' implementation.
            stride: as in `ops.deformable_conv`.
            dilation: as in `ops.deformable_conv`.
            padding: as in `ops.deformable_conv`.
            feature_group_count: groups of the kernel, as in `ops.deformable_conv`; c makes it depthwise. The predictor
                has one group.
            use_bias: whether to add a bias.
            dtype: dtype of the convolution and its output, as in `nnx.Conv`; by default the one to which input and
                parameters promote.
            param_dtype: dtype of the parameters.
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if a size is below 1, the groups do not divide the channels, or an option is out of range.
        """
        _check_options(features_in, features_out, groups, mask, mask_scale, feature_group_count)
        self.features_in, self.groups, self.dtype = features_in, groups, dtype
        self.mask, self.mask_scale = mask, mask_scale
        self.kernel_size = check_pair("kernel_size", kernel_size)
        self.stride, self.dilation = check_pair("stride", stride), check_pair("dilation", dilation)
        self.padding, self.feature_group_count = check_conv_padding(padding), feature_group_count
        shape = (*self.kernel_size, features_in // feature_group_count, features_out)
        self.kernel = nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), shape, param_dtype))
        self.bias = nnx.Param(jnp.zeros(features_out, param_dtype)) if use_bias else None
        self.predictor = self._make_predictor(param_dtype, rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> tuple[Float[Array, "n h2 w2 c2"], dict[str, Array]]:
        """Convolve a batch, as the class says."""
        if x.ndim != 4 or x.shape[-1] != self.features_in:
            raise ValueError(f"x must have the shape (n, h, w, {self.features_in}), but it is {x.shape}")
        check_floating("x", x)
        options = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        out = self._predict(x)
        dtype = widest(x.dtype, self.kernel.dtype) if self.dtype is None else self.dtype
        kernel = self.kernel[...].astype(dtype)
        bias = None if self.bias is None else self.bias[...].astype(dtype)
        more = {"bias": bias, "feature_group_count": self.feature_group_count}

        def convolve(x, out):
            y = ops.deformable_conv(x, kernel, out["offsets"], mask=out.get("mask"), **more, **options)
            return y, deformable_coords(out["offsets"], x.shape[:2], self.kernel_size, **options)

        y, out["coords"] = jax.vmap(convolve)(x.astype(dtype), out)
        return y, out

    def _make_predictor(self, param_dtype, rngs):
        return nnx.Conv(
            self.features_in,
            self.groups * self.kernel_size[0] * self.kernel_size[1] * (3 if self.mask else 2),
            self.kernel_size,
            self.stride,
            padding=self.padding,
            kernel_dilation=self.dilation,
            kernel_init=nnx.initializers.zeros,
            param_dtype=param_dtype,
            rngs=rngs,
        )

    def _predict(self, x) -> dict[str, Array]:
        """Offsets (n, h', w', groups, kh, kw, 2) and, with a mask, v2's modulation."""
        found = self.predictor(x.astype(widest(x.dtype, self.predictor.param_dtype)))
        cells = (*found.shape[:3], self.groups, *self.kernel_size)
        count = 2 * self.groups * self.kernel_size[0] * self.kernel_size[1]
        out = {"offsets": found[..., :count].reshape(*cells, 2)}
        if self.mask:
            out["mask"] = self.mask_scale * jax.nn.sigmoid(found[..., count:].reshape(cells))
        return out


def _check_options(features_in, features_out, groups, mask, mask_scale, feature_group_count):
    if features_in < 1 or features_out < 1:
        raise ValueError(f"features_in and features_out must be at least 1, not {features_in} and {features_out}")
    if groups < 1 or features_in % groups:
        raise ValueError(f"groups must be a whole number that divides the {features_in} features in, not {groups}")
    if not mask and mask_scale != 1.0:
        raise ValueError(f"mask_scale must be 1.0 without a mask, not {mask_scale}; mask=True makes one")
    check_feature_groups(feature_group_count, features_in, features_out)
