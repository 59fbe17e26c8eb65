"""Training: config, state, step, optimiser, loop, checkpoints, metrics and the device mesh."""

from vtnjax._checks import needing

with needing("train", room=__name__):
    from vtnjax.train.checkpoint import Checkpoints, latest_step, read_state
    from vtnjax.train.command import forget_flags, parse_flags, sentences
    from vtnjax.train.compiled import keep_compiled
    from vtnjax.train.config import check_config, choose, read_config
    from vtnjax.train.ending import StoppedError, ended_together
    from vtnjax.train.fit import Batches, Job, fit
    from vtnjax.train.lock import Lock, LockedError
    from vtnjax.train.loop import DivergedError, Loop, Renewed
    from vtnjax.train.memory import keep_freed_memory
    from vtnjax.train.mesh import (
        check_batch_size,
        connect_processes,
        data_mesh,
        own_share,
        replicated,
        split,
        to_devices,
    )
    from vtnjax.train.metrics import Console, MetricsFile, describe
    from vtnjax.train.optimiser import Rates, learning_rate_schedule, make_optimiser
    from vtnjax.train.state import TrainState, create_state, merged, parameter_table
    from vtnjax.train.step import Batch, Objective, Prepare, Where, batch_norms, make_train_step
    from vtnjax.train.store import find_workdir
    from vtnjax.train.workdir import default_workdir, open_workdir, own_data, remembered_divergence

__all__ = [
    "Batch",
    "Batches",
    "Checkpoints",
    "Console",
    "DivergedError",
    "Job",
    "Lock",
    "LockedError",
    "Loop",
    "MetricsFile",
    "Objective",
    "Prepare",
    "Rates",
    "Renewed",
    "StoppedError",
    "TrainState",
    "Where",
    "batch_norms",
    "check_batch_size",
    "check_config",
    "choose",
    "connect_processes",
    "create_state",
    "data_mesh",
    "default_workdir",
    "describe",
    "ended_together",
    "find_workdir",
    "fit",
    "forget_flags",
    "keep_compiled",
    "keep_freed_memory",
    "latest_step",
    "learning_rate_schedule",
    "make_optimiser",
    "make_train_step",
    "merged",
    "open_workdir",
    "own_data",
    "own_share",
    "parameter_table",
    "parse_flags",
    "read_config",
    "read_state",
    "remembered_divergence",
    "replicated",
    "sentences",
    "split",
    "to_devices",
]
