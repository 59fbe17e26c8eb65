"""Trunks by name: images to features, the last of which are warped or pooled."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from vtnjax import models
from vtnjax.models.backbones.resnet import RESNETS
from vtnjax.models.backbones.vgg import VGGS
from vtnjax.recipes.names import look_up
from vtnjax.train.config import Config, naming


class _Images(nnx.Module):
    """No trunk: the images are the features, such as stored ones."""

    def __call__(self, image: Array) -> dict[str, Array]:
        return {"image": image}


def _none(_: int, **options: Any) -> nnx.Module:
    return _Images()


def _small(inputs: int, *, widths: Sequence[int] = (16, 32, 64), **options: Any) -> nnx.Module:
    return models.SmallTrunk(inputs, widths, **options)


def _squeezenet(_: int, **options: Any) -> nnx.Module:
    return models.SqueezeNet(**options)


def _inception(_: int, **options: Any) -> nnx.Module:
    return models.Inception(**options)


def _resnet(name: str, _: int, **options: Any) -> nnx.Module:
    return models.ResNet(name, **options)


def _vgg(name: str, _: int, **options: Any) -> nnx.Module:
    return models.VGG(name, **options)


# Each takes the number of channels of the images, `dtype`, `rngs`, and its options by the config.
TRUNKS: dict[str, Callable[..., nnx.Module]] = {
    **{name: functools.partial(_resnet, name) for name in RESNETS},
    **{name: functools.partial(_vgg, name) for name in VGGS},
    "inception": _inception,
    "squeezenet": _squeezenet,
    "small": _small,
    "none": _none,
}


def build_trunk(key: str, part: Config, inputs: int, *, dtype: Any, seed: int, pretrained: str) -> Any:
    """The trunk of `config.KEY` for images of `inputs` channels, with random weights drawn by the seed, or others.

    Args:
        key: where it stands in the config, such as "network.trunk".
        part: what stands there.
        inputs: channels of the images.
        dtype: of the computation.
        seed: of random weights.
        pretrained: a file of weights or a name on the Hugging Face hub, see `models.load_pretrained`; "": none.

    Raises:
        ValueError: if the name is unknown, an option is wrong, or the weights do not fit.
    """
    build, options = look_up(key, part, TRUNKS)

    def make():
        return build(inputs, dtype=jnp.dtype(dtype), rngs=nnx.Rngs(seed), **options)

    with naming(key):
        trunk: Any = nnx.eval_shape(make)
    if pretrained:
        models.load_pretrained(trunk, pretrained)
        return trunk
    # In one compiled function: a deep trunk's initialisers, compiled one by one, take half a minute.
    nnx.update(trunk, jax.jit(lambda: nnx.state(make()))())
    return trunk
