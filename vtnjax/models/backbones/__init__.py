"""Backbones: from images (n, h, w, 3) to every stage's features by name."""

from vtnjax.models.backbones.inception import Inception
from vtnjax.models.backbones.resnet import ResNet
from vtnjax.models.backbones.squeezenet import SqueezeNet
from vtnjax.models.backbones.vgg import VGG

__all__ = ["Inception", "ResNet", "SqueezeNet", "VGG"]
