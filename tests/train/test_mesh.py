import jax
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType

from vtnjax import models
from vtnjax.recipes import CrossEntropy
from vtnjax.train import (
    check_batch_size,
    connect_processes,
    create_state,
    data_mesh,
    make_train_step,
    replicated,
    split,
    to_devices,
)
from vtnjax.train.mesh import check_divides


def test_the_mesh_has_every_device_on_one_axis():
    mesh = data_mesh()
    assert mesh.axis_names == ("data",)
    assert mesh.devices.tolist() == jax.devices()


def test_batches_are_split_over_the_devices_also_where_implicit_transfers_are_forbidden():
    batch = {"image": np.arange(16.0, dtype=np.float32).reshape(16, 1), "label": np.arange(16)}
    with jax.transfer_guard("disallow"):
        (put,) = to_devices(iter([batch]), data_mesh())
    assert put["image"].sharding.is_equivalent_to(split(data_mesh()), 2)
    assert [shard.data.shape for shard in put["image"].addressable_shards] == [(2, 1)] * 8
    np.testing.assert_array_equal(put["label"], batch["label"])


def test_a_batch_must_split_evenly():
    check_batch_size(16)
    with pytest.raises(ValueError, match="must divide evenly over the 8 devices, not 12"):
        check_batch_size(12)


def test_everything_in_a_batch_must_split_evenly():
    spec = {
        "image": jax.ShapeDtypeStruct((16, 4), "float32"),
        "triplet_image": jax.ShapeDtypeStruct((36, 4), "float32"),
    }
    check_divides({"image": spec["image"]}, data_mesh())
    check_divides(spec, data_mesh(jax.devices()[:4]))
    with pytest.raises(ValueError, match=r"^triplet_image of a batch must divide evenly over the 8 devices, not 36"):
        check_divides(spec, data_mesh())


@pytest.mark.slow
def test_eight_devices_take_the_same_step_as_one():
    optimiser = optax.sgd(0.1)
    rng = np.random.default_rng(0)
    model = models.STN("st_fcn", (6, 6, 1), classes=3, parameters=8000, rngs=nnx.Rngs(0))
    graphdef, state = create_state(model, optimiser, 0)
    step = make_train_step(
        graphdef, optimiser, lambda key, x: x + 0.1 * jax.random.normal(key, x.shape), CrossEntropy()
    )
    batches = [
        {"image": rng.uniform(size=(16, 6, 6, 1)).astype(np.float32), "label": rng.integers(0, 3, 16)} for _ in range(3)
    ]
    ends = []
    for mesh in (data_mesh(), jax.make_mesh((1,), ("data",), (AxisType.Auto,), devices=jax.devices()[:1])):
        train_step, current = jax.jit(step), jax.device_put(state, replicated(mesh))
        for batch in to_devices(iter(batches), mesh):
            current, _ = train_step(current, batch)
        ends.append(jax.device_get(jax.tree.leaves(current.params)))
    for several, one in zip(*ends, strict=True):
        np.testing.assert_allclose(several, one, rtol=0, atol=1e-6)
    assert any((a != np.asarray(b)).any() for a, b in zip(ends[0], jax.tree.leaves(state.params), strict=True))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "found no cluster .* set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID"),
        ({"JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "0"}, "not JAX_COORDINATOR_ADDRESS=None"),
        ({"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "two", "JAX_PROCESS_ID": "0"}, "NUM_PROCESSES=two"),
        ({"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "2"}, "JAX_PROCESS_ID=None"),
        (
            {"JAX_COORDINATOR_ADDRESS": "a:1", "JAX_NUM_PROCESSES": "2", "JAX_PROCESS_ID": "2"},
            "JAX_PROCESS_ID must be below JAX_NUM_PROCESSES, 2, not 2",
        ),
    ],
)
def test_processes_that_cannot_find_each_other_are_told_what_is_missing(monkeypatch, given, words):
    def initialize(*arguments):
        assert not arguments
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=words):
        connect_processes()


def test_the_environment_says_which_process_this_is(monkeypatch):
    called = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *arguments: called.append(arguments))
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "host:1234")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "4")
    monkeypatch.setenv("JAX_PROCESS_ID", "3")
    connect_processes()
    assert called == [("host:1234", 4, 3)]
