import functools

import jax
import jax.export
import jax.numpy as jnp
import loops
import numpy as np
import pytest
from compiled import run
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from numpy.testing import assert_allclose
from scipy.ndimage import map_coordinates

from vtnjax.nn import VolumetricTransformer

SMALL = {"window": (3, 5), "widths": (3, 4), "squeezed": (2, 1), "temperature": 1.0}


def features(shape=(2, 7, 6, 8), seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def transformer(channels=8, groups=4, **options):
    return VolumetricTransformer(channels, groups, **{**SMALL, **options}, rngs=nnx.Rngs(0))


def stirred(module):
    kernel = module.head.kernel
    kernel[...] = jax.random.normal(jax.random.key(1), kernel.shape)
    return module


# ---- What the field is


def by_loops(image, response, temperature, window):
    """One example (h, w, c) warped by the responses (h, w, g) alone, by plain loops and SciPy."""
    h, w, channels = image.shape
    groups = response.shape[-1]
    residual = np.zeros((h, w, groups, window[0] * window[1]))
    probabilities = loops.candidate_probabilities(residual, response, window, temperature, "mask")
    displacement = loops.expected_displacement(probabilities, window)
    y, x = np.mgrid[:h, :w]
    warped = np.zeros(image.shape)
    for channel in range(channels):
        field = displacement[:, :, channel * groups // channels]
        places = [y + field[..., 1], x + field[..., 0]]
        warped[..., channel] = map_coordinates(image[..., channel], places, order=1, mode="grid-constant")
    return warped, displacement, probabilities


@pytest.mark.slow
@pytest.mark.parametrize(("channels", "groups"), [(8, 4), (8, 1), (6, 6)])
def test_an_untrained_field_is_that_of_the_responses(channels, groups):
    x = features((2, 7, 6, channels))
    v, out = run(transformer(channels, groups), x)
    for image, warped, field, coords, probable in zip(
        np.asarray(x, np.float64), v, out["displacement"], out["coords"], out["probabilities"], strict=True
    ):
        grouped = image.reshape(7, 6, groups, -1)
        expected, displacement, probabilities = by_loops(image, grouped.max(-1) + grouped.mean(-1), 1.0, (3, 5))
        assert_allclose(probable, probabilities, atol=1e-6)
        assert_allclose(field, displacement, atol=1e-5)
        assert_allclose(warped, expected, atol=1e-5)
        y, x_ = np.mgrid[:7, :6]
        assert_allclose(coords, displacement + np.stack([x_, y], -1)[:, :, None], atol=1e-5)


def test_consecutive_channels_share_a_field():
    module = stirred(transformer())
    x = features()
    v, out = run(module, jnp.broadcast_to(jnp.arange(6.0)[None, None, :, None], x.shape) + 0 * x)
    _, of_noise = run(module, x)
    assert of_noise["displacement"].shape == (2, 7, 6, 4, 2)
    assert v.shape == x.shape
    # A ramp to the right tells where it was read.
    inside = np.asarray(out["coords"][..., 0])
    assert_allclose(v, np.repeat(inside, 2, axis=-1), atol=1e-4)


def test_the_centre_bias_starts_nearer_the_identity():
    far, near = (
        float(np.abs(run(transformer(centre_bias=bias), features())[1]["displacement"]).max()) for bias in (0.0, 30.0)
    )
    assert far > 0.5
    assert near < 1e-3


def test_direct_regression_starts_at_the_identity_and_has_no_probabilities():
    x = features()
    v, out = run(transformer(probabilistic=False, centre_bias=3.0), x)
    assert set(out) == {"displacement", "coords"}
    assert_allclose(v, x, atol=1e-6)
    assert np.abs(run(stirred(transformer(probabilistic=False)), x)[1]["displacement"]).max() > 0.1


# ---- Which groups hear of which


def fields_change_with_group(module, group):
    """Which groups' fields change when one group's features are turned upside down."""
    x = features()
    channels = slice(2 * group, 2 * group + 2)
    module.eval()
    before, after = (
        run(module, x)[1]["displacement"],
        run(module, x.at[..., channels].set(x[:, ::-1, :, channels]))[1]["displacement"],
    )
    return {number for number in range(4) if np.abs(before - after)[..., number, :].max() > 1e-6}


@pytest.mark.slow
def test_groups_hear_of_each_other_by_the_mixes_only():
    assert fields_change_with_group(stirred(transformer()), 1) == {0, 1, 2, 3}
    assert fields_change_with_group(stirred(transformer(mix_channels=False)), 1) == {1}


@pytest.mark.slow
def test_responses_scale_the_softmax_and_not_the_estimator():
    # Raw in Eq. 2, normalised before the estimator: doubled features leave the residual as it was.
    module = stirred(transformer(temperature=10.0))
    module.eval()
    p, q = (run(module, scale * features())[1]["probabilities"] for scale in (1.0, 2.0))
    response = np.asarray(features()).reshape(2, 7, 6, 4, 2)
    response = response.max(-1) + response.mean(-1)
    # Between two candidates of an interior position: the log-odds change by the difference of their responses / 10.
    change = np.log(q[:, 3, 3, :, 8] / q[:, 3, 3, :, 7]) - np.log(p[:, 3, 3, :, 8] / p[:, 3, 3, :, 7])
    assert_allclose(change, (response[:, 3, 4] - response[:, 3, 3]) / 10, atol=1e-3)


# ---- Shapes, sizes, parameters


@pytest.mark.parametrize("shape", [(1, 7, 7, 64), (2, 1, 1, 64), (1, 5, 9, 64)])
@pytest.mark.slow
def test_any_map_size(shape):
    v, out = run(VolumetricTransformer(64, rngs=nnx.Rngs(0)), features(shape))
    assert v.shape == shape
    assert out["probabilities"].shape == (*shape[:3], 32, 121)
    assert_allclose(out["probabilities"].sum(-1), 1, atol=1e-5)


@pytest.mark.slow
def test_an_empty_batch():
    v, out = run(transformer(), features((0, 7, 6, 8)))
    assert v.shape == (0, 7, 6, 8)
    assert out["coords"].shape == (0, 7, 6, 4, 2)


@pytest.mark.slow
def test_parameters_are_those_of_the_design():
    state = nnx.to_pure_dict(nnx.state(VolumetricTransformer(64, rngs=nnx.Rngs(0)), nnx.Param))
    assert [state["encoder"][i]["mix"]["kernel"].shape for i in range(4)] == [(32, 24), (24, 16), (16, 12), (12, 8)]
    assert [state["decoder"][i]["mix"]["kernel"].shape for i in range(4)] == [(8, 12), (12, 16), (16, 24), (24, 32)]
    assert [state["encoder"][i]["conv"]["kernel"].shape[2:] for i in range(4)] == [
        (2, 16),
        (16, 32),
        (32, 64),
        (64, 64),
    ]
    assert state["head"]["kernel"].shape == (3, 3, 16, 121)
    assert not np.any(state["head"]["kernel"])
    assert not np.any(state["head"]["bias"])


@pytest.mark.slow
def test_few_groups_are_squeezed_to_one_at_least():
    module = VolumetricTransformer(4, 1, rngs=nnx.Rngs(0))
    assert all(level.mix.kernel.shape == (1, 1) for level in module.encoder)


@pytest.mark.slow
def test_features_of_bfloat16_are_read_at_float32_coordinates():
    x = features().astype(jnp.bfloat16)
    v, out = run(transformer(dtype=jnp.bfloat16), x)
    assert v.dtype == jnp.bfloat16
    assert {value.dtype for value in out.values()} == {jnp.dtype("float32")}


# ---- Training, inside a network of the user's own


class Network(nnx.Module):
    """A user's own, with a VTN at two depths."""

    def __init__(self, *, rngs):
        self.conv1 = nnx.Conv(2, 6, (3, 3), rngs=rngs)
        self.first = VolumetricTransformer(6, 3, **SMALL, rngs=rngs)
        self.conv2 = nnx.Conv(6, 8, (3, 3), strides=2, rngs=rngs)
        self.second = VolumetricTransformer(8, 4, **SMALL, rngs=rngs)
        self.classifier = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, image):
        x, first = self.first(nnx.relu(self.conv1(image)))
        x, second = self.second(nnx.relu(self.conv2(x)))
        return self.classifier((x**2).mean((1, 2))), {"first": first, "second": second}


def make_step(network):
    graphdef, params, rest = nnx.split(network, nnx.Param, ...)

    def step(params, rest, image):
        def loss(params):
            model = nnx.merge(graphdef, params, rest, copy=True)
            logits, out = model(image)
            return jnp.mean(jax.nn.log_softmax(logits)[:, 0]), (logits, out, nnx.state(model, nnx.Not(nnx.Param)))

        (_, (logits, out, rest_after)), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        return gradients, rest_after, logits, out

    return step, (params, rest)


def new_network():
    network = Network(rngs=nnx.Rngs(0))
    stirred(network.first)
    stirred(network.second)
    return network


@functools.cache
def trained(graph=True):
    """State before a step, and what the step gives, by whether NNX is in graph mode."""
    with nnx.set_graph_mode(graph), nnx.set_graph_updates(graph):
        step, state = make_step(new_network())
        return state, jax.jit(step)(*state, features((8, 8, 9, 2)))


@pytest.mark.slow
def test_every_parameter_of_a_vtn_learns_at_two_depths():
    (_, rest), (gradients, rest_after, _, _) = trained()
    for depth in ("first", "second"):
        for path, gradient in jax.tree_util.tree_leaves_with_path(gradients[depth]):
            assert np.abs(gradient).max() > 1e-9, path
        before, after = (state[depth]["encoder"][0]["norm"]["mean"][...] for state in (rest, rest_after))
        assert np.abs(after - before).max() > 1e-6


@pytest.mark.slow
def test_both_modes_of_nnx_compute_the_same():
    np.testing.assert_array_equal(trained()[1][2], trained(graph=False)[1][2])


@pytest.mark.parametrize("mesh_name", ["auto_mesh", "explicit_mesh"])
@pytest.mark.slow
def test_a_batch_over_eight_devices_trains_as_on_one(mesh_name, request):
    mesh = request.getfixturevalue(mesh_name)
    step, state = make_step(new_network())
    with jax.set_mesh(mesh):
        whole = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
        batch = jax.device_put(features((8, 8, 9, 2)), NamedSharding(mesh, PartitionSpec("data")))
        spread = jax.jit(step)(*whole, batch)
    assert spread[3]["first"]["coords"].sharding.spec[0] == "data"
    for one, many in zip(jax.tree.leaves(trained()[1]), jax.tree.leaves(spread), strict=True):
        assert_allclose(one, many, rtol=2e-5, atol=2e-5)


@pytest.mark.slow
def test_linen_users_train_it_through_the_bridge():
    model = nnx.bridge.ToLinen(VolumetricTransformer, args=(8, 4), kwargs=SMALL)
    variables = jax.jit(model.init)(jax.random.key(0), features())

    def loss(params):
        (v, out), changed = model.apply({**variables, "params": params}, features(), mutable=["batch_stats"])
        return (v**2).mean(), (out, changed)

    gradients, (out, changed) = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    assert out["coords"].shape == (2, 7, 6, 4, 2)
    assert np.abs(gradients["head"]["kernel"]).max() > 1e-7
    assert jax.tree.structure(changed["batch_stats"]) == jax.tree.structure(variables["batch_stats"])


@pytest.mark.slow
def test_candidates_that_are_computed_again_have_the_same_gradient(monkeypatch):
    module = stirred(transformer())
    graphdef, state = nnx.split(module)

    def gradient():
        loss = lambda state: (nnx.merge(graphdef, state, copy=True)(features())[0] ** 2).sum()  # noqa: E731
        return jax.jit(jax.grad(loss, allow_int=True))(state)

    kept = gradient()
    monkeypatch.setattr("vtnjax.nn.volumetric_transformer._KEPT", 0)
    again = gradient()
    for one, other in zip(jax.tree.leaves(kept), jax.tree.leaves(again), strict=True):
        assert_allclose(one, other, rtol=1e-5, atol=1e-4)


def test_the_last_convolution_is_filled_up_and_gives_the_candidates_alone():
    head, x = stirred(transformer()).head, features((2, 7, 6, 3))
    head.bias[...] = jnp.arange(15.0)
    assert "tensor<3x3x3x16xf32>" in jax.jit(head).lower(x).as_text()
    kernel, padded = np.asarray(head.kernel[...]), np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected = sum(padded[:, i : i + 7, j : j + 6] @ kernel[i, j] for i in range(3) for j in range(3))
    assert_allclose(head(x), expected + np.arange(15.0), atol=1e-5)


# ---- Bad input


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"groups": 3}, "groups must be a whole number that divides the 8 channels, not 3"),
        ({"groups": 0}, "groups must be a whole number that divides the 8 channels, not 0"),
        ({"window": (4, 3)}, r"window must be .* not \(4, 3\)"),
        ({"temperature": -1.0}, "temperature must be above 0, not -1.0"),
        ({"border": "masks"}, "did you mean 'mask'"),
        ({"squeezed": None}, "squeezed must be 2 numbers of groups, .* not None, which has 4"),
        ({"squeezed": (2,)}, r"squeezed must be 2 numbers of groups.* not \(2,\)"),
        ({"squeezed": (2, 0)}, r"not \(2, 0\)"),
    ],
)
def test_bad_arguments_are_named_in_a_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        transformer(**options)


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("shape", [(7, 6, 8), (2, 7, 6, 9)])
def test_bad_features_are_named_in_a_sentence(shape):
    with pytest.raises(ValueError, match=r"features must have the shape \(n, h, w, 8\)"):
        transformer()(features(shape))
