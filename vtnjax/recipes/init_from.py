"""Another run's weights, from which a run begins."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import nnx

from vtnjax.recipes.runs import load_run


def init_from(network: nnx.Module, workdir: epath.PathLike, say: Callable[[str], None]) -> None:
    """Give a network the weights of another run: all but those of a head for another number of classes, for instance.

    Parameters and statistics are found by their paths. Those that the other run lacks, or has in another shape, stay as
    they are, and are named.

    Args:
        network: the network that is about to be trained.
        workdir: the folder of the other run, of any config; its latest checkpoint is read.
        say: the function that shows a line.

    Raises:
        ValueError: if the folder holds no trained run, or nothing of it fits.
        OSError: if it cannot be read.
    """
    run = load_run(workdir)
    own, given = _variables(network), _variables(run.model)
    left = {path: why for path, variable in own.items() if (why := _unfit(variable, given.get(path)))}
    if len(left) == len(own):
        raise ValueError(
            f"--init_from must name a run whose network shares weights with this one, but {workdir} has none"
        )
    # By way of the host: an array that is bound to one device cannot be spread over those of other processes.
    taken = [
        (path, variable.replace(jnp.asarray(np.asarray(given[path].get_value()), variable.get_value().dtype)))
        for path, variable in own.items()
        if path not in left
    ]
    nnx.update(network, nnx.from_flat_state(taken))
    say(f"begins with {len(taken)} of the network's {len(own)} arrays from {workdir}, step {run.step:,}")
    for path, why in left.items():
        say(f"  not {'.'.join(map(str, path))}, {why}")


def _variables(network):
    """Parameters and statistics by their paths; random streams belong to a run."""
    return dict(nnx.to_flat_state(nnx.state(network, nnx.Not(nnx.RngState))))


def _unfit(own, given):
    """Why a variable cannot be that of another run; nothing if it can."""
    if given is None:
        return "which is not there"
    if own.get_value().shape == given.get_value().shape:
        return ""
    return f"which has the shape {given.get_value().shape} there and {own.get_value().shape} here"
