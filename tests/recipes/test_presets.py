import pytest
from ml_collections import FieldReference

from vtnjax.recipes import presets
from vtnjax.train import check_config, learning_rate_schedule

NETWORK = {"name": "stn", "model": "fcn"}


def made(**values):
    options = {**presets.adam(0.1), **presets.every(5, 10), **values}
    return presets.run(network=NETWORK, dataset="generated", **{"steps": 30, "batch_size": 8, **options})


def test_a_run_has_what_every_run_needs_and_values_replace_the_defaults():
    config = made(seed=3, objective={"name": "consistency", "weight": 1.0, "margin": 2.0})
    check_config(config)
    assert (config.seed, config.dtype, config.test_split) == (3, "float32", "test")
    assert config.objective.to_dict() == {"name": "consistency", "weight": 1.0, "margin": 2.0}
    assert (config.log_every, config.eval_every, config.checkpoint_every) == (5, 10, 10)
    made().input.distortion = "R"
    assert made().input.distortion == "none"  # the defaults are nobody's own


def test_schedules():
    adam, sgd = learning_rate_schedule(made()), learning_rate_schedule(made(**presets.sgd(0.2)))
    assert [float(adam(step)) for step in (0, 15, 30)] == pytest.approx([0.1, 0.05, 0.0])
    assert [float(sgd(step)) for step in (9, 10, 19, 20)] == pytest.approx([0.2, 0.02, 0.02, 0.002])
    assert presets.sgd(0.2)["optimiser"] == "sgd"
    assert presets.sgd(0.2, momentum=0.9)["optimiser"] == "momentum"


def test_epochs_follow_the_batch():
    batch_size = FieldReference(10)
    config = made(batch_size=batch_size, **presets.epochs(3, 105, batch_size, log=2, test=2))
    assert (config.steps, config.log_every, config.eval_every, config.checkpoint_every) == (30, 2, 20, 20)
    config.batch_size = 50
    assert (config.steps, config.eval_every) == (6, 4)


def test_a_short_run_is_short():
    config = made()
    presets.make_short(config, steps=4, log=1, test=2, batch_size=2)
    assert (config.steps, config.log_every, config.eval_every, config.checkpoint_every) == (4, 1, 2, 2)
    assert config.batch_size == 2
