"""From a config's values to data and to the preparation of images."""

from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from vtnjax import data, distort, models
from vtnjax.recipes.objectives import Consistency, CrossEntropy, Distillation
from vtnjax.train import config as train_config
from vtnjax.train.config import ABOVE_0, BELOW_1, WHOLE, Config, check_numbers, naming
from vtnjax.train.step import Objective, Prepare

# Every model of a table is tested on the same distorted images, whatever its own seed is.
_TEST_SEED = 0
_TEST_BATCH = 250
_BOUNDS = {
    "triplet_batch": WHOLE,
    "house_numbers.dropout": BELOW_1,
    "streams.dropout": BELOW_1,
    "streams.scale": ABOVE_0,
}


def check_config(config: Config) -> None:
    """Raise a ValueError in a sentence unless the numbers of a config make sense."""
    train_config.check_config(config)
    check_numbers(config, _BOUNDS)
    build_objective(config)


def build_sources(config: Config) -> tuple[data.Source, data.Source]:
    """The training set of `config.dataset`, and its test set, or the split `config.test_split`, cropped to test on."""
    options = dict(config.source_options)
    train, test = (
        data.load_source(config.dataset, split, data_dir=config.data_dir or None, **options)
        for split in ("train", config.get("test_split", "test"))
    )
    if train.classes != test.classes:
        raise ValueError(
            f"the training and the test set must have the same classes, not {train.classes} and {test.classes}"
        )
    if "photo" in config:
        options = {name: config.photo[name] for name in ("size", "crop", "keep_aspect") if name in config.photo}
        with naming("photo"):
            test = data.Mapped(test, data.photo_test(**options))
    return train, distort_source(config.get("distortion", "none"), test)


def build_batches(config: Config, source: data.Source, **share: Any) -> Any:
    """Endless batches to train on; their position can be saved.

    With `config.images_per_class` they are class-balanced; with `config.triplet_batch` too, the batches for the task
    are shuffled, and class-balanced batches of that size for the consistency loss come beside them.
    """
    options: dict[str, Any] = {"seed": config.seed, "threads": config.data_threads, **share}
    if "photo" in config:
        with naming("photo"):
            options["augment"] = data.photo_augment(**config.photo)
    each, own = config.get("images_per_class", 0), config.get("triplet_batch", 0)
    _check_balance(config, len(source.classes))
    if not each:
        return data.train_batches(source, batch_size=config.batch_size, **options)
    size = own or config.batch_size
    labelled = cast(data.LabelledSource, source)  # asked for its labels, another source is refused
    balanced = data.balanced_batches(labelled, classes_per_batch=size // each, images_per_class=each, **options)
    if not own:
        return balanced
    return data.WithTriplets(data.train_batches(source, batch_size=config.batch_size, **options), balanced)


def _check_balance(config: Config, classes: int) -> None:
    """Raise a ValueError unless batches of some images of some classes can be formed, and triplets of them."""
    each, own = config.get("images_per_class", 0), config.get("triplet_batch", 0)
    if not each:
        if own:
            raise ValueError(f"config.triplet_batch must be 0 without config.images_per_class, not {own}")
        return
    name, size = ("config.triplet_batch", own) if own else ("config.batch_size", config.batch_size)
    if size % each:
        raise ValueError(f"config.images_per_class must divide the batch of {size}, but it is {each}")
    if isinstance(build_objective(config), Consistency) and (each == 1 or size == each):
        raise ValueError(
            "config.images_per_class must be at least 2 and less than "
            f"{name}, {size}, or the consistency loss has no triplets, not {each}"
        )
    if size // each > classes:
        raise ValueError(
            f"{name} must be at most {classes * each}, config.images_per_class ({each}) images of each of the "
            f"{classes} classes, not {size}"
        )


def abstract_batch(config: Config, source: data.Source) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of what `build_batches` gives, of all processes: what the step is compiled for."""
    first = source[0]
    record, labels = first["image"], np.shape(first["label"])
    shape = (config.photo.crop, config.photo.crop, 3) if "photo" in config else record.shape

    def arrays(size, prefix=""):
        shapes = {"image": ((size, *shape), record.dtype), "label": ((size, *labels), np.int32)}
        return {prefix + name: jax.ShapeDtypeStruct(*what) for name, what in shapes.items()}

    own = config.get("triplet_batch", 0)
    return {**arrays(config.batch_size), **(arrays(own, "triplet_") if own else {})}


def build_objective(config: Config) -> Objective:
    """What a config's network minimises.

    Raises:
        ValueError: if a number of it is out of range, or a key too much.
    """
    if "distillation" in config:
        with naming("distillation"):
            return Distillation(**config.distillation)
    chosen = config.get("consistency")
    with naming("consistency"):
        return Consistency(**chosen) if chosen and chosen.weight else CrossEntropy()


def build_prepare(config: Config) -> Prepare:
    """A batch's images to distorted floats, as the network takes them, in the dtype of the computation."""
    as_input = build_input(config)

    def prepare(key, images):
        # Distorted in float32: bfloat16 would round the sums of the coordinates before the sampler sees them.
        return as_input(distort.distort_batch(config.get("distortion", "none"), key, to_float(images)))

    return prepare


def build_input(config: Config):
    """Images in 0..255 or [0, 1] to what the network takes: normalised as ImageNet's if they are photographs."""

    def as_input(images: Num[Array, "n *sizes c"]) -> Float[Array, "n *sizes c"]:
        images = to_float(images)
        return (models.imagenet_input(images) if "photo" in config else images).astype(config.dtype)

    return as_input


def build_picture(config: Config):
    """The other way round: what the network takes to images in [0, 1]."""
    return models.imagenet_picture if "photo" in config else jnp.asarray


def to_float(images: Num[Array, "n *sizes c"]) -> Float[Array, "n *sizes c"]:
    """uint8 in 0..255 to float32 in [0, 1]; floats as they are."""
    return images if jnp.issubdtype(images.dtype, jnp.floating) else images.astype(jnp.float32) / 255


def distort_source(name: str, source: data.Source) -> data.Source:
    """A test set distorted once, with a seed and a batch of its own, so that every model is tested on the same images.

    The images become float32 in [0, 1]; with "none" the source is returned as it is. Volumes are made again whenever
    they are asked for, each by a key of its own: a thousand of them would fill a gigabyte.
    """
    if name == "none":
        return source
    if name == "VOLUME":
        return _Volumes(source)
    distort_all = jax.jit(lambda key, images: distort.distort_batch(name, key, to_float(images)))
    images, labels = [], []
    for number, batch in enumerate(data.eval_batches(source, batch_size=min(_TEST_BATCH, len(source)))):
        key = jax.random.fold_in(jax.random.key(_TEST_SEED), number)
        kept = batch["mask"] > 0
        images.append(np.asarray(distort_all(key, batch["image"]))[kept])
        labels.append(batch["label"][kept])
    return data.Arrays(np.concatenate(images), np.concatenate(labels), source.classes)


class _Volumes:
    """A source whose digits are put in volumes, always in the same way."""

    def __init__(self, source: data.Source):
        self.classes = source.classes
        self._source = source
        self._place = jax.jit(lambda key, images: distort.distort_batch("VOLUME", key, to_float(images)))

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> data.Record:
        record = self._source[index]
        key = jax.random.fold_in(jax.random.key(_TEST_SEED), index)
        return {**record, "image": np.asarray(self._place(key, record["image"][None]))[0]}
