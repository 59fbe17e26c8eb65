"""From a config's values to data, model and the preparation of images."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Num

from vtnjax import data, distort, models
from vtnjax.train.config import Config
from vtnjax.train.step import Prepare

# Every model of a table is tested on the same distorted images, whatever its own seed is.
_TEST_SEED = 0
_TEST_BATCH = 250


def build_sources(config: Config) -> tuple[data.Source, data.Source]:
    """The training and the test set of `config.dataset`."""
    options = dict(config.source_options)
    train, test = (
        data.load_source(config.dataset, split, data_dir=config.data_dir or None, **options)
        for split in ("train", "test")
    )
    if train.classes != test.classes:
        raise ValueError(
            f"the training and the test set must have the same classes, not {train.classes} and {test.classes}"
        )
    return train, test


def build_model(config: Config, source: data.Source) -> nnx.Module:
    """The model of a config, with parameters drawn from its seed."""
    shape = distort.distorted_shape(config.distortion, source[0]["image"].shape)
    return models.STN(
        config.model,
        shape,
        classes=len(source.classes),
        warp=config.warp,
        pool=config.pool,
        dtype=jnp.dtype(config.dtype),
        rngs=nnx.Rngs(config.seed),
    )


def build_prepare(config: Config) -> Prepare:
    """Images to distorted floats in [0, 1], in the dtype of the computation."""

    def prepare(key, images):
        # Distorted in float32: bfloat16 would round the sums of the coordinates before the sampler sees them.
        return distort.distort_batch(config.distortion, key, to_float(images)).astype(config.dtype)

    return prepare


def to_float(images: Num[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """uint8 in 0..255 to float32 in [0, 1]; floats as they are."""
    return images if jnp.issubdtype(images.dtype, jnp.floating) else images.astype(jnp.float32) / 255


def distort_source(name: str, source: data.Source) -> data.Source:
    """A test set distorted once, with a seed and a batch of its own, so that every model is tested on the same images.

    The images become float32 in [0, 1]; with "none" the source is returned as it is.
    """
    if name == "none":
        return source
    distort_all = jax.jit(lambda key, images: distort.distort_batch(name, key, to_float(images)))
    images, labels = [], []
    for number, batch in enumerate(data.eval_batches(source, batch_size=min(_TEST_BATCH, len(source)))):
        key = jax.random.fold_in(jax.random.key(_TEST_SEED), number)
        kept = batch["mask"] > 0
        images.append(np.asarray(distort_all(key, batch["image"]))[kept])
        labels.append(batch["label"][kept])
    return data.Arrays(np.concatenate(images), np.concatenate(labels), source.classes)
