"""Training: config, state, step, optimiser, loop, checkpoints, metrics and the device mesh."""

from vtnjax._checks import needing

with needing("train", room=__name__):
    from vtnjax.train.build import (
        abstract_batch,
        build_batches,
        build_consistency,
        build_distillation,
        build_input,
        build_picture,
        build_prepare,
        build_sources,
        distort_source,
        to_float,
    )
    from vtnjax.train.check_data import check_data, show_left_out
    from vtnjax.train.checkpoint import Checkpoints
    from vtnjax.train.command import forget_flags, parse_flags, sentences
    from vtnjax.train.config import check_config, choose, read_config
    from vtnjax.train.ending import StoppedError, ended_together
    from vtnjax.train.figure import make_look, save_figure
    from vtnjax.train.lock import Lock, LockedError
    from vtnjax.train.loop import DivergedError, Loop
    from vtnjax.train.members import evaluate_together, load_members, load_run
    from vtnjax.train.memory import keep_freed_memory
    from vtnjax.train.mesh import check_batch_size, connect_processes, data_mesh, replicated, split, to_devices
    from vtnjax.train.metrics import Console, MetricsFile, describe
    from vtnjax.train.networks import build_model
    from vtnjax.train.optimiser import learning_rate_schedule, make_optimiser
    from vtnjax.train.state import TrainState, create_state, parameter_table
    from vtnjax.train.step import Consistency, Distillation, make_train_step
    from vtnjax.train.store import find_workdir
    from vtnjax.train.together import train_together
    from vtnjax.train.workdir import default_workdir, open_workdir, own_data, remembered_divergence

__all__ = [
    "Checkpoints",
    "Consistency",
    "Console",
    "Distillation",
    "DivergedError",
    "Lock",
    "LockedError",
    "Loop",
    "MetricsFile",
    "StoppedError",
    "TrainState",
    "abstract_batch",
    "build_batches",
    "build_consistency",
    "build_distillation",
    "build_input",
    "build_model",
    "build_picture",
    "build_prepare",
    "build_sources",
    "check_batch_size",
    "check_config",
    "check_data",
    "choose",
    "connect_processes",
    "create_state",
    "data_mesh",
    "default_workdir",
    "describe",
    "distort_source",
    "ended_together",
    "evaluate_together",
    "find_workdir",
    "forget_flags",
    "keep_freed_memory",
    "learning_rate_schedule",
    "load_members",
    "load_run",
    "make_look",
    "make_optimiser",
    "make_train_step",
    "open_workdir",
    "own_data",
    "parameter_table",
    "parse_flags",
    "read_config",
    "remembered_divergence",
    "replicated",
    "save_figure",
    "sentences",
    "show_left_out",
    "split",
    "to_devices",
    "to_float",
    "train_together",
]
