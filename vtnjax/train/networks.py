"""From a config's values to a network."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from vtnjax import data, distort, models
from vtnjax.models.backbones.resnet import RESNETS
from vtnjax.models.backbones.vgg import VGGS
from vtnjax.train.config import Config, nearest

BACKBONES = (*RESNETS, *VGGS, "squeezenet", "small")


def build_model(config: Config, source: data.Source) -> nnx.Module:
    """The model of a config for the images and classes of a training set, with parameters drawn from its seed.

    Raises:
        ValueError: if a name is unknown, or pretrained weights do not fit.
    """
    if "photo" in config:
        shape = (config.photo.crop, config.photo.crop, 3)
    else:
        shape = distort.distorted_shape(config.get("distortion", "none"), source[0]["image"].shape)
    classes = len(source.classes)
    if "backbone" in config:
        return _feature_network(config, shape, classes)
    options = {"classes": classes, "warp": config.warp, "pool": config.pool, "dtype": jnp.dtype(config.dtype)}
    if config.dataset == "two_digits":
        options["warp_options"] = dict(config.warp_options)
        return models.TwoDigitNetwork(config.model, shape, **options, rngs=nnx.Rngs(config.seed))
    return models.STN(config.model, shape, **options, rngs=nnx.Rngs(config.seed))


def _feature_network(config, shape: Sequence[int], classes: int) -> models.WarpedFeatures:
    if config.backbone not in BACKBONES:
        hint = nearest(config.backbone, BACKBONES)
        raise ValueError(f"config.backbone must be one of {BACKBONES}, not {config.backbone!r}{hint}")
    dtype, rngs = jnp.dtype(config.dtype), nnx.Rngs(config.seed)
    backbone = _backbone(config, shape, dtype)
    features = models.features_shape(backbone, shape)
    options = dict(config.warp_options)
    if config.warp == "deformable":
        models.deform_last_convolution(backbone, dtype=dtype, rngs=rngs, **options)
        transformer = None
    else:
        transformer = models.make_feature_warp(config.warp, features, dtype=dtype, rngs=rngs, **options)
    if config.backbone == "small":
        classifier = models.FlatClassifier(math.prod(features), classes, dtype=dtype, rngs=rngs)
    else:
        classifier = models.PooledClassifier(features[-1], classes, dtype=dtype, rngs=rngs)
    return models.WarpedFeatures(backbone, transformer, classifier)


def _backbone(config, shape, dtype):
    def make():
        rngs = nnx.Rngs(config.seed)
        if config.backbone == "small":
            return models.SmallTrunk(shape[-1], config.widths, dtype=dtype, rngs=rngs)
        if config.backbone == "squeezenet":
            return models.SqueezeNet(dtype=dtype, rngs=rngs)
        trunk = models.ResNet if config.backbone in RESNETS else models.VGG
        frozen = config.frozen_statistics
        return trunk(config.backbone, frozen_statistics=frozen, dtype=dtype, rngs=rngs)

    backbone = nnx.eval_shape(make)
    if config.get("pretrained"):
        if isinstance(backbone, models.SmallTrunk):
            raise ValueError(f"config.pretrained must be empty for the backbone 'small', not {config.pretrained!r}")
        models.load_pretrained(backbone, config.pretrained)
        return backbone
    # In one compiled function: a deep trunk's initialisers, compiled one by one, take half a minute.
    nnx.update(backbone, jax.jit(lambda: nnx.state(make()))())
    return backbone
