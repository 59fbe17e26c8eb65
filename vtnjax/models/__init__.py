"""Whole networks, each of which returns `(logits, out)`, and backbones, which return features by name."""

from vtnjax.models.backbones import VGG, ResNet, SqueezeNet
from vtnjax.models.pretrained import imagenet_input, load_pretrained
from vtnjax.models.stn import STN, count_parameters

__all__ = ["ResNet", "STN", "SqueezeNet", "VGG", "count_parameters", "imagenet_input", "load_pretrained"]
