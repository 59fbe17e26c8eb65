"""Warps of a network's last features: what VTN's Table 1 compares a VTN with at the same layer."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from vtnjax import ops
from vtnjax.models.backbones import VGG, ResNet, SqueezeNet
from vtnjax.nn import (
    AttentionSampler,
    DeformableConv,
    SaliencySampler,
    TrilinearAttention,
)

_IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


class AffineGroups(nnx.Module):
    """An affine warp of its own for each group of channels: what a VTN without its free-form fields would be.

    Calling it with features (n, h, w, c) returns `(y, out)` with `theta` (n, groups, 2, 3) and `coords`
    (n, h, w, groups, 2); untrained it is the identity.
    """

    def __init__(
        self,
        localiser: Callable[[Array], Array],
        features: int,
        channels: int,
        groups: int,
        *,
        padding: str = "zeros",
        rngs: nnx.Rngs,
    ):
        """Make the identity.

        Args:
            localiser: a module from features (n, h, w, c) to (n, features).
            features: how many it gives.
            channels: c.
            groups: how many warps, a divisor of `channels`.
            padding: what is read outside, as `ops.sample` has it: "zeros", "border", "reflection" or "wrap".
            rngs: NNX's random streams; `params` is used.

        Raises:
            ValueError: if groups do not divide the channels.
        """
        if groups < 1 or channels % groups:
            raise ValueError(f"groups must divide the {channels} channels, not be {groups}")
        self.localiser, self.groups, self.padding = localiser, groups, padding
        self.head = nnx.Linear(
            features,
            6 * groups,
            kernel_init=nnx.initializers.zeros,
            bias_init=lambda _, shape, dtype: jnp.tile(jnp.asarray(_IDENTITY, dtype), groups).reshape(shape),
            precision="highest",  # as in `nn.SpatialTransformer`: a TPU's bfloat16 would be pixels off
            rngs=rngs,
        )

    def __call__(self, features: Float[Array, "n h w c"]) -> tuple[Float[Array, "n h w c"], dict[str, Array]]:
        """Warp a batch; see the class."""
        theta = self.head(self.localiser(features).astype(jnp.float32)).reshape(features.shape[0], self.groups, 2, 3)
        shape = features.shape[1:3]

        def warp(image, thetas):
            grids = jax.vmap(lambda theta: ops.affine_grid(theta, shape), out_axes=2)(thetas)
            coords = ops.to_pixels(grids, shape)
            return ops.sample_channels(image, coords, padding=self.padding), coords

        warped, coords = jax.vmap(warp)(features, theta)
        return warped, {"theta": theta, "coords": coords}


class SaliencyWarp(nnx.Module):
    """The saliency sampler on a map that a 1 x 1 convolution makes of the features themselves, zero at first."""

    def __init__(self, shape: Sequence[int], *, dtype: DTypeLike | None = None, rngs: nnx.Rngs, **options: Any):
        h, w, c = shape
        self.saliency = nnx.Conv(c, 1, (1, 1), kernel_init=nnx.initializers.zeros, dtype=dtype, rngs=rngs)
        self.sampler = SaliencySampler((h, w), **options)

    def __call__(self, features: Float[Array, "n h w c"]) -> tuple[Float[Array, "n h w c"], dict[str, Array]]:
        """Warp a batch; see `nn.SaliencySampler`."""
        return self.sampler(features, self.saliency(features))


class AttentionWarp(nnx.Module):
    """TASN's sampler alone: features resampled by the sum of their own trilinear attention maps, or its square."""

    def __init__(self, shape: Sequence[int], *, squared: bool = True, **options: Any):
        self.attention, self.squared = TrilinearAttention(), squared
        self.sampler = AttentionSampler(shape[:2], **options)

    def __call__(self, features: Float[Array, "n h w c"]) -> tuple[Float[Array, "n h w c"], dict[str, Array]]:
        """Warp a batch; see `nn.AttentionSampler`."""
        attention = self.attention(features).sum(-1)
        return self.sampler(features, attention**2 if self.squared else attention)


class _Deformed(nnx.Module):
    """A deformable convolution in the place of a plain one, whose caller expects its output alone."""

    def __init__(self, deformable: DeformableConv):
        self.deformable = deformable

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c2"]:
        return self.deformable(x)[0]


def deform_last_convolution(
    backbone: nnx.Module, *, dtype: DTypeLike | None = None, rngs: nnx.Rngs, **options: Any
) -> None:
    """Put a deformable convolution in the place of a trunk's last one larger than 1 x 1, in place, with its weights.

    Args:
        backbone: a `ResNet`, `VGG` or `SqueezeNet`, or a module whose attribute `last` is an `nnx.Conv`.
        dtype: of the computation.
        rngs: NNX's random streams; `params` is used.
        **options: more arguments of `nn.DeformableConv`, such as `groups`.

    Raises:
        ValueError: if the trunk is another one.
    """
    owner, name = _last_convolution(backbone)
    plain = getattr(owner, name)
    deformed = DeformableConv(
        plain.in_features,
        plain.out_features,
        plain.kernel_size,
        stride=plain.strides,
        dilation=plain.kernel_dilation,
        padding=plain.padding,
        feature_group_count=plain.feature_group_count,
        use_bias=plain.bias is not None,
        dtype=dtype,
        rngs=rngs,
        **options,
    )
    deformed.kernel[...] = plain.kernel[...]
    if deformed.bias is not None:
        deformed.bias[...] = plain.bias[...]
    setattr(owner, name, _Deformed(deformed))


def _last_convolution(backbone):
    """The module that holds it, and its name there."""
    if isinstance(backbone, ResNet):
        return backbone.stages[-1][-1].layers[1], "conv"
    if isinstance(backbone, VGG):
        return backbone.stages[-1][-1], "conv"
    if isinstance(backbone, SqueezeNet):
        return backbone.fires[-1].expand3x3, "conv"
    if isinstance(getattr(backbone, "last", None), nnx.Conv):
        return backbone, "last"
    raise ValueError(
        f"backbone must be a ResNet, a VGG, a SqueezeNet or a module with a convolution `last`, not a "
        f"{type(backbone).__name__}"
    )
