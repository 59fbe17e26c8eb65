"""Whole networks, which return `(logits, out)` or `(descriptors, out)`, and backbones: features by name."""

from vtnjax.models.backbones import VGG, Inception, ResNet, SqueezeNet
from vtnjax.models.colocalisation import ColocalisationLocaliser, describe_crops
from vtnjax.models.dcl import DCL
from vtnjax.models.delf import DELF, local_layer
from vtnjax.models.feature_warps import (
    AffineGroups,
    AttentionWarp,
    SaliencyWarp,
    deform_last_convolution,
)
from vtnjax.models.house_numbers import house_number_network
from vtnjax.models.layers import (
    ConvPool,
    DescriptorClassifier,
    FeatureLocaliser,
    FlatClassifier,
    PooledClassifier,
    SmallTrunk,
    count_parameters,
    features_shape,
)
from vtnjax.models.multi_stream import MultiStreamSTN, WindowLocaliser
from vtnjax.models.placed import PlacedSTN
from vtnjax.models.pretrained import imagenet_input, imagenet_picture, load_pretrained
from vtnjax.models.retrieval import RetrievalNet
from vtnjax.models.stn import STN
from vtnjax.models.tasn import TASN, AttentionNetwork
from vtnjax.models.two_digits import TwoDigitNetwork
from vtnjax.models.volumes import VolumeNetwork
from vtnjax.models.vtn import WarpedFeatures

__all__ = [
    "AffineGroups",
    "AttentionNetwork",
    "AttentionWarp",
    "ColocalisationLocaliser",
    "ConvPool",
    "DCL",
    "DELF",
    "DescriptorClassifier",
    "FeatureLocaliser",
    "FlatClassifier",
    "Inception",
    "MultiStreamSTN",
    "PlacedSTN",
    "PooledClassifier",
    "ResNet",
    "RetrievalNet",
    "STN",
    "SaliencyWarp",
    "SmallTrunk",
    "SqueezeNet",
    "TASN",
    "TwoDigitNetwork",
    "VGG",
    "VolumeNetwork",
    "WarpedFeatures",
    "WindowLocaliser",
    "count_parameters",
    "deform_last_convolution",
    "describe_crops",
    "features_shape",
    "house_number_network",
    "imagenet_input",
    "imagenet_picture",
    "load_pretrained",
    "local_layer",
]
