"""What a run left: its config, its network and a checkpoint of it; nothing of its data is read."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from etils import epath
from flax import nnx
from jax.sharding import Sharding
from ml_collections import ConfigDict

from vtnjax.recipes.inputs import Input
from vtnjax.recipes.networks import build_network, parameter_rates
from vtnjax.recipes.recipe import read_input
from vtnjax.train.checkpoint import read_state
from vtnjax.train.config import LATER, Config, read_config
from vtnjax.train.optimiser import make_optimiser
from vtnjax.train.state import TrainState, create_state
from vtnjax.train.store import find_workdir


class Trained(NamedTuple):
    """A run's config, what its network reads, and the network's structure and state."""

    config: Config
    read: Input
    graphdef: nnx.GraphDef
    state: TrainState


def find_trained(workdir: epath.PathLike) -> epath.Path:
    """The path of the workdir of a trained run.

    Raises:
        ValueError: if it has no config or no checkpoints.
    """
    workdir = find_workdir(workdir)
    if (workdir / "config.json").is_file() and (workdir / "checkpoints").is_dir():
        return workdir
    raise ValueError(f"{workdir} must be the workdir of a trained run, but it has no checkpoints")


def restore_trained(
    workdir: epath.Path,
    known: tuple[Config, list[dict[str, Any]]],
    image: Sequence[int],
    classes: int,
    sharding: Sharding,
    say: Callable[[str], None],
    *,
    step: int | str = "latest",
) -> Trained:
    """A checkpoint of a run.

    Args:
        workdir: the path that `find_trained` returned.
        known: the config and the history that `read_trained` returned.
        image: the shape (h, w, c) of an image of the run's data.
        classes: the number of classes of the data.
        sharding: the sharding of the state.
        say: the function that shows a line.
        step: "latest", "best" or the number of a step; see `Checkpoints.restore`.

    Raises:
        ValueError: if there is no such checkpoint, or it is of another network.
    """
    config, history = known
    if not isinstance(config.seed, int):
        raise ValueError(f"{workdir} must hold one run, but it holds the seeds {list(config.seed)} trained together")
    read = read_input(config)
    model = build_network(config, read.read(image), classes, seed=config.seed, pretrained=False)
    optimiser = make_optimiser(config, parameter_rates(config), history=history)
    graphdef, state = create_state(model, optimiser, config.seed, average=config.ema > 0)
    state = read_state(workdir, jax.device_put(state, sharding), say, step=step)
    if state is None:
        raise ValueError(f"{workdir} must be the workdir of a trained run, but it has no checkpoints")
    return Trained(config, read, graphdef, state)


def read_trained(workdir: epath.PathLike) -> tuple[Config, list[dict[str, Any]]]:
    """The config and the history of a run.

    Raises:
        ValueError: if there is none, or it is damaged, or older than the names that a config has now.
        OSError: if it cannot be read.
    """
    if not (epath.Path(workdir) / "config.json").is_file():
        raise ValueError(f"{workdir} must be the workdir of a run, but it has no config.json")
    values, history = read_config(workdir)
    if "network" not in values:
        raise ValueError(
            f"{epath.Path(workdir) / 'config.json'} must say what its network is (config.network), but it is of an "
            "older version: train the run again, or use the version of vtnjax that made it"
        )
    return ConfigDict(LATER | values), history
