"""Train a network, or go on with a run that was stopped.

    python train.py --config configs/digits_stn.py
    python train.py --config configs/digits_stn.py:model=fcn --workdir runs/fcn --config.learning_rate=0.02

The same command goes on where a stopped run left off.
"""

import sys
import time
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from vtnjax import evaluate, recipes, train
from vtnjax.data import eval_batches

train.forget_flags()
CONFIG = config_flags.DEFINE_config_file("config", lock_config=True)
flags.mark_flag_as_required("config")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; by default runs/CONFIG[-variant].")
EVAL_ONLY = flags.DEFINE_bool("eval_only", False, "Only print the test figures of the latest checkpoint.")
FLIP = flags.DEFINE_bool("flip", False, "With --eval_only: average with the predictions for the mirrored images.")
ALSO = flags.DEFINE_multi_string("also", [], "With --eval_only: average with this other run's workdir; may come again.")
CHECK_DATA = flags.DEFINE_bool("check_data", False, "Only read every picture once and list what cannot be read.")
DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "This is one process of several, each started by the same command. TPU pods, Slurm and Open MPI say which it is; "
    "elsewhere set JAX_COORDINATOR_ADDRESS=HOST:PORT of the first, JAX_NUM_PROCESSES and JAX_PROCESS_ID from 0.",
)


def run() -> None:
    """The whole of a run, read from top to bottom."""
    config = CONFIG.value
    recipes.check_config(config)
    train.keep_freed_memory()

    # ---- Processes, devices, workdir
    if DISTRIBUTED.value:
        train.connect_processes()
    first = jax.process_index() == 0
    say = (lambda text: print(text, flush=True)) if first else (lambda text: None)
    if CHECK_DATA.value:
        sys.exit(1 if recipes.check_data(config, say) else 0)
    mesh = train.data_mesh()
    train.check_batch_size(config.batch_size)
    workdir = train.find_workdir(
        WORKDIR.value or train.default_workdir(config_flags.get_config_filename(flags.FLAGS["config"]))
    )
    if (FLIP.value or ALSO.value) and not EVAL_ONLY.value:
        raise ValueError("--flip and --also are for --eval_only")
    if EVAL_ONLY.value and not (workdir / "checkpoints").is_dir():
        raise ValueError(f"--eval_only needs a trained run, but {workdir} has no checkpoints")
    writes = first and not EVAL_ONLY.value
    lock = train.Lock(workdir, say=say) if writes else None
    history = train.open_workdir(workdir, config, write=writes)
    say(f"{jax.device_count()} devices: {', '.join(sorted({d.device_kind for d in jax.devices()}))}; workdir {workdir}")

    # ---- Data
    train_set, test_set = recipes.build_sources(config)
    train.own_data(workdir, train_set, test_set, write=writes)
    share: dict[str, Any] = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    batches = recipes.build_batches(config, train_set, **share)
    say(f"{len(train_set):,} training and {len(test_set):,} test images in {len(train_set.classes)} classes")

    # ---- Model and state; a checkpoint has what the config's pretrained weights became
    checkpoints = train.Checkpoints(workdir, read_only=EVAL_ONLY.value, say=say)
    model = recipes.build_model(config, train_set, pretrained=checkpoints.latest() is None)
    optimiser = train.make_optimiser(config, recipes.build_rates(config, model), history=history)
    graphdef, state = train.create_state(model, optimiser, config.seed)
    state = jax.device_put(state, train.replicated(mesh))
    say(train.parameter_table(state.params))

    # ---- Where an earlier run left off
    metrics = train.MetricsFile(workdir, active=first, tensorboard=config.tensorboard)
    restored, start, recent = checkpoints.restore(state), 0, []
    if restored is not None:
        state, beside = restored
        start, recent = int(state.step), beside["recent"]
        batches.set_state(beside["data"])
    elif EVAL_ONLY.value:
        raise ValueError(f"--eval_only needs a trained run, but {workdir} has no checkpoints")

    # ---- Evaluation
    evaluation, as_input = evaluate.Classification(), recipes.build_input(config)

    def stored_test():
        return train.to_devices(eval_batches(test_set, batch_size=config.batch_size, **share), mesh)

    def test():
        return ({**batch, "image": as_input(batch["image"])} for batch in stored_test())

    def evaluate_state(state):
        with jax.transfer_guard("allow"):
            return evaluation(train.merged(graphdef, state), test)

    if EVAL_ONLY.value:
        members = [(graphdef, state, as_input), *recipes.load_members(ALSO.value, train_set, mesh, say)]
        figures = evaluation(recipes.averaged(members, flip=FLIP.value), stored_test)
        say(f"step {start}: {train.describe({f'test/{name}': value for name, value in figures.items()})}")
        return
    picture = workdir / "figures" / "test.png"
    if start == config.steps and picture.exists() and (figures := metrics.final(start)):
        say(f"this run is finished: step {start}, {train.describe(figures)}")
        return
    if start:
        say(f"resuming from step {start}")
    metrics.cut_back(start)

    # ---- The step, compiled before the loop
    objective = recipes.build_objective(config)
    step = train.make_train_step(graphdef, optimiser, recipes.build_prepare(config), objective)
    step = jax.jit(step, donate_argnums=0)
    device_batches = train.to_devices(batches, mesh)
    if start < config.steps:
        began = time.perf_counter()
        step = step.lower(state, recipes.abstract_batch(config, train_set, mesh)).compile()
        say(f"compiled the training step in {time.perf_counter() - began:.1f} s")

    # ---- The loop
    console = train.Console(config.steps, start, active=first)
    schedule = train.learning_rate_schedule(config)
    loop = train.Loop(config, step, evaluate_state, schedule, checkpoints, metrics, console, lock)
    try:
        with train.remembered_divergence(workdir, write=first):
            state = loop.run(state, start, device_batches, batches.get_state, recent)
    finally:
        console.close()
        checkpoints.close()

    # ---- What is left behind
    if first:
        recipes.save_figure(config, graphdef, state, test_set, picture)
        say(f"{picture}: the first test images and what the network made of them")
        say(f"finished: step {config.steps}, {train.describe(metrics.final(config.steps) or {})}")


def main(_: list[str]) -> None:
    """Run, and end what went wrong with a sentence instead of a traceback."""
    logging.set_verbosity(logging.FATAL)  # Orbax tells of every file, and of an error by pages before raising it
    recipes.show_left_out()
    with train.sentences(), train.ended_together():
        run()


if __name__ == "__main__":
    app.run(main, flags_parser=train.parse_flags)
