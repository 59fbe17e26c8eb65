"""Train a network, or go on with a run that was stopped.

    python train.py --config configs/digits_stn.py
    python train.py --config configs/digits_stn.py:model=fcn --workdir runs/fcn --config.learning_rate=0.02

The same command goes on where a stopped run left off. With --config, --help tells of the config's variants too.
"""

import contextlib
import functools
import os
import sys

import jax
from absl import app, flags, logging
from etils import epath
from ml_collections import config_flags

from vtnjax import cpu_flags, recipes, train

train.forget_flags()
CONFIG = config_flags.DEFINE_config_file("config", lock_config=True)
flags.mark_flag_as_required("config")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; by default runs/CONFIG[-variant].")
EVAL_ONLY = flags.DEFINE_bool("eval_only", False, "Only print the test figures of the latest checkpoint.")
FLIP = flags.DEFINE_bool("flip", False, "With --eval_only: average with the predictions for the mirrored images.")
ALSO = flags.DEFINE_multi_string("also", [], "With --eval_only: average with this other run's workdir; may come again.")
INIT_FROM = flags.DEFINE_string(
    "init_from", None, "Begin with the weights of the run in this folder, as far as they fit; what does not is named."
)
OVERRIDE = flags.DEFINE_list(
    "override",
    [],
    "Keys of the config that may differ from the run's, which then goes on with the new values: steps,...",
)
CHECK_DATA = flags.DEFINE_bool("check_data", False, "Only read every picture once and list what cannot be read.")
KEEP_COMPILED = flags.DEFINE_bool(
    "keep_compiled",
    True,
    "Keep compiled programs in the user's cache (~/.cache/vtnjax), so that a second start is quick.",
)
DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "This is one process of several, each started by the same command. TPU pods, Slurm and Open MPI say which it is; "
    "elsewhere set JAX_COORDINATOR_ADDRESS=HOST:PORT of the first, JAX_NUM_PROCESSES and JAX_PROCESS_ID from 0.",
)
NOT_TRAINED = "--workdir must be that of a trained run with --eval_only, but {} has no checkpoints"


def find_workdir() -> epath.Path:
    """The folder that the flags name; with --eval_only one that a run has left something in."""
    if (FLIP.value or ALSO.value) and not EVAL_ONLY.value:
        raise ValueError("--flip and --also must come with --eval_only")
    if EVAL_ONLY.value and (INIT_FROM.value or OVERRIDE.value):
        raise ValueError("--init_from and --override must come without --eval_only, which trains nothing")
    path = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = train.find_workdir(WORKDIR.value or train.default_workdir(path))
    if EVAL_ONLY.value and not (workdir / "checkpoints").is_dir():
        raise ValueError(NOT_TRAINED.format(workdir))
    return workdir


def run(held: contextlib.ExitStack) -> None:
    """The whole of a run, read from top to bottom; what is held is let go when it ends."""
    config = CONFIG.value
    recipes.check_config(config)
    settle()

    # ---- Processes, devices, workdir
    if DISTRIBUTED.value:
        train.connect_processes()
    first = jax.process_index() == 0
    say = (lambda text: print(text, flush=True)) if first else (lambda text: None)
    if CHECK_DATA.value:
        sys.exit(1 if recipes.check_data(config, say) else 0)
    mesh, share = train.data_mesh(), train.own_share()
    train.check_batch_size(config.batch_size)
    workdir = find_workdir()
    writes = first and not EVAL_ONLY.value
    lock = held.enter_context(train.Lock(workdir, say=say)) if writes else None
    history = train.open_workdir(
        workdir, config, write=writes, trains=not EVAL_ONLY.value, override=OVERRIDE.value, init_from=INIT_FROM.value
    )
    say(f"{jax.device_count()} devices: {', '.join(sorted({d.device_kind for d in jax.devices()}))}; workdir {workdir}")

    # ---- Data, network, state; a checkpoint has what the config's pretrained weights became
    recipe = recipes.read_recipe(config)
    train.own_data(workdir, recipe.train, recipe.test, write=writes)
    say(f"{len(recipe.train):,} training and {len(recipe.test):,} test images in {len(recipe.train.classes)} classes")
    network = build(workdir, recipe, say)
    optimiser = train.make_optimiser(config, recipe.rates, history=history)
    graphdef, state = train.create_state(network, optimiser, config.seed, average=config.ema > 0)
    state = jax.device_put(state, train.replicated(mesh))
    say(train.parameter_table(state.params))

    # ---- Evaluation
    if EVAL_ONLY.value:
        say(score(workdir, recipe, graphdef, state, mesh, share, say))
        return
    evaluate = recipes.make_evaluate(recipe, config.batch_size, mesh, **share)
    recipes.check_look(config.picture.name, recipe, graphdef, state)

    # ---- Training
    job = train.Job(
        step=recipe.training_step(graphdef, optimiser),
        batches=recipe.batches(config.seed, **share),
        spec=recipe.spec,
        evaluate=lambda state: evaluate(train.merged(graphdef, state)),
        figure=recipe.evaluation.figure,
        how=recipe.evaluation.how,
        predict=jax.jit(lambda state, images: train.merged(graphdef, state)(recipe.as_input(images))),
    )
    state, ran = train.fit(config, workdir, job, state, mesh=mesh, lock=lock, active=first, say=say)

    # ---- What is left behind
    picture = workdir / "figures" / "test.png"
    if first and (ran or not picture.exists()):
        recipes.save_figure(recipe, graphdef, state, picture)
        say(f"{picture}: the first test images and what the network made of them")
    say(last_words(workdir, config.steps, recipe, ran=ran))


def settle() -> None:
    """What is told to JAX and the allocator before anything is computed."""
    os.environ.setdefault("XLA_FLAGS", cpu_flags())
    train.keep_freed_memory()
    if KEEP_COMPILED.value:
        train.keep_compiled()


def build(workdir, recipe, say):
    """The network, with pretrained weights or another run's if the run has no checkpoint yet."""
    begins = train.latest_step(workdir / "checkpoints") is None
    network = recipe.network(CONFIG.value.seed, pretrained=begins and not INIT_FROM.value)
    if begins and INIT_FROM.value:
        recipes.init_from(network, INIT_FROM.value, say)
    return network


def last_words(workdir, steps, recipe, *, ran) -> str:
    """What a run says at its end."""
    figures = train.MetricsFile(workdir).final(steps) or {}
    return f"{'finished' if ran else 'this run is finished'}: step {steps}, {told(recipe, figures)}"


def score(workdir, recipe, graphdef, state, mesh, share, say) -> str:
    """The figures of the latest checkpoint on the test set, averaged with what --flip and --also name."""
    state = train.read_state(workdir, state, say)
    if state is None:
        raise ValueError(NOT_TRAINED.format(workdir))
    alone = not (ALSO.value or FLIP.value)
    evaluate = recipes.make_evaluate(recipe, CONFIG.value.batch_size, mesh, as_stored=not alone, **share)
    members = [(graphdef, state, recipe.as_input), *recipes.load_members(ALSO.value, recipe.train, mesh, say)]
    network = train.merged(graphdef, state) if alone else recipes.averaged(members, flip=FLIP.value)
    found = {f"test/{name}": value for name, value in evaluate(network).items()}
    return f"step {state.step}: {told(recipe, found)}"


def told(recipe, figures) -> str:
    """Test figures in words."""
    return train.describe(figures, recipe.evaluation.figure, recipe.evaluation.how)


def main(_: list[str]) -> None:
    """Run, and end what went wrong with a sentence instead of a traceback."""
    logging.set_verbosity(logging.FATAL)  # Orbax tells of every file, and of an error by pages before raising it
    recipes.show_left_out()
    with train.sentences(), train.ended_together(), contextlib.ExitStack() as held:
        run(held)


if __name__ == "__main__":
    app.run(main, flags_parser=functools.partial(train.parse_flags, moved=recipes.MOVED))
