"""The input of networks: images as their source holds them or distorted, volumes made of them, photographs."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, PRNGKeyArray, UInt8

from vtnjax import data, distort, models
from vtnjax._checks import check_choice
from vtnjax.data.pipeline import Augment
from vtnjax.recipes.given import as_bytes, fit
from vtnjax.train import Prepare

# Every model of a table is tested on the same distorted images, whatever its own seed is.
_TEST_SEED = 0
_TEST_BATCH = 250


@runtime_checkable
class Input(Protocol):
    """The way from records to a network's input, in training and in tests, and back to pictures."""

    @property
    def augment(self) -> Augment | None:
        """The augmentation of a record to train on, which is done on the host."""
        ...

    def stored(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of an image in a batch to train on, of a source's images of `shape`."""
        ...

    def read(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of an image as the network reads it."""
        ...

    def to_test(self, source: data.Source) -> data.Source:
        """The images of a source as they are tested on."""
        ...

    def distort(self, key: PRNGKeyArray, images: Float[Array, "n h w c"]) -> Float[Array, "n *sizes c"]:
        """Images in [0, 1] to train on, as they are distorted on the device in each step."""
        ...

    def normalise(self, images: Float[Array, "n *sizes c"]) -> Float[Array, "n *sizes c"]:
        """Images in [0, 1] as the network takes them."""
        ...

    def as_picture(self, images: Float[np.ndarray, "n *sizes c"]) -> Float[Array, "n *sizes c"]:
        """Images in [0, 1], from images as the network takes them."""
        ...

    def fit(self, image: Num[np.ndarray, "*sizes c"], shape: Sequence[int]) -> Num[np.ndarray, "*read c"]:
        """A person's own image of any size, as the test set's are; `shape` is that of the source's images."""
        ...

    def explain(self, shape: Sequence[int]) -> str:
        """A sentence that tells a person what `fit` does."""
        ...


@dataclasses.dataclass(frozen=True)
class Images:
    """Images as their source holds them, distorted anew in every step.

    Attributes:
        distortion: the name of a distortion, one of `distort.DISTORTIONS`.
    """

    distortion: str = "none"
    augment: ClassVar[None] = None

    def __post_init__(self) -> None:
        check_choice("distortion", self.distortion, distort.DISTORTIONS)

    def stored(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape that the source has."""
        return tuple(shape)

    def read(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape that the distortion makes."""
        return distort.distorted_shape(self.distortion, shape)

    def to_test(self, source: data.Source) -> data.Source:
        """A set distorted once, with a seed and a batch of its own, so that every model is tested on the same images.

        They become float32 in [0, 1]; with "none" the source is returned as it is.
        """
        if self.distortion == "none":
            return source
        distort_all = jax.jit(lambda key, images: self.distort(key, to_float(images)))
        images, labels = [], []
        for number, batch in enumerate(data.eval_batches(source, batch_size=min(_TEST_BATCH, len(source)))):
            key = jax.random.fold_in(jax.random.key(_TEST_SEED), number)
            kept = batch["mask"] > 0
            images.append(np.asarray(distort_all(key, batch["image"]))[kept])
            labels.append(batch["label"][kept])
        return data.Arrays(np.concatenate(images), np.concatenate(labels), source.classes)

    def distort(self, key: PRNGKeyArray, images: Float[Array, "n h w c"]) -> Float[Array, "n *sizes c"]:
        """Each image by a distortion drawn for it."""
        return distort.distort_batch(self.distortion, key, images)

    def normalise(self, images: Float[Array, "n *sizes c"]) -> Float[Array, "n *sizes c"]:
        """The images, unchanged."""
        return images

    def as_picture(self, images: Float[np.ndarray, "n *sizes c"]) -> Float[Array, "n *sizes c"]:
        """The images, unchanged."""
        return jnp.asarray(images)

    def fit(self, image: Num[np.ndarray, "h w c"], shape: Sequence[int]) -> Num[np.ndarray, "h2 w2 c"]:
        """Undistorted, in the middle of the canvas; an image of the canvas's size stays as it is."""
        return fit(image, shape, self.read(shape))

    def explain(self, shape: Sequence[int]) -> str:
        """See `fit`."""
        (rows, columns, _), canvas = shape, self.read(shape)
        placed = f", then put it in the middle of a black image of {canvas[0]} x {canvas[1]}"
        placed = "" if canvas == tuple(shape) else placed
        return f"Resize the image to {rows} x {columns} pixels{placed}."


@dataclasses.dataclass(frozen=True)
class Volumes(Images):
    """Digits put in volumes, which are made again whenever they are asked for: a thousand would fill a gigabyte."""

    distortion: str = dataclasses.field(default="VOLUME", init=False)

    def to_test(self, source: data.Source) -> data.Source:
        """Each image in a volume, always in the same way."""
        return _InVolumes(source, self)

    def fit(self, image: Num[np.ndarray, "*sizes c"], shape: Sequence[int]) -> Num[np.ndarray, "d h w c"]:
        """A volume as it is, and an image in a volume as the first one of the test set lies in it."""
        if image.shape == self.read(shape):
            return image
        key = jax.random.fold_in(jax.random.key(_TEST_SEED), 0)
        return np.asarray(self.distort(key, to_float(jnp.asarray(fit(image, shape, shape)[None]))))[0]

    def explain(self, shape: Sequence[int]) -> str:
        """See `fit`."""
        return "The volume is read as it is."


@dataclasses.dataclass(frozen=True)
class Photographs:
    """Photographs resized, turned, cropped and mirrored on the host, then normalised as ImageNet's.

    Attributes:
        size, crop, keep_aspect, rotation, flip, colour, pca_noise, square, smallest: the arguments of
            `data.photo_augment`.
        whole: whether tests see whole photographs at the crop's size, without their proportions, in place of central
            crops.
    """

    size: int = 512
    crop: int = 448
    keep_aspect: bool = False
    rotation: float = 15.0
    flip: bool = True
    colour: float = 0.0
    pca_noise: float = 0.0
    square: bool = False
    smallest: float = 1.0
    whole: bool = False

    def __post_init__(self) -> None:
        _ = self.augment  # refuses what cannot be

    @property
    def augment(self) -> Augment:
        """See `data.photo_augment`."""
        return data.photo_augment(**{k: v for k, v in dataclasses.asdict(self).items() if k != "whole"})

    @property
    def _prepare(self):
        if self.whole:
            return data.photo_test(size=self.crop, crop=self.crop)
        return data.photo_test(size=self.size, crop=self.crop, keep_aspect=self._keeps_aspect)

    @property
    def _keeps_aspect(self):
        """A crop from the middle of the central square is one from the middle of the picture."""
        return self.keep_aspect or self.square

    def stored(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of the crop."""
        return (self.crop, self.crop, 3)

    def read(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of the crop."""
        return (self.crop, self.crop, 3)

    def to_test(self, source: data.Source) -> data.Source:
        """The central crops of the photographs, or all of them."""
        return data.Mapped(source, self._prepare)

    def distort(self, key: PRNGKeyArray, images: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """The images, unchanged: everything random was done on the host."""
        return images

    def normalise(self, images: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """See `models.imagenet_input`."""
        return models.imagenet_input(images)

    def as_picture(self, images: Float[np.ndarray, "n h w c"]) -> Float[Array, "n h w c"]:
        """See `models.imagenet_picture`."""
        return models.imagenet_picture(jnp.asarray(images))

    def fit(self, image: Num[np.ndarray, "h w c"], shape: Sequence[int]) -> UInt8[np.ndarray, "h2 w2 c"]:
        """See `data.photo_test`."""
        return self._prepare({"image": as_bytes(image), "label": 0})["image"]

    def explain(self, shape: Sequence[int]) -> str:
        """See `fit`."""
        if self.whole:
            return f"Resize the photograph to {self.crop} x {self.crop} pixels."
        sides = (
            f"its shorter side has {self.size} pixels" if self._keeps_aspect else f"both sides have {self.size} pixels"
        )
        return f"Resize the photograph so that {sides}, then take the central {self.crop} x {self.crop}."


INPUTS = {"images": Images, "volumes": Volumes, "photographs": Photographs}


def make_as_input(read: Input, dtype: str) -> Callable[[Array], Array]:
    """Images of a test set, uint8 or in [0, 1], to what a network takes, in the dtype of the computation."""
    return lambda images: read.normalise(to_float(images)).astype(dtype)


def make_prepare(read: Input, dtype: str) -> Prepare:
    """A batch's images to distorted ones, as a network takes them, in the dtype of the computation."""
    as_input = make_as_input(read, dtype)
    # Distorted in float32: bfloat16 would round the sums of the coordinates before the sampler sees them.
    return lambda key, images: as_input(read.distort(key, to_float(images)))


def to_float(images: Num[Array, "n *sizes c"]) -> Float[Array, "n *sizes c"]:
    """uint8 in 0..255 to float32 in [0, 1]; floats as they are."""
    return images if jnp.issubdtype(images.dtype, jnp.floating) else images.astype(jnp.float32) / 255


class _InVolumes:
    """A source whose digits are put in volumes."""

    def __init__(self, source: data.Source, volumes: Volumes):
        self.classes = source.classes
        self._source = source
        self._place = jax.jit(lambda key, images: volumes.distort(key, to_float(images)))

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> data.Record:
        record = self._source[index]
        key = jax.random.fold_in(jax.random.key(_TEST_SEED), index)
        return {**record, "image": np.asarray(self._place(key, record["image"][None]))[0]}
