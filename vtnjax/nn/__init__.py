"""Flax NNX modules: parameters and wiring; the mathematics is in `vtnjax.ops`."""

from vtnjax.nn.deformable import DeformableConv
from vtnjax.nn.saliency_sampler import SaliencySampler
from vtnjax.nn.spatial_transformer import SpatialTransformer
from vtnjax.nn.volumetric_transformer import VolumetricTransformer

__all__ = [
    "DeformableConv",
    "SaliencySampler",
    "SpatialTransformer",
    "VolumetricTransformer",
]
