"""ImageNet weights for the backbones, from a file, the Hugging Face hub or a package."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.typing import PathParts
from jaxtyping import Array, Float

from vtnjax.models._weight_files import FIRES, IMAGENET_MEAN, IMAGENET_STD, read_weights
from vtnjax.models.backbones import VGG, Inception, ResNet, SqueezeNet
from vtnjax.models.backbones.inception import INCEPTIONS

# Our leaves and PyTorch's, by the module they belong to.
_LEAVES = {
    "conv": {"kernel": "weight", "bias": "bias"},
    "norm": {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"},
}
# The classifiers' layers in torchvision's files and in timm's, which a trunk does not have. Those of GoogLeNet's two
# auxiliary classifiers were never trained.
_HEADS = {
    ResNet: ("fc",),
    VGG: ("classifier.0", "classifier.3", "classifier.6", "pre_logits.fc1", "pre_logits.fc2", "head.fc"),
    SqueezeNet: ("classifier.1",),
    Inception: (
        "fc",
        *(f"aux{i}.{layer}" for i in (1, 2) for layer in ("conv.conv", "conv.bn", "fc1", "fc2")),
    ),
}
_LISTED = 20
_WRAPPER = "module."

Backbone = ResNet | VGG | SqueezeNet | Inception


def load_pretrained(backbone: Backbone, weights: str | Path | Mapping[str, np.ndarray]) -> None:
    """Give a backbone trained weights, in place.

    The weights are those of torchvision's model of the same name, or of timm's. Every one of the backbone's parameters
    and statistics must be there in the right shape, and nothing may be left over but the classifier's layers, which a
    trunk does not have, and the counters `num_batches_tracked`. If anything is wrong, nothing is changed.

    The networks expect images as `imagenet_input` makes them.

    Args:
        backbone: a `ResNet`, `VGG`, `SqueezeNet` or `Inception`; it may also be abstract, as `nnx.eval_shape` makes
            one, which saves drawing random weights.
        weights: a `.safetensors` file (extra "hub"); where torch is installed, a `.pth`, `.pt`, `.bin`, `.ckpt` or
            `.pth.tar` file of tensors by name, also under "state_dict" or "model"; a model of the Hugging Face hub such
            as "timm/resnet50.tv_in1k" (extra "hub"; its `model.safetensors` is downloaded once); "ndf" for SqueezeNet
            1.1 out of the package ndf (extra "squeezenet"); or the arrays themselves by PyTorch's names and in its
            layout. Where every name begins with `module.`, as `torch.nn.DataParallel` has it, it is left out with a
            warning.

    Raises:
        ValueError: if the weights do not fit, naming what is missing, left over or of another shape; if one is NaN or
            infinite; or if the file is of another kind, damaged, or holds more than PyTorch reads safely.
        FileNotFoundError: if there is no such file, here or on the hub.
        ImportError: if the package that reads it is not installed; the sentence says what to install.
    """
    if not isinstance(backbone, Backbone):
        raise ValueError(
            f"backbone must be a ResNet, a VGG, a SqueezeNet or an Inception, not a {type(backbone).__name__}"
        )
    label = "the arrays" if isinstance(weights, Mapping) else repr(str(weights))
    arrays = _unwrapped(label, weights if isinstance(weights, Mapping) else read_weights(weights))
    wanted = {key: (path, variable) for path, key, variable in _table(backbone)}
    given = {key: array for key, array in arrays.items() if not _ignored(key, backbone, wanted)}
    _check_fit(label, backbone, {key: _torch_shape(variable) for key, (_, variable) in wanted.items()}, given)
    bad = [key for key in wanted if not np.isfinite(given[key]).all()]
    if bad:
        raise ValueError(f"{label} must hold finite numbers, but these hold NaN or infinity: {_listed(bad)}")
    state = [(path, variable.replace(_from_torch(given[key], variable))) for key, (path, variable) in wanted.items()]
    nnx.update(backbone, nnx.from_flat_state(state))


def imagenet_input(image: Float[Array, "n h w 3"]) -> Float[Array, "n h w 3"]:
    """Images in [0, 1], red, green and blue, less ImageNet's mean and over its standard deviation."""
    mean, std = _imagenet_statistics(image)
    return (image - mean) / std


def imagenet_picture(image: Float[Array, "n h w 3"]) -> Float[Array, "n h w 3"]:
    """The images in [0, 1] of which `imagenet_input` made these: for looking at what a network sampled."""
    mean, std = _imagenet_statistics(image)
    return image * std + mean


def _imagenet_statistics(image):
    return (jnp.asarray(value, image.dtype).reshape(1, 1, 1, 3) for value in (IMAGENET_MEAN, IMAGENET_STD))


def _table(backbone: Backbone) -> Iterator[tuple[PathParts, str, nnx.Variable]]:
    """Each parameter and statistic: where it is in the backbone, PyTorch's name for it, and the variable."""
    layers = dict(_layers(backbone))
    for path, variable in nnx.to_flat_state(nnx.state(backbone, nnx.Any(nnx.Param, nnx.BatchStat))):
        kind, leaf = map(str, path[-2:])
        yield path, f"{layers[path[:-1]]}.{_LEAVES[kind][leaf]}", variable


def _layers(backbone: Backbone) -> Iterator[tuple[PathParts, str]]:
    """Each convolution and BatchNorm: where it is in the backbone, and PyTorch's name for it."""
    if isinstance(backbone, ResNet):
        return _resnet_layers(backbone)
    if isinstance(backbone, Inception):
        return _inception_layers()
    return _vgg_layers(backbone) if isinstance(backbone, VGG) else _squeezenet_layers()


def _resnet_layers(backbone: ResNet) -> Iterator[tuple[PathParts, str]]:
    yield ("stem", "conv"), "conv1"
    yield ("stem", "norm"), "bn1"
    for i, stage in enumerate(backbone.stages):
        for j, block in enumerate(stage):
            ours, theirs = ("stages", i, j), f"layer{i + 1}.{j}"
            for k in range(len(block.layers)):
                yield (*ours, "layers", k, "conv"), f"{theirs}.conv{k + 1}"
                yield (*ours, "layers", k, "norm"), f"{theirs}.bn{k + 1}"
            yield (*ours, "shortcut", "conv"), f"{theirs}.downsample.0"
            yield (*ours, "shortcut", "norm"), f"{theirs}.downsample.1"


def _vgg_layers(backbone: VGG) -> Iterator[tuple[PathParts, str]]:
    position = 0
    for i, stage in enumerate(backbone.stages):
        for j, layer in enumerate(stage):
            yield ("stages", i, j, "conv"), f"features.{position}"
            yield ("stages", i, j, "norm"), f"features.{position + 1}"
            position += 2 if layer.norm is None else 3  # A rectifier has a position too, and so has a pooling.
        position += 1


def _squeezenet_layers() -> Iterator[tuple[PathParts, str]]:
    yield ("conv1", "conv"), "features.0"
    yield ("conv10", "conv"), "classifier.1"
    for i, position in enumerate(FIRES):
        for part in ("squeeze", "expand1x1", "expand3x3"):
            yield ("fires", i, part, "conv"), f"features.{position}.{part}"


def _inception_layers() -> Iterator[tuple[PathParts, str]]:
    layers: list[tuple[PathParts, str]] = [((f"conv{i}",), f"conv{i}") for i in (1, 2, 3)]
    for i, name in enumerate(INCEPTIONS):
        layers += [(("blocks", i, "single"), f"{name}.branch1"), (("blocks", i, "pooled"), f"{name}.branch4.1")]
        layers += [(("blocks", i, "pairs", j, k), f"{name}.branch{j + 2}.{k}") for j in (0, 1) for k in (0, 1)]
    for ours, theirs in layers:
        yield (*ours, "conv"), f"{theirs}.conv"
        yield (*ours, "norm"), f"{theirs}.bn"


def _unwrapped(label: str, arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The arrays without the name that `torch.nn.DataParallel` puts before all of theirs."""
    if not arrays or not all(key.startswith(_WRAPPER) for key in arrays):
        return arrays
    warnings.warn(f"{label}: every name begins with {_WRAPPER!r}, which is left out", stacklevel=3)
    return {key.removeprefix(_WRAPPER): array for key, array in arrays.items()}


def _ignored(key: str, backbone: Backbone, wanted: Mapping[str, object]) -> bool:
    layer, _, leaf = key.rpartition(".")
    return leaf == "num_batches_tracked" or (key not in wanted and layer in _heads(backbone))


def _heads(backbone: Backbone) -> tuple[str, ...]:
    return next(layers for kind, layers in _HEADS.items() if isinstance(backbone, kind))


def _torch_shape(variable: nnx.Variable) -> tuple[int, ...]:
    shape = variable.shape
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape


def _from_torch(array: np.ndarray, variable: nnx.Variable) -> Array:
    """A kernel (outputs, inputs, height, width) as (height, width, inputs, outputs); anything else as it is."""
    return jnp.asarray(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array, variable.dtype)


def _check_fit(
    label: str, backbone: Backbone, wanted: Mapping[str, tuple[int, ...]], given: Mapping[str, np.ndarray]
) -> None:
    shapes = [
        f"{key} {given[key].shape}, not {shape}"
        for key, shape in wanted.items()
        if key in given and given[key].shape != shape
    ]
    faults = {
        "missing": [key for key in wanted if key not in given],
        "left over": [key for key in given if key not in wanted],
        "of another shape": shapes,
    }
    lists = "; ".join(f"{fault}: {_listed(keys)}" for fault, keys in faults.items() if keys)
    if lists:
        name = getattr(backbone, "name", "SqueezeNet 1.1")
        raise ValueError(f"{label} must hold every weight of {name} and no others; {lists}")


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _LISTED} more" if len(keys) > _LISTED else ""
    return ", ".join(keys[:_LISTED]) + more
