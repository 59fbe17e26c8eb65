"""The share of a warp that folds, image by image and over a test set."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose

from vtnjax import data, evaluate, ops

IDENTITY = np.asarray(ops.identity_coords((3, 5)))


def mirrored(columns):
    """Coordinates whose first columns, of cells, run backwards."""
    coords = IDENTITY.copy()
    coords[:, : columns + 1, 0] = coords[:, columns::-1, 0]
    return coords


@pytest.mark.parametrize("columns", [0, 1, 3])
@pytest.mark.daily("3")
def test_the_share_is_that_of_the_cells_of_each_image(columns):
    coords = jnp.asarray(np.stack([mirrored(columns), IDENTITY]))
    folds = np.asarray(jax.vmap(ops.folds)(coords)).mean((1, 2))
    assert_allclose(evaluate.folded({"coords": coords}), folds)
    assert folds[0] >= columns / 4
    assert folds[1] == 0


@pytest.mark.slow
def test_the_fields_of_a_volumetric_transformer_are_averaged():
    coords = np.stack([IDENTITY, IDENTITY[:, ::-1]], axis=2)[None]
    assert_allclose(evaluate.folded({"coords": jnp.asarray(coords), "displacement": jnp.zeros(coords.shape)}), [0.5])


@pytest.mark.parametrize("shape", [(2, 2, 3, 5, 2), (2, 3, 4, 5, 3), (2, 1, 5, 2), (2, 3, 5, 3)])
def test_windows_volumes_and_lines_are_no_such_warps(shape):
    assert evaluate.folded({"coords": jnp.zeros(shape)}) is None


def test_a_network_that_warps_nothing_has_none():
    assert evaluate.folded({}) is None


class Warps(nnx.Module):
    """A network whose warp of an image is the mirror image where its first pixel is 1."""

    def __call__(self, image):
        mirror = image[:, 0, 0, 0] > 0
        coords = jnp.where(mirror[:, None, None, None], IDENTITY[:, ::-1], IDENTITY)
        return jnp.zeros((len(image), 2)), {"coords": coords}


@pytest.mark.parametrize("batch_size", [2, 5])
def test_a_test_set_has_the_mean_over_its_records(batch_size):
    images = np.zeros((5, 3, 5, 1), np.float32)
    images[[1, 3, 4], 0, 0] = 1
    source = data.Arrays(images, np.zeros(5, int), ("a", "b"))
    batches = [jax.tree.map(jnp.asarray, b) for b in data.eval_batches(source, batch_size=batch_size)]
    figures = evaluate.Classification()(Warps(), lambda: batches)
    assert figures["folded"] == pytest.approx(3 / 5)
    assert list(figures) == ["loss", "accuracy", "folded"]
