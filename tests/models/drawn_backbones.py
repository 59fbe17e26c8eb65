"""Our backbones with the weights of `drawn.py` in them."""

import json
from pathlib import Path

import drawn
import jax
import numpy as np
from flax import nnx

from vtnjax.models import VGG, Inception, ResNet, SqueezeNet, load_pretrained

GOLDENS = dict(np.load(Path(__file__).parents[1] / "golden" / "backbones.npz"))
SHAPES = json.loads(GOLDENS["names"].tobytes())  # of torchvision's weights, by model and name


def create(name, **options):
    if name == "squeezenet1_1":
        return SqueezeNet(**{"classes": 1000, **options}, rngs=nnx.Rngs(0))
    if name == "googlenet":
        return Inception(**options, rngs=nnx.Rngs(0))
    return (ResNet if name.startswith("resnet") else VGG)(name, **options, rngs=nnx.Rngs(0))


def abstract(name, **options):
    return nnx.eval_shape(lambda: create(name, **options))


def build(name, **options):
    """In evaluation mode; from an abstract backbone, because drawing random weights first takes seconds."""
    backbone = abstract(name, **options)
    load_pretrained(backbone, drawn.weights(SHAPES[name]))
    backbone.eval()
    return backbone


def shapes(backbone, image_shape):
    """The features' shapes without computing them."""
    graphdef, state = nnx.split(backbone)
    image = jax.ShapeDtypeStruct(image_shape, np.float32)
    features = jax.eval_shape(lambda state, image: nnx.merge(graphdef, state)(image), state, image)
    return {name: feature.shape for name, feature in features.items()}


def statistics(backbone):
    return {".".join(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(nnx.state(backbone, nnx.BatchStat))}
