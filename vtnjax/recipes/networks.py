"""Networks by name: what each is built of, and which of its parameters place a warp."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import nnx

from vtnjax import models, nn
from vtnjax._checks import check_choice
from vtnjax.recipes.heads import HEADS, POOLINGS
from vtnjax.recipes.names import look_up
from vtnjax.recipes.pools import POOLS
from vtnjax.recipes.trunks import TRUNKS, build_trunk
from vtnjax.recipes.warps import FEATURE_WARPS
from vtnjax.train import Rates, Where, batch_norms
from vtnjax.train.config import ABOVE_0, BELOW_1, WHOLE, Config, naming
from vtnjax.train.state import named_leaves

BOUNDS = {"network.dropout": BELOW_1, "network.scale": ABOVE_0, "network.whitening": WHOLE}


class Given(NamedTuple):
    """What every network is built for: (h, w, c) or (d, h, w, c) of its images, its classes, and the config."""

    shape: Sequence[int]
    classes: int
    config: Config
    seed: int
    pretrained: bool

    @property
    def options(self) -> dict[str, Any]:
        """Of a module: its `dtype`, and random streams that begin anew."""
        return {"dtype": jnp.dtype(self.config.dtype), "rngs": nnx.Rngs(self.seed)}

    def trunk(self, key: str, part: Config, weights: str) -> Any:
        """A trunk, with the weights that `config.WEIGHTS` names unless a checkpoint has them already."""
        pretrained = self.config[weights] if self.pretrained else ""
        if pretrained and part["name"] in ("none", "small"):
            raise ValueError(f"config.{weights} must be empty for the trunk {part['name']!r}, not {pretrained!r}")
        options = {"dtype": self.config.dtype, "seed": self.seed, "pretrained": pretrained}
        return build_trunk(key, part, self.shape[-1], **options)


def _stn(given: Given, *, model: str, **options: Any) -> models.STN:
    return models.STN(model, given.shape, classes=given.classes, **options, **given.options)


def _two_digits(given: Given, *, model: str, **options: Any) -> models.TwoDigitNetwork:
    return models.TwoDigitNetwork(model, given.shape, classes=given.classes, **options, **given.options)


def _volumes(given: Given, *, model: str, **options: Any) -> models.VolumeNetwork:
    return models.VolumeNetwork(model, given.shape, classes=given.classes, **options, **given.options)


def _house_numbers(given: Given, *, model: str, **options: Any) -> models.PlacedSTN:
    return models.house_number_network(model, given.shape, **options, **given.options)


def _placed(given: Given, *, width: int, **options: Any) -> models.PlacedSTN:
    modules = given.options
    layers = [models.ConvPool(given.shape[-1], width, 9, **modules), models.ConvPool(width, width, 7, **modules)]

    def classifier(cells):
        return nnx.Linear(cells, given.classes, **modules)

    return models.PlacedSTN(layers, classifier, given.shape, **options, **modules)


def _warped_features(
    given: Given, *, trunk: Config, warp: Config, head: Config, scale: float = 1.0
) -> models.WarpedFeatures:
    modules, backbone = given.options, given.trunk("network.trunk", trunk, "pretrained")
    features = models.features_shape(backbone, given.shape)
    transformer = _warp(given, backbone, features, warp)
    make_head, options = look_up("network.head", head, HEADS)
    with naming("network.head"):
        classifier = make_head(features, given.classes, **options, **modules)
    return models.WarpedFeatures(backbone, transformer, classifier, scale=scale)


def _warp(given: Given, backbone: nnx.Module, features: Sequence[int], warp: Config) -> Any:
    """What warps a trunk's last features, of the shape (h, w, c), or None."""
    make_warp, options = look_up("network.warp", warp, FEATURE_WARPS)
    with naming("network.warp"):
        return make_warp(backbone, features, **options, **given.options)


def _tasn(
    given: Given,
    *,
    trunk: Config,
    attention_trunk: Config,
    attention: Config,
    attention_size: int,
    resolution: int,
    sampler: str,
    warp: Config = MappingProxyType({"name": "none"}),
    head: Config = MappingProxyType({"name": "pooled"}),
    scale: float = 1.0,
    **options: Any,
) -> models.TASN:
    modules, channels = given.options, given.shape[-1]
    backbone = given.trunk("network.trunk", trunk, "pretrained")
    with naming("network.attention"):
        maps = nn.TrilinearAttention(**attention)
    network, size = None, (attention_size, attention_size)
    if sampler != "none":
        attentive = given.trunk("network.attention_trunk", attention_trunk, "attention_pretrained")
        features = models.features_shape(attentive, (*size, channels))[-1]
        network = models.AttentionNetwork(attentive, features, given.classes, size=size, scale=scale, **modules)
    shape = (resolution, resolution)
    features = models.features_shape(backbone, (*shape, channels))
    options["transformer"] = _warp(given, backbone, features, warp)
    make_pooling, pooling = look_up("network.head", head, _TASN_HEADS)
    with naming("network.head"):
        options["pooling"] = make_pooling(features[-1], **pooling, **modules)
    options |= {"shape": shape, "attention": maps, "sampler": sampler, "scale": scale}
    return models.TASN(network, backbone, features[-1], given.classes, **options, **modules)


def _dcl(
    given: Given, *, trunk: Config, warp: Config = MappingProxyType({"name": "none"}), **options: Any
) -> models.DCL:
    if trunk["name"] == "none":
        raise ValueError("config.network.trunk.name must not be 'none' for the network 'dcl', which shuffles images")
    backbone = given.trunk("network.trunk", trunk, "pretrained")
    options["transformer"] = _warp(given, backbone, models.features_shape(backbone, given.shape), warp)
    return models.DCL(backbone, given.classes, **options, **given.options)


def _retrieval(
    given: Given,
    *,
    trunk: Config,
    pool: Config,
    warp: Config = MappingProxyType({"name": "none"}),
    whitening: int = 0,
    scale: float = 1.0,
) -> models.RetrievalNet:
    if trunk["name"] == "none":
        raise ValueError("config.network.trunk.name must not be 'none' for the network 'retrieval'")
    modules, backbone = given.options, given.trunk("network.trunk", trunk, "pretrained")
    features = models.features_shape(backbone, given.shape)
    make_pool, options = look_up("network.pool", pool, POOLS)
    parts: dict[str, Any] = {"transformer": _warp(given, backbone, features, warp), "scale": scale}
    with naming("network.pool"):
        pooling = make_pool(features[-1], **options, **modules)
    if whitening:
        parts["whitening"] = nnx.Linear(getattr(pooling, "size", features[-1]), whitening, **modules)
    return models.RetrievalNet(backbone, pooling, **parts, rngs=modules["rngs"])


def _delf(
    given: Given,
    *,
    trunk: Config,
    warp: Config = MappingProxyType({"name": "none"}),
    layer: str | None = None,
    **options: Any,
) -> models.DELF:
    if trunk["name"] == "none":
        raise ValueError("config.network.trunk.name must not be 'none' for the network 'delf', which reads images")
    if warp["name"] == "deformable":
        raise ValueError(
            "config.network.warp.name must not be 'deformable' for the network 'delf', which tells where a feature lies"
        )
    backbone = given.trunk("network.trunk", trunk, "pretrained")
    options["layer"] = layer = layer or models.local_layer(backbone)
    check_choice("config.network.layer", layer, tuple(backbone.channels))
    options["transformer"] = _warp(given, backbone, models.features_shape(backbone, given.shape, layer=layer), warp)
    return models.DELF(backbone, given.classes, **options, **given.options)


def _multi_stream(given: Given, *, trunk: Config, size: int, **options: Any) -> models.MultiStreamSTN:
    backbone = given.trunk("network.trunk", trunk, "pretrained")
    options |= {"window": (size, size), **given.options}
    return models.MultiStreamSTN(backbone, given.shape, given.classes, **options)


def _mean(channels: int, **_: Any) -> None:
    """The mean over the positions, which a TASN makes itself."""


_TASN_HEADS: dict[str, Callable[..., Any]] = {"pooled": _mean, **POOLINGS}


class Network(NamedTuple):
    """A builder; which names on a parameter's path say what it belongs to; named parts.

    A parameter places a warp, or is a trunk's, if one of the names stands anywhere on its path, and is a head's if one
    stands first.
    """

    build: Callable[..., nnx.Module]
    localisers: tuple[str, ...] = ("transformer",)
    trunks: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    parts: Mapping[str, Mapping[str, Any]] = {}  # each an option with a name of its own, and the table of such names


NETWORKS = {
    "stn": Network(_stn),
    "two_digits": Network(_two_digits),
    "volumes": Network(_volumes),
    "house_numbers": Network(_house_numbers),
    "placed": Network(_placed),
    "warped_features": Network(
        _warped_features,
        localisers=("transformer", "predictor"),
        trunks=("backbone",),
        heads=("classifier",),
        parts={"trunk": TRUNKS, "warp": FEATURE_WARPS, "head": HEADS},
    ),
    "tasn": Network(
        _tasn,
        localisers=("transformer", "predictor"),
        trunks=("trunk",),
        heads=("pooling", "master_head", "part_head", "shared_head"),
        parts={"trunk": TRUNKS, "attention_trunk": TRUNKS, "warp": FEATURE_WARPS, "head": _TASN_HEADS},
    ),
    "dcl": Network(
        _dcl,
        localisers=("transformer", "predictor"),
        trunks=("backbone",),
        heads=("classifier", "adversary", "locator"),
        parts={"trunk": TRUNKS, "warp": FEATURE_WARPS},
    ),
    "retrieval": Network(
        _retrieval,
        localisers=("transformer", "predictor"),
        trunks=("trunk",),
        heads=("pool",),
        parts={"trunk": TRUNKS, "warp": FEATURE_WARPS, "pool": POOLS},
    ),
    "delf": Network(
        _delf,
        trunks=("backbone",),
        heads=("classifier", "attention", "attentive_classifier"),
        parts={"trunk": TRUNKS, "warp": FEATURE_WARPS},
    ),
    "multi_stream": Network(_multi_stream, trunks=("streams", "trunk"), parts={"trunk": TRUNKS}),
}


def check_names(config: Config) -> None:
    """Raise a ValueError unless the network and its trunks, its warp and its head have names that are known."""
    network, options = look_up("network", config.network, NETWORKS)
    with naming("network"):
        inspect.signature(network.build).bind(None, **options)
    for part, table in network.parts.items():
        if part in options:
            look_up(f"network.{part}", options[part], table)


def build_network(config: Config, shape: Sequence[int], classes: int, *, seed: int, pretrained: bool) -> nnx.Module:
    """The network of a config, with parameters drawn by a seed.

    Args:
        config: of the run.
        shape: (h, w, c) or (d, h, w, c) of what it reads.
        classes: how many it tells apart.
        seed: of its parameters.
        pretrained: whether pretrained weights that the config names are loaded; a checkpoint has them already.

    Raises:
        ValueError: if a name is unknown, an option is wrong, or pretrained weights do not fit.
    """
    network, options = look_up("network", config.network, NETWORKS)
    with naming("network"):
        return network.build(Given(shape, classes, config, seed, pretrained), **options)


def parameter_rates(config: Config) -> Rates | None:
    """The rates of a network's parameters; None: all learn alike.

    Those that place its warps learn at `config.localiser_multiplier` of the rate: they are the parameters of
    transformers (STN appendix A.5, A.6), and those that predict the offsets of a deformable convolution. Those of its
    trunks learn at `config.trunk_multiplier` of it. Those of its head learn at `config.head_multiplier` of it, and
    before step `config.head_alone_steps` they alone learn.
    """
    network, placing, trunk = _network(config), config.localiser_multiplier, config.trunk_multiplier
    own, alone = config.head_multiplier, config.head_alone_steps
    if (placing, trunk, own, alone) == (1, 1, 1, 0):
        return None

    def rates(path):
        if path[0] in network.heads:
            return own, 0
        if any(name in path for name in network.localisers):
            return placing, alone
        return trunk if any(name in path for name in network.trunks) else 1.0, alone

    return rates


def frozen_statistics(config: Config) -> Where | None:
    """Which BatchNorms keep their statistics: with `config.frozen_statistics`, or without learning, those of trunks."""
    names, frozen = _network(config).trunks, config.frozen_statistics or config.trunk_multiplier == 0
    return (lambda path: any(name in path for name in names)) if frozen else None


def check_knobs(config: Config, network: nnx.Module) -> None:
    """Raise a ValueError unless the network has what the multipliers and `frozen_statistics` are for."""
    frozen, names, multiplier = frozen_statistics(config), _network(config), config.localiser_multiplier
    paths = [name.split("/") for name in named_leaves(nnx.state(network, nnx.Param))]
    if multiplier != 1 and not any(name in path for path in paths for name in names.localisers):
        raise ValueError(
            "config.localiser_multiplier must be 1 for a network none of whose parameters place a warp, "
            f"not {multiplier}"
        )
    if config.trunk_multiplier != 1 and not any(name in path for path in paths for name in names.trunks):
        raise ValueError(
            f"config.trunk_multiplier must be 1 for a network without a trunk, not {config.trunk_multiplier}"
        )
    if (config.head_multiplier, config.head_alone_steps) != (1, 0) and not any(p[0] in names.heads for p in paths):
        raise ValueError(
            "config.head_multiplier must be 1 and config.head_alone_steps 0 for a network without a head of its own"
        )
    if config.frozen_statistics and frozen and not any(map(frozen, batch_norms(network))):
        raise ValueError("config.frozen_statistics must be False for a network without a trunk that has BatchNorm")


def _network(config: Config) -> Network:
    return look_up("network", config.network, NETWORKS)[0]
