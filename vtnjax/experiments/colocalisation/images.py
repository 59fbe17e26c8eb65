"""The images: digits of one class, each hidden somewhere on a large canvas, and the boxes that hold them."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from vtnjax import data, distort

CANVAS, WINDOW = (84, 84), (28, 28)
PATCHES = {"T": 0, "TC": 16}


def hide_digits(
    key: PRNGKeyArray, digits: Float[np.ndarray, "n h w 1"], others: Float[np.ndarray, "m h w 1"], patches: int
) -> tuple[Float[Array, "n 84 84 1"], Float[Array, "n 4"]]:
    """Each digit somewhere on a black canvas, `patches` pieces of the others over it, and the digits' boxes."""
    draw_key, key = jax.random.split(key)
    chosen = jax.random.randint(draw_key, (len(digits), patches), 0, len(others))
    keys = jax.random.split(key, len(digits))
    place = jax.vmap(lambda key, image, others: distort.translate_clutter_place(key, image, others, shape=CANVAS))
    images, corners = place(keys, jnp.asarray(digits), jnp.asarray(others)[chosen])
    left_top = corners.astype(jnp.float32) - 0.5
    size = jnp.array(WINDOW[::-1], jnp.float32)[None]
    return images, jnp.concatenate([left_top, left_top + size], axis=1)


def class_images(images: str, label: int, seed: int) -> tuple[Float[Array, "n 84 84 1"], Float[Array, "n 4"]]:
    """The 100 test digits of a class, which the encoder has not seen, hidden in images; and their boxes."""
    test, others = data.Digits("test"), data.Digits("train")
    digits = test.images[test.labels == label].astype(np.float32) / 255
    key = jax.random.fold_in(jax.random.key(seed), label)
    return hide_digits(key, digits, others.images.astype(np.float32) / 255, PATCHES[images])


def tight_boxes(boxes: Float[np.ndarray, "n 4"], digits: Float[np.ndarray, "n h w 1"]) -> Float[np.ndarray, "n 4"]:
    """The boxes of the digits' own pixels, given those of their squares."""
    found = []
    for box, digit in zip(boxes, digits, strict=True):
        rows, columns = np.nonzero(digit[..., 0])
        inside = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        found.append(np.tile(box[:2], 2) + inside)
    return np.stack(found).astype(np.float32)
