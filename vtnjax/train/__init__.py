"""Training: config, state, step, optimiser, loop, checkpoints, metrics and the device mesh."""

from vtnjax.train.build import build_model, build_prepare, build_sources, distort_source, to_float
from vtnjax.train.checkpoint import Checkpoints
from vtnjax.train.config import check_config, choose
from vtnjax.train.figure import make_look, save_figure
from vtnjax.train.loop import Diverged, Loop, Stopped
from vtnjax.train.mesh import check_batch_size, data_mesh, replicated, split, to_devices
from vtnjax.train.metrics import Console, MetricsFile, describe
from vtnjax.train.optimiser import learning_rate_schedule, make_optimiser
from vtnjax.train.state import TrainState, create_state, parameter_table
from vtnjax.train.step import make_train_step
from vtnjax.train.workdir import default_workdir, open_workdir

__all__ = [
    "Checkpoints",
    "Console",
    "Diverged",
    "Loop",
    "MetricsFile",
    "Stopped",
    "TrainState",
    "build_model",
    "build_prepare",
    "build_sources",
    "check_batch_size",
    "check_config",
    "choose",
    "create_state",
    "data_mesh",
    "default_workdir",
    "describe",
    "distort_source",
    "learning_rate_schedule",
    "make_look",
    "make_optimiser",
    "make_train_step",
    "open_workdir",
    "parameter_table",
    "replicated",
    "save_figure",
    "split",
    "to_devices",
    "to_float",
]
