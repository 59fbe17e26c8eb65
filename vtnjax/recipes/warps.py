"""Warps of a trunk's last features by name: VTN, and what VTN's Table 1 compares it with at the same layer."""

from collections.abc import Callable, Sequence
from typing import Any

from flax import nnx

from vtnjax import models, nn

_LOCALISED = 128  # channels and units of a localiser (STN A.6)


def _none(trunk: Any, shape: Sequence[int], *, dtype: Any, rngs: nnx.Rngs) -> None:
    """No warp."""


def _stn(trunk: Any, shape: Sequence[int], *, localised: int = _LOCALISED, dtype: Any, rngs: nnx.Rngs, **options: Any):
    """One affine warp for all channels."""
    localiser = models.FeatureLocaliser(shape, localised, dtype=dtype, rngs=rngs)
    return nn.SpatialTransformer(localiser, localised, rngs=rngs, **options)


def _affine_groups(
    trunk: Any, shape: Sequence[int], *, localised: int = _LOCALISED, dtype: Any, rngs: nnx.Rngs, **options: Any
):
    """One affine warp for each of `groups` groups of channels."""
    localiser = models.FeatureLocaliser(shape, localised, dtype=dtype, rngs=rngs)
    return models.AffineGroups(localiser, localised, shape[-1], rngs=rngs, **options)


def _ssn(trunk: Any, shape: Sequence[int], **options: Any):
    """The saliency sampler."""
    return models.SaliencyWarp(shape, **options)


def _asn(trunk: Any, shape: Sequence[int], *, dtype: Any, rngs: nnx.Rngs, **options: Any):
    """TASN's sampler."""
    return models.AttentionWarp(shape, **options)


def _deformable(trunk: Any, shape: Sequence[int], **options: Any) -> None:
    """The trunk's own last convolution, deformable."""
    models.deform_last_convolution(trunk, **options)


def _vtn(trunk: Any, shape: Sequence[int], **options: Any):
    """A volumetric transformer."""
    return nn.VolumetricTransformer(shape[-1], **options)


# Each takes the trunk, the shape (h, w, c) of its last features, `dtype`, `rngs`, and its options by the config. It
# returns a module from features (n, h, w, c) to `(warped, out)`, or None where nothing comes behind the trunk.
FEATURE_WARPS: dict[str, Callable[..., nnx.Module | None]] = {
    "none": _none,
    "stn": _stn,
    "affine_groups": _affine_groups,
    "ssn": _ssn,
    "asn": _asn,
    "deformable": _deformable,
    "vtn": _vtn,
}
