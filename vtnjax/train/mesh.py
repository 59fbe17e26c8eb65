"""One mesh over all devices of all processes: the state is replicated, the batch is split."""

from collections.abc import Iterator
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def data_mesh() -> Mesh:
    """A mesh with one axis, "data", over every device there is."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """The first axis split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))


def check_batch_size(batch_size: int) -> None:
    """Raise a ValueError unless the global batch splits evenly over the devices."""
    if batch_size % jax.device_count():
        raise ValueError(
            f"config.batch_size must divide evenly over the {jax.device_count()} devices, but it is {batch_size}"
        )


def to_devices(batches: Iterator[Any], mesh: Mesh) -> Iterator[Any]:
    """Each process's share of a batch to one global array on the mesh."""
    sharding = split(mesh)
    for batch in batches:
        yield jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)
