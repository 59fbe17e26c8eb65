import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiled import run
from flax import nnx

from vtnjax import models
from vtnjax.models.layers import MODELS
from vtnjax.models.volumes import project_depth

SHAPE = (24, 26, 28, 1)


def network(model="st_fcn", **options):
    return models.VolumeNetwork(model, SHAPE, **options, rngs=nnx.Rngs(0))


def volumes():
    return jnp.asarray(np.random.default_rng(0).uniform(size=(2, *SHAPE)), jnp.float32)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_all_have_400_000_parameters_and_say_what_they_did(model):
    built = network(model, classes=7)
    assert models.count_parameters(built) == pytest.approx(400_000, rel=0.05)
    logits, out = run(built, volumes())
    assert logits.shape == (2, 7)
    assert out["plane"].shape == (2, 26, 28, 1)
    assert ("theta" in out) == model.startswith("st_")
    if model.startswith("st_"):
        assert out["theta"].shape == (2, 3, 4)
        assert out["coords"].shape == (2, *SHAPE[:3], 3)
        np.testing.assert_allclose(out["warped"], volumes(), atol=1e-5)  # it starts at the identity


@pytest.mark.slow
def test_a_smaller_output_and_pooling():
    logits, out = run(network(sampled=(5, 8, 10), pool=2), volumes())
    assert out["warped"].shape == (2, 5, 8, 10, 1)
    assert out["plane"].shape == (2, 8, 10, 1)
    assert logits.shape == (2, 10)
    np.testing.assert_allclose(out["warped"][:, 0, 0, -1], volumes()[:, 0, 0, -1], atol=1e-5)


@pytest.mark.usefixtures("x64")
def test_the_projection_is_the_sum_along_the_depth():
    volume = np.random.default_rng(0).normal(size=(2, 3, 4, 5, 2))
    expected = np.zeros((2, 4, 5, 2))
    for n, z, y, x, c in np.ndindex(volume.shape):
        expected[n, y, x, c] += volume[n, z, y, x, c]
    np.testing.assert_allclose(project_depth(jnp.asarray(volume)), expected, atol=1e-12)


@pytest.mark.slow
def test_the_classification_moves_theta():
    graphdef, params = nnx.split(network(sampled=(6, 8, 10)))
    # Slopes everywhere: a block with sharp edges has none where so few voxels are sampled.
    z, y, x = jnp.meshgrid(*(jnp.linspace(-1, 1, n) for n in SHAPE[:3]), indexing="ij")
    blob = jnp.exp(-3 * ((z - 0.1) ** 2 + (y - 0.2) ** 2 + (x + 0.1 * y) ** 2))
    volume = jnp.stack([blob, blob**2])[..., None]

    @jax.jit
    @jax.grad
    def gradient(params):
        logits, _ = nnx.merge(graphdef, params, copy=True)(volume)
        return -jax.nn.log_softmax(logits)[:, 3].mean()

    bias = np.asarray(gradient(params)["transformer"]["head"]["bias"][...])
    assert np.all(np.abs(bias[[0, 1, 2, 3, 4, 5, 6, 7]]) > 1e-6)  # the rows of x and y
    assert np.isfinite(bias).all()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="did you mean 'st_fcn'"):
        network("st_fnc")
    with pytest.raises(ValueError, match=r"at least 4 voxels along each axis, not \(3, 8, 8\)"):
        models.VolumeNetwork("st_fcn", (3, 8, 8, 1), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="at least 21 x 21 pixels after pooling, not 13 x 14"):
        network("cnn", pool=2)
