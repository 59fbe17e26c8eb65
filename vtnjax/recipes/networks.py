"""From a config's values to a network."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from vtnjax import data, distort, models, nn, train
from vtnjax._checks import nearest
from vtnjax.models.backbones.resnet import RESNETS
from vtnjax.models.backbones.vgg import VGGS
from vtnjax.models.feature_warps import FEATURE_WARPS
from vtnjax.models.stn import PARAMETERS
from vtnjax.train.config import Config, naming, without_weights
from vtnjax.train.state import named_leaves

BACKBONES = (*RESNETS, *VGGS, "inception", "squeezenet", "small")


def build_model(config: Config, source: data.Source, *, pretrained: bool = True) -> nnx.Module:
    """The model of a config for the images and classes of a training set, with parameters drawn from its seed.

    Args:
        config: of the run.
        source: its training set.
        pretrained: whether pretrained weights that the config names are loaded; a checkpoint has them already.

    Raises:
        ValueError: if a name is unknown, or pretrained weights do not fit.
    """
    config = config if pretrained else without_weights(config)
    if "photo" in config:
        shape = (config.photo.crop, config.photo.crop, 3)
    else:
        shape = distort.distorted_shape(config.get("distortion", "none"), source[0]["image"].shape)
    classes = len(source.classes)
    if "backbone" in config:
        check_backbone(config.backbone)
        if "streams" in config:
            return _multi_stream(config, shape, classes)
        return (_tasn if "tasn" in config else _feature_network)(config, shape, classes)
    if "placed" in config:
        return _placed(config, shape, classes)
    if "house_numbers" in config:
        options = {**config.house_numbers.to_dict(), "dtype": jnp.dtype(config.dtype), "rngs": nnx.Rngs(config.seed)}
        return models.house_number_network(config.model, shape, **options)
    if "sampled" in config:
        options = {"classes": classes, "sampled": config.sampled, "pool": config.pool, "dtype": jnp.dtype(config.dtype)}
        return models.VolumeNetwork(config.model, shape, **options, rngs=nnx.Rngs(config.seed))
    options = {"classes": classes, "warp": config.warp, "pool": config.pool, "dtype": jnp.dtype(config.dtype)}
    if config.dataset == "two_digits":
        options["warp_options"] = dict(config.warp_options)
        return models.TwoDigitNetwork(config.model, shape, **options, rngs=nnx.Rngs(config.seed))
    options["parameters"] = config.get("parameters", PARAMETERS)  # configs older than the field have none
    return models.STN(config.model, shape, **options, rngs=nnx.Rngs(config.seed))


def build_rates(config: Config, model: nnx.Module) -> train.Rates | None:
    """The rates of a network's parameters: those that place its warps learn at `config.localiser_multiplier` of it.

    They are the parameters of transformers (STN appendix A.5, A.6), and those that predict the offsets of a deformable
    convolution.

    Raises:
        ValueError: if the multiplier is not 1 and the network has no such parameters.
    """
    multiplier = config.localiser_multiplier
    if multiplier == 1:
        return None
    if not any(is_localiser(name.split("/")) for name in named_leaves(nnx.state(model, nnx.Param))):
        raise ValueError(f"config.localiser_multiplier must be 1 for a network that warps nothing, not {multiplier}")
    return lambda path: (multiplier if is_localiser(path) else 1.0, 0)


def is_localiser(path: Sequence[str]) -> bool:
    """Whether a parameter, given by the names on its path, is one of those that place a warp."""
    return "transformer" in path or "predictor" in path


def _placed(config, shape: Sequence[int], classes: int) -> models.PlacedSTN:
    dtype, rngs, options = jnp.dtype(config.dtype), nnx.Rngs(config.seed), config.placed.to_dict()
    width = options.pop("width")
    layers = [
        models.ConvPool(shape[-1], width, 9, dtype=dtype, rngs=rngs),
        models.ConvPool(width, width, 7, dtype=dtype, rngs=rngs),
    ]

    def classifier(cells):
        return nnx.Linear(cells, classes, dtype=dtype, rngs=rngs)

    with naming("placed"):
        return models.PlacedSTN(layers, classifier, shape, pool=config.pool, dtype=dtype, rngs=rngs, **options)


def check_backbone(name: str) -> None:
    """Raise a ValueError unless a config's backbone has the name of one, naming the nearest."""
    if name not in BACKBONES:
        raise ValueError(f"config.backbone must be one of {BACKBONES}, not {name!r}{nearest(name, BACKBONES)}")


def _feature_network(config, shape: Sequence[int], classes: int) -> models.WarpedFeatures:
    dtype, rngs = jnp.dtype(config.dtype), nnx.Rngs(config.seed)
    backbone = _trunk(config, config.backbone, shape[-1], config.get("pretrained", ""), **_small_options(config))
    features = models.features_shape(backbone, shape)
    options = dict(config.warp_options)
    if config.warp not in FEATURE_WARPS:
        hint = nearest(config.warp, FEATURE_WARPS)
        raise ValueError(f"config.warp must be one of {FEATURE_WARPS}, not {config.warp!r}{hint}")
    with naming("warp_options"):
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


def _tasn(config, shape: Sequence[int], classes: int) -> models.TASN:
    dtype, rngs, options = jnp.dtype(config.dtype), nnx.Rngs(config.seed), config.tasn.to_dict()
    trunk = _trunk(config, config.backbone, shape[-1], config.pretrained, **_small_options(config))
    size, resolution = (options.pop(name) for name in ("attention_size", "resolution"))
    with naming("tasn.attention"):
        maps = nn.TrilinearAttention(**options.pop("attention"))
    attention_network = None
    if options["sampler"] != "none":
        name, kind = "resnet18", {"strides": (1, 1, 2, 1)}
        if config.backbone == "small":
            name, kind = "small", {"widths": config.attention_widths}
        attentive = _trunk(config, name, shape[-1], config.attention_pretrained, **kind)
        channels = models.features_shape(attentive, (size, size, shape[-1]))[-1]
        attention_network = models.AttentionNetwork(
            attentive, channels, classes, size=(size, size), dtype=dtype, rngs=rngs
        )
    sampled = (resolution, resolution)
    channels = models.features_shape(trunk, (*sampled, shape[-1]))[-1]
    options |= {"shape": sampled, "attention": maps, "dtype": dtype}
    with naming("tasn"):
        return models.TASN(attention_network, trunk, channels, classes, **options, rngs=rngs)


def _multi_stream(config, shape: Sequence[int], classes: int) -> models.MultiStreamSTN:
    options = config.streams.to_dict()
    options["window"] = (options.pop("size"),) * 2
    trunk = _trunk(config, config.backbone, shape[-1], config.pretrained, **_small_options(config))
    dtype, rngs = jnp.dtype(config.dtype), nnx.Rngs(config.seed)
    with naming("streams"):
        return models.MultiStreamSTN(trunk, shape, classes, **options, dtype=dtype, rngs=rngs)


def _small_options(config) -> dict[str, Sequence[int]]:
    return {"widths": config.widths} if config.backbone == "small" else {}


def _trunk(config, name: str, inputs: int, pretrained: str, **options):
    """The trunk of a name; `options` are for a small trunk or a ResNet alone."""
    dtype = jnp.dtype(config.dtype)

    def make():
        rngs = nnx.Rngs(config.seed)
        if name == "small":
            return models.SmallTrunk(inputs, dtype=dtype, rngs=rngs, **options)
        if name == "squeezenet":
            return models.SqueezeNet(dtype=dtype, rngs=rngs)
        frozen = {"frozen_statistics": config.frozen_statistics, "dtype": dtype, "rngs": rngs}
        if name == "inception":
            return models.Inception(**frozen)
        return models.ResNet(name, **options, **frozen) if name in RESNETS else models.VGG(name, **frozen)

    backbone = nnx.eval_shape(make)
    if pretrained:
        if isinstance(backbone, models.SmallTrunk):
            raise ValueError(f"config.pretrained must be empty for the backbone 'small', not {pretrained!r}")
        models.load_pretrained(backbone, pretrained)
        return backbone
    # In one compiled function: a deep trunk's initialisers, compiled one by one, take half a minute.
    nnx.update(backbone, jax.jit(lambda: nnx.state(make()))())
    return backbone
