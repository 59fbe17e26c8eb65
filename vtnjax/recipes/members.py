"""Other trained runs, for predictions averaged over several."""

from collections.abc import Callable, Sequence

from etils import epath
from flax import nnx
from jax.sharding import Mesh

from vtnjax import data, evaluate
from vtnjax.models import RetrievalNet
from vtnjax.recipes.inputs import make_as_input
from vtnjax.recipes.trained import find_trained, read_trained, restore_trained
from vtnjax.train.mesh import replicated
from vtnjax.train.state import TrainState, merged
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
    return [load_member(workdir, source, mesh, say) for workdir in workdirs]


def load_member(workdir: epath.PathLike, source: data.Source, mesh: Mesh, say: Callable[[str], None]) -> Member:
    """The latest checkpoint of a run: its network's structure, its state, and what makes its input of a set's images.

    Raises:
        ValueError: in the cases of `load_members`.
    """
    workdir = find_trained(workdir)
    check_classes(workdir, source.classes)
    known, shape = read_trained(workdir), source[0]["image"].shape
    trained = restore_trained(workdir, known, shape, len(source.classes), replicated(mesh), say)
    return trained.graphdef, trained.state, make_as_input(trained.read, trained.config.dtype)


def averaged(members: Sequence[Member], *, flip: bool) -> evaluate.Averaged:
    """One network of several runs, in evaluation mode, which takes images as the data hold them.

    Raises:
        ValueError: if one of them names no classes.
    """
    networks = [merged(graphdef, state) for graphdef, state, _ in members]
    if any(isinstance(network, RetrievalNet) for network in networks):
        raise ValueError("--flip and --also must be given for networks that name classes, not for descriptors")
    return evaluate.Averaged(networks, [as_input for *_, as_input in members], flip=flip)
