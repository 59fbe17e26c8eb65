"""One mesh over all devices of all processes: the state is replicated, the batch is split."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from vtnjax.train.ending import watch_others

_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")


def connect_processes() -> None:
    """Make this process one of several, before anything else is done with JAX. An error of one then ends all.

    TPU pods, Slurm, Open MPI and Kubernetes tell JAX all there is to know. Elsewhere the environment does:
    JAX_COORDINATOR_ADDRESS, HOST:PORT of the first process, JAX_NUM_PROCESSES, and JAX_PROCESS_ID, which counts from 0.

    Raises:
        ValueError: if neither does, or a variable is not a whole number.
    """
    address, *numbers = (os.environ.get(name) for name in _VARIABLES)
    if not any(numbers):
        try:
            jax.distributed.initialize()
        except ValueError as error:
            raise ValueError(f"--distributed found no cluster ({error}): set {', '.join(_VARIABLES)}") from None
        watch_others()
        return
    if address is None or not all(text and text.isdecimal() for text in numbers):
        given = ", ".join(f"{name}={os.environ.get(name)}" for name in _VARIABLES)
        raise ValueError(f"with --distributed the environment must hold an address and two whole numbers, not {given}")
    count, index = (int(text) for text in numbers if text)
    if index >= count:
        raise ValueError(f"JAX_PROCESS_ID must be below JAX_NUM_PROCESSES, {count}, not {index}")
    jax.distributed.initialize(address, count, index)
    watch_others()


def data_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh with one axis, "data", over the devices given, or over every one there is."""
    count = jax.device_count() if devices is None else len(devices)
    return jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """The first axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def own_share() -> dict[str, Any]:
    """Which of the processes this is, as the batches of `vtnjax.data` take it."""
    return {"process_index": jax.process_index(), "process_count": jax.process_count()}


def by_the_first(holds: bool) -> bool:
    """Whether something holds in the first process, whose figures and checkpoints are the run's, in every process."""
    return bool(multihost_utils.broadcast_one_to_all(np.array(holds)))


def check_batch_size(batch_size: int) -> None:
    """Raise a ValueError unless the global batch splits evenly over the devices."""
    if batch_size % jax.device_count():
        raise ValueError(
            f"config.batch_size must divide evenly over the {jax.device_count()} devices, not {batch_size}"
        )


def check_divides(spec: Mapping[str, jax.ShapeDtypeStruct], mesh: Mesh) -> None:
    """Raise a ValueError unless each array of a batch splits evenly over the devices of a mesh."""
    for name, array in spec.items():
        if array.shape[0] % mesh.size:
            raise ValueError(
                f"{name} of a batch must divide evenly over the {mesh.size} devices, not {array.shape[0]} records"
            )


def to_devices(batches: Iterator[Any], mesh: Mesh) -> Iterator[Any]:
    """Each process's share of a batch to one global array on the mesh."""
    sharding = split(mesh)

    def put(batch):
        with jax.transfer_guard("allow"):  # with several processes JAX calls this transfer implicit
            return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)

    yield from map(put, batches)
