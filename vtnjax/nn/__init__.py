"""Flax NNX modules: parameters and wiring; the mathematics is in `vtnjax.ops`."""

from vtnjax.nn.attention_sampler import AttentionSampler
from vtnjax.nn.deformable import DeformableConv
from vtnjax.nn.pooling import ISQRTCOV, MPNCOV, RMAC, BilinearPool, CompactBilinearPool, GeM, KernelPool
from vtnjax.nn.saliency_sampler import SaliencySampler
from vtnjax.nn.spatial_transformer import SpatialTransformer
from vtnjax.nn.trilinear_attention import TrilinearAttention
from vtnjax.nn.volumetric_transformer import VolumetricTransformer

__all__ = [
    "AttentionSampler",
    "BilinearPool",
    "CompactBilinearPool",
    "DeformableConv",
    "GeM",
    "ISQRTCOV",
    "KernelPool",
    "MPNCOV",
    "RMAC",
    "SaliencySampler",
    "SpatialTransformer",
    "TrilinearAttention",
    "VolumetricTransformer",
]
