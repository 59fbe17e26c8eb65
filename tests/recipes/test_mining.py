"""Negatives that are found by what a function sees in the images as tests see them."""

import jax.numpy as jnp
import numpy as np
import pytest

from vtnjax import data
from vtnjax.recipes.mining import make_mine

LABELS = np.arange(23) % 5


@pytest.fixture(scope="module")
def source():
    images = np.random.default_rng(0).integers(0, 256, (23, 4, 6, 3), np.uint8)
    return data.Arrays(images, LABELS, tuple("abcde"))


def brightness(record):
    """What tests see: the image without its colours."""
    return {**record, "image": record["image"].mean(-1, keepdims=True).astype(np.uint8)}


@pytest.mark.parametrize("batch_size", [8, 16])  # which all devices share
def test_negatives_are_those_of_descriptors_computed_one_by_one(source, batch_size):
    asked = []

    def predict(images):
        asked.append(images.shape)
        pixels = images.reshape(len(images), -1).astype(jnp.float32)
        return pixels / jnp.linalg.norm(pixels, axis=1, keepdims=True), {}

    tested = data.Mapped(source, brightness)
    mine = make_mine(source, tested, batch_size=batch_size, negatives=3, threads=0)
    queries, pool = np.array([4, 9, 0]), np.array([20, 3, 4, 8, 11, 17, 1, 22, 13, 2])
    found = mine(predict, queries, pool)
    seen = np.array([tested[index]["image"].reshape(-1) for index in range(len(source))], np.float64)
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    expected = data.hard_negatives(seen[queries] @ seen[pool].T, LABELS[queries], LABELS[pool], 3)
    np.testing.assert_array_equal(found, expected)
    # Each image once: 12 differ, since one is a query too; and every batch has one shape.
    assert asked == [(batch_size, 4, 6, 1)] * -(-12 // batch_size)
