"""Predictions averaged over the mirrored image and over several trained networks (TASN Tables 6, 8 and 9)."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Num


class Averaged(nnx.Module):
    """A network whose logits are the logarithms of the mean of its members' probabilities.

    Calling it with images (n, h, w, c), as the data hold them, returns `(logits, {})`; logits are (n, classes), or
    (n, k, classes) if the members give k labels. It is evaluated as each of its members is.
    """

    def __init__(
        self,
        members: Sequence[Callable[[Array], tuple[Array, dict[str, Array]]]],
        as_inputs: Sequence[Callable[[Array], Array]],
        *,
        flip: bool = False,
    ):
        """Put the members together.

        Args:
            members: networks in evaluation mode, each of which returns `(logits, out)`.
            as_inputs: for each member, the function that makes its input of the images.
            flip: whether each member also sees the images mirrored, left to right.
        """
        self.members, self.as_inputs, self.flip = nnx.List(list(members)), tuple(as_inputs), flip

    def __call__(self, image: Num[Array, "n h w c"]) -> tuple[Float[Array, "n *k classes"], dict[str, Array]]:
        """Logits of a batch, as the class says."""
        views = [image, image[..., ::-1, :]] if self.flip else [image]
        pairs = zip(self.members, self.as_inputs, strict=True)
        probabilities = [jax.nn.softmax(member(as_input(view))[0]) for member, as_input in pairs for view in views]
        mean = sum(probabilities[1:], probabilities[0]) / len(probabilities)
        return jnp.log(jnp.maximum(mean, jnp.finfo(mean.dtype).tiny)), {}
