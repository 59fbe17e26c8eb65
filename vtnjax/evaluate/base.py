"""What an evaluation of a trained network is."""

from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeAlias, runtime_checkable

from flax import nnx
from jaxtyping import Array

Test: TypeAlias = Callable[[], Iterable[dict[str, Array]]]


@runtime_checkable
class Evaluation(Protocol):
    """Figures of a trained network."""

    @property
    def figure(self) -> str:
        """The name of the figure, the higher the better, by which the best checkpoint is chosen."""
        ...

    @property
    def how(self) -> str:
        """What is said beside the figures, such as "of images and their mirror images"; mostly nothing."""
        ...

    def of(self, source: Any) -> "Evaluation":
        """The same for a test set, of which some want to know more than its batches hold.

        Raises:
            ValueError: if the set lacks it.
        """
        ...

    def check(self, model: nnx.Module) -> None:
        """Raise a ValueError, before anything is trained, if the figures of such a network cannot be computed."""
        ...

    def __call__(self, model: nnx.Module, test: Test) -> dict[str, float]:
        """Compute the figures.

        Args:
            model: the network in evaluation mode; a function of it may be differentiated.
            test: gives fresh batches of the test set, on the devices, each time it is called.
        """
        ...


@runtime_checkable
class OwnImages(Protocol):
    """An evaluation on images of its own, beside the test set, which must be told what the network takes."""

    def prepared_by(self, prepare: Callable[[Array], Array]) -> Evaluation:
        """The same, with the function from images (n, h, w, 3) in [0, 1] to the network's input."""
        ...
