"""Other trained runs, for predictions averaged over several."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from etils import epath
from flax import nnx
from jax.sharding import Mesh
from ml_collections import ConfigDict

from vtnjax import data, evaluate
from vtnjax.recipes.inputs import make_as_input
from vtnjax.recipes.networks import build_network, localiser_rates
from vtnjax.recipes.recipe import read_input
from vtnjax.train.checkpoint import read_state
from vtnjax.train.config import Config, read_config
from vtnjax.train.mesh import replicated
from vtnjax.train.optimiser import make_optimiser
from vtnjax.train.state import TrainState, create_state, merged
from vtnjax.train.store import find_workdir
from vtnjax.train.workdir import check_classes

Member = tuple[nnx.GraphDef, TrainState, Callable]


def load_members(workdirs: Sequence[str], source: data.Source, mesh: Mesh, say: Callable[[str], None]) -> list[Member]:
    """The latest checkpoints of other runs, whose configs may differ, for the images and classes of this one's set.

    Args:
        workdirs: the workdirs of the other runs.
        source: the training set of this run.
        mesh: the mesh of this run.
        say: the function that shows a line.

    Returns:
        For each run the network's structure, its state, and the function from the set's images to its input.

    Raises:
        ValueError: if a folder holds no trained run, or one for other images or classes.
    """
    return [load_run(workdir, source, mesh, say) for workdir in workdirs]


def load_run(workdir: epath.PathLike, source: data.Source, mesh: Mesh, say: Callable[[str], None]) -> Member:
    """The latest checkpoint of a run: its network's structure, its state, and what makes its input of a set's images.

    Raises:
        ValueError: in the cases of `load_members`.
    """
    workdir, state = find_workdir(workdir), None
    if (workdir / "config.json").is_file() and (workdir / "checkpoints").is_dir():
        config, history = read_trained(workdir)
        check_classes(workdir, source.classes)
        read = read_input(config)
        shape = read.read(source[0]["image"].shape)
        model = build_network(config, shape, len(source.classes), seed=config.seed, pretrained=False)
        optimiser = make_optimiser(config, localiser_rates(config), history=history)
        graphdef, state = create_state(model, optimiser, config.seed)
        state = read_state(workdir, jax.device_put(state, replicated(mesh)), say)
        if state is not None:
            return graphdef, state, make_as_input(read, config.dtype)
    raise ValueError(f"{workdir} must be the workdir of a trained run, but it has no checkpoints")


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
    return ConfigDict(values), history


def averaged(members: Sequence[Member], *, flip: bool) -> evaluate.Averaged:
    """One network of several runs, in evaluation mode, which takes images as the data hold them."""
    networks = [merged(graphdef, state) for graphdef, state, _ in members]
    return evaluate.Averaged(networks, [as_input for *_, as_input in members], flip=flip)
