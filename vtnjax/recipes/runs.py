"""A trained run, to be used: predictions for images of one's own, and pictures of them."""

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging as absl_logging
from etils import epath
from flax import nnx
from jaxtyping import Float, Num
from numpy import ndarray

from vtnjax._checks import check_at_least_1
from vtnjax.models import RetrievalNet
from vtnjax.recipes.given import read_given, stacked
from vtnjax.recipes.inputs import Input, make_as_input
from vtnjax.recipes.look import short_name
from vtnjax.recipes.pictures import Figure, look_at
from vtnjax.recipes.recipe import read_picture
from vtnjax.recipes.trained import find_trained, read_trained, restore_trained
from vtnjax.train.config import Config, read_json
from vtnjax.train.state import merged

_BATCH = 32
_SHOWN, _LARGER, _LONGEST = 3, 2, 30
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A trained network with what belongs to it.

    Attributes:
        config: the config of the run.
        step: the step of the checkpoint that was read.
        classes: the names of the classes, in the order of the probabilities.
        model: the network in evaluation mode, which returns `(logits, out)`, or `(descriptors, out)`, of what
            `as_input` makes of images.
        read: what prepares images, as `config.input` names it.
        image: the shape (h, w, c) of an image of the run's data.
    """

    config: Config
    step: int
    classes: tuple[str, ...]
    model: nnx.Module
    read: Input
    image: tuple[int, ...]

    def predict(
        self, images: Any, *, batch_size: int | None = None
    ) -> tuple[Float[ndarray, "n *labels classes"], dict[str, Any]]:
        """The network's answer for images.

        Args:
            images: a path, one image (h, w, c) or a grey one (h, w), several (n, h, w, c), or a sequence of paths and
                single images, whatever their sizes; arrays of NumPy or JAX, uint8 or floating in [0, 1].
            batch_size: how many are computed at once; fewer are filled up, so that a program is compiled once for
                each batch size. By default all, and at most 32.

        Returns:
            Probabilities float32 (n, classes), of networks that give several labels (n, labels, classes), of those that
            `describes` descriptors (n, d) of length 1, with n = 1 for one image; and the network's `out`, in which each
            array's first axis is n.

        Raises:
            ValueError: if there is no image, a file cannot be read, or an array is of another kind.
        """
        return self.forward(self.prepare(images), batch_size=batch_size)

    def picture(self, images: Any) -> Figure:
        """The recipe's picture of what the network makes of images, with its first three classes above each, if any.

        Args:
            images: whatever `predict` takes.

        Raises:
            ValueError: in the cases of `predict`.
        """
        prepared = self.prepare(images)
        return self.draw(prepared, *self.forward(prepared))

    def prepare(self, images: Any) -> Num[ndarray, "n *shape"]:
        """Images as the run's test set has them, uint8 or float32 in [0, 1]; see `predict` for what may be given."""
        return stacked([self.read.fit(image, self.image) for image in read_given(images, self.shape)])

    def forward(
        self, prepared: Num[ndarray, "n *shape"], *, batch_size: int | None = None
    ) -> tuple[Float[ndarray, "n *labels classes"], dict[str, Any]]:
        """The answer of `predict` for images that `prepare` returned, or for those of the recipe's test set."""
        count = len(prepared)
        size = min(count, _BATCH) if batch_size is None else batch_size
        check_at_least_1("batch_size", size)
        parts = []
        for part in (prepared[start : start + size] for start in range(0, count, size)):
            blank = np.zeros((size - len(part), *part.shape[1:]), part.dtype)
            parts.append(jax.device_get(self._compiled(np.concatenate([part, blank]))))
        return jax.tree.map(lambda *each: np.concatenate(each)[:count], *parts)

    def draw(
        self, prepared: Num[ndarray, "n *shape"], prediction: Float[ndarray, "n *labels classes"], out: dict[str, Any]
    ) -> Figure:
        """The picture of `picture` for what `prepare` and `forward` returned."""
        titles = [""] * len(prediction) if self.describes else [self._title(each) for each in prediction]
        figure = read_picture(self.config)(prepared, out, titles, self.read.as_picture)
        width, height = figure.get_size_inches()
        figure.set_size_inches(_LARGER * width, _LARGER * height)  # room for names above each image
        return figure

    @property
    def describes(self) -> bool:
        """Whether the network describes images, for a search among them, and names no classes."""
        return isinstance(self.model, RetrievalNet)

    @property
    def shape(self) -> tuple[int, ...]:
        """(h, w, c), or (d, h, w, c), of a prepared image."""
        return self.read.read(self.image)

    @property
    def as_input(self) -> Callable[[jax.Array], jax.Array]:
        """The function from prepared images to the network's input, in JAX."""
        return make_as_input(self.read, self.config.dtype)

    def probabilities(self, prepared: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
        """The answer of `forward` in pure JAX, to be compiled, exported or differentiated."""
        found, out = look_at(read_picture(self.config), self.model, self.as_input(prepared))
        found = found.astype(jnp.float32)
        return found if self.describes else jax.nn.softmax(found), out

    @functools.cached_property
    def _compiled(self):
        graphdef, state = nnx.split(self.model)

        def call(state, prepared):
            return dataclasses.replace(self, model=nnx.merge(graphdef, state, copy=True)).probabilities(prepared)

        return functools.partial(jax.jit(call), state)

    def _title(self, prediction):
        if prediction.ndim > 1:
            return f"{short_name(self.classes, prediction.argmax(-1))}\n{prediction.max(-1).prod():.2f}"
        first = np.argsort(-prediction, stable=True)[:_SHOWN]
        return "\n".join(
            f"{short_name(self.classes, label, longest=_LONGEST)} {prediction[label]:.2f}" for label in first
        )


def load_run(workdir: epath.PathLike, *, step: int | str = "latest") -> Run:
    """A trained run from its folder alone: its data and files of pretrained weights are not needed.

    Args:
        workdir: the folder of the run, wherever it lies now.
        step: which checkpoint: "latest", "best", the one of the highest test figure, or the number of its step.

    Raises:
        ValueError: if the folder holds no trained run, or one of an older version, or there is no such checkpoint.
        OSError: if it cannot be read.
    """
    workdir = find_trained(workdir)
    known = read_trained(workdir)  # first: of an older version its remedy is another than that of older data
    path = workdir / "data.json"
    data = read_json(path) if path.is_file() else {}
    if "image" not in data:
        raise ValueError(
            f"{path} must say what images the run reads, but it is of an older version: start the run's training "
            "command once more, which adds it"
        )
    classes, image = tuple(data["classes"]), tuple(data["image"])
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with _quiet():
        trained = restore_trained(workdir, known, image, len(classes), here, _logger.warning, step=step)
    model = merged(trained.graphdef, trained.state)
    return Run(trained.config, int(trained.state.step), classes, model, trained.read, image)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Orbax does not tell of reading meanwhile."""
    before = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    try:
        yield
    finally:
        absl_logging.set_verbosity(before)
