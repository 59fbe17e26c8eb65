"""The config of the trilinear attention sampling network: every variant builds, and some run."""

import functools
import runpy
import signal

import jax
import optax
import pytest
import train_runs as runs

from vtnjax import recipes, train
from vtnjax.train.state import named_leaves

ATTENTIONS = ("both", "features", "plain", "spatial", "spatial_both", "output", "relation", "self")
SMALL = [
    *(f"sampler={sampler}" for sampler in ("inverse_cdf", "ssn", "uniform", "none")),
    "branch=master",
    "parts=2,selection=ranked",
    "predict=part,attention=self",
]
TRUNKS = ["backbone=resnet50", "backbone=resnet101,resolution=448", "backbone=vgg19,dataset=cars", "dataset=inat2017"]


def get_config(variant):
    return runpy.run_path(str(runs.ROOT / "configs" / "cub_tasn.py"))["get_config"](variant)


@functools.cache
def sources(dataset):
    return recipes.build_sources(get_config(f"smoke,dataset={dataset}"))


def assert_builds(variant):
    """A step of a variant has the shapes it should, and evaluation one row of logits an image; nothing is computed."""
    config = get_config(variant)
    train_set, _ = sources(config.dataset.removeprefix("drawn:"))
    batch = recipes.abstract_batch(config, train_set)

    def one_step(batch):
        optimiser = optax.sgd(0.1)
        graphdef, before = train.create_state(recipes.build_model(config, train_set), optimiser, 0)
        distillation = recipes.build_objective(config)
        step = train.make_train_step(graphdef, optimiser, recipes.build_prepare(config), distillation)
        after, metrics = step(before, batch)
        logits, _ = recipes.make_look(graphdef)(before, recipes.build_input(config)(batch["image"]))
        return named_leaves(before), named_leaves(after), metrics, logits

    before, after, metrics, logits = jax.eval_shape(one_step, batch)
    assert before == after
    assert all(value.shape == () for value in metrics.values())
    assert ("soft_loss" in metrics) == (config.tasn.parts > 0)
    assert logits.shape == (config.batch_size, len(train_set.classes))


@pytest.mark.parametrize("variant", SMALL)
def test_small_variants_build(variant):
    assert_builds(f"smoke,backbone=squeezenet,{variant}")


@pytest.mark.slow
@pytest.mark.parametrize("variant", [*TRUNKS, *(f"backbone=squeezenet,attention={name}" for name in ATTENTIONS)])
def test_the_other_variants_build(variant):
    assert_builds(f"smoke,{variant}")


def test_the_references_settings_are_the_defaults():
    config = get_config("")
    assert (config.optimiser, config.learning_rate, config.momentum, config.weight_decay) == ("sgd", 0.1, 0.0, 0.0)
    assert (config.batch_size, config.steps) == (96, 300 * (5994 // 96))
    assert train.learning_rate_schedule(config)(config.steps // 3 + 1) == pytest.approx(0.01)
    config.batch_size = 12
    assert train.learning_rate_schedule(config)(0) == pytest.approx(0.0125)
    assert (config.tasn.resolution, config.tasn.parts, config.tasn.attention.sharpness) == (224, 1, 7.0)
    assert get_config("branch=master").tasn.parts == 0
    assert get_config("sampler=none").tasn.parts == 0


@pytest.mark.slow
def test_a_smoke_run_ends_with_a_figure_and_a_picture(tmp_path):
    out, _ = runs.run(tmp_path, config="configs/cub_tasn.py:smoke,backbone=squeezenet")
    assert out.splitlines()[-1].startswith("finished: step ")
    assert "test/accuracy" in runs.metrics(tmp_path)[-1]
    assert (tmp_path / "figures" / "test.png").stat().st_size > 1000


@pytest.mark.slow
def test_a_killed_run_ends_as_if_never_killed(tmp_path):
    options = {
        "config": "configs/hidden_digits.py:smoke",
        "steps": 40,
        "log_every": 2,
        "eval_every": 20,
        "checkpoint_every": 3,
    }
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    runs.run(unbroken, **options)
    process = runs.start(killed, **options)
    runs.stop_when(process, runs.reached(killed, 8))
    assert process.wait(60) == -signal.SIGKILL
    runs.kill(process)
    out, _ = runs.run(killed, **options)
    assert "resuming from step" in out
    runs.assert_same_run(killed, unbroken, 40)
    assert all("train/soft_loss" in line for line in runs.metrics(killed) if "train/loss" in line)
