"""Runs of a train.py that trains nothing: the command of each, its record, and where both stand."""

import json
import subprocess

import numpy as np
import pytest
import trained_runs

from vtnjax import recipes
from vtnjax.experiments import TABLES, Cell, Runner, Table, read_record
from vtnjax.experiments.cores import available_cores

DIGITS = "model=fcn,distortion=none,smoke"


@pytest.fixture
def runner(fake):
    def make(*overrides):
        return Runner("small", TABLES["small"](), overrides, fake / "runs", fake / "results" / "experiments")

    return make


def test_a_run_is_one_of_train_py_and_leaves_a_record(fake, runner):
    made, core = runner("--config.steps=20", "--config.tensorboard=true"), available_cores()[:1]
    made.separately("model=fcn", 2, core)
    workdir = fake / "runs" / "small" / "model=fcn---config.steps=20---config.tensorboard=true" / "2"
    words = ["--config", f"{fake}/configs/small.py:model=fcn", "--config.seed=2", "--workdir", str(workdir)]
    said = json.loads((workdir / "said.json").read_text())
    assert said["words"] == [*words, "--config.steps=20", "--config.tensorboard=true"]
    path = made.path("model=fcn", 2)
    expected = "model=fcn---config.steps=20---config.tensorboard=true-2.json"
    assert path == fake / "results" / "experiments" / "small" / expected
    found = read_record(path)
    shown = "python train.py --config configs/small.py:model=fcn --config.seed=2"
    assert found["command"] == f"{shown} --config.steps=20 --config.tensorboard=true"
    assert (found["seed"], found["steps"], found["hardware"]["cores"]) == (2, 20, 1)
    assert found["figures"] == {"loss": 0.5, "accuracy": pytest.approx(0.7)}
    assert made.result("model=fcn", 2) == found


def test_the_seconds_are_those_of_all_training_steps(runner):
    made = runner("--config.steps=20")
    made.separately("model=fcn", 0, available_cores())
    # 10 steps of 10 images by 100 images a second, and as many by 50.
    assert read_record(made.path("model=fcn", 0))["seconds"] == pytest.approx(1 + 2)


def test_a_run_that_fails_leaves_no_record(runner, capfd):
    made = runner()
    with pytest.raises(subprocess.CalledProcessError):
        made.separately("model=broken", 0, available_cores())
    assert made.result("model=broken", 0) is None
    assert "this model is broken" in capfd.readouterr().err


def test_where_the_data_lie_makes_no_other_result(runner):
    for folder in ("here", "an/other place"):
        assert runner(f"--config.data_dir={folder}", "--config.steps=3").path("a", 0) == runner(
            "--config.steps=3"
        ).path("a", 0)
    assert runner("--config.steps=3").path("a", 0) != runner("--config.steps=4").path("a", 0)
    assert runner("--config.source=a/b").path("a", 0).name == "a---config.source=a_b-0.json"


def test_a_record_hides_the_run_of_an_early_file(fake, runner):
    runs = [{"seed": seed, "step": 600, "error": 0.25, "seconds": 7.0} for seed in (0, 1)]
    rows = {"FCN": {"variant": "model=fcn", "runs": runs, "command": "python w.py", "device": "cpu"}}
    (fake / "results").mkdir()
    (fake / "results" / "small.json").write_text(json.dumps({"rows": rows}))
    made = runner()
    assert [made.result("model=fcn", seed) is None for seed in range(3)] == [False, False, True]
    assert made.result("model=fcn", 1)["figures"] == {"accuracy": 0.75}
    assert made.result("model=cnn", 0) is None
    assert runner("--config.steps=3").result("model=fcn", 0) is None
    assert runner("--config.data_dir=here").result("model=fcn", 0) is not None
    made.separately("model=fcn", 1, available_cores())
    assert made.result("model=fcn", 1)["figures"]["accuracy"] == pytest.approx(0.8)
    elsewhere = made._replace(results=fake / "elsewhere" / "experiments")
    assert elsewhere.result("model=fcn", 0) is None


def test_seeds_trained_together_leave_a_record_each(fake, runner, monkeypatch):
    def train_together(config, seeds, workdir):
        assert (config.steps, list(seeds)) == (20, [0, 2])
        workdir.mkdir(parents=True)
        line = {"step": 20, "train/images_per_second": 50.0}
        (workdir / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        return [{"loss": 1.0, "accuracy": 0.1 * seed} for seed in seeds]

    monkeypatch.setattr(recipes, "train_together", train_together)
    made = runner("--config.steps=20")
    made.together("model=fcn", [0, 2])
    first, second = (read_record(made.path("model=fcn", seed)) for seed in (0, 2))
    assert [found["figures"]["accuracy"] for found in (first, second)] == [0.0, 0.2]
    assert [found["seed"] for found in (first, second)] == [0, 2]
    assert first["seconds"] == second["seconds"] == pytest.approx(4 / 2)
    assert first["command"] == "train_together(configs/small.py:model=fcn --config.steps=20, seeds=[0, 2])"
    assert (fake / "runs" / "small" / "model=fcn---config.steps=20" / "seeds-0-2").is_dir()


@pytest.mark.slow
def test_seeds_are_really_trained_together(tmp_path):
    # optax's own step schedule is not strict about dtypes.
    overrides = ("--config.steps=4", "--config.schedule=constant")
    made = Runner("stn_table1", TABLES["stn_table1"](), overrides, tmp_path / "runs", tmp_path / "results")
    made.together("model=fcn,distortion=R,smoke", [0, 2])
    records = [made.result("model=fcn,distortion=R,smoke", seed) for seed in (0, 2)]
    assert [record["seed"] for record in records] == [0, 2]
    assert records[0]["figures"] != records[1]["figures"]
    assert all(record["seconds"] > 0 for record in records)


def test_overrides_reach_the_config_in_its_own_types(runner):
    config = runner("--config.steps=7", "--config.learning_rate=1", "--config.tensorboard=true").load("model=fcn")
    assert (config.steps, config.learning_rate, config.tensorboard) == (7, 1.0, True)
    assert isinstance(config.learning_rate, float)


@pytest.mark.parametrize(
    ("variant", "override", "said"),
    [
        (
            "modl=fcn",
            "--config.steps=3",
            "small.py:modl=fcn .* cannot be read: the variant must be of model, short, split, not 'modl=fcn'",
        ),
        (
            "model=fcn",
            "--config.stepz=3",
            "--config.stepz=3 cannot be read: the config has no key 'stepz'; did you mean 'steps'",
        ),
        ("model=fcn", "--config.steps=many", "--config.steps=many cannot be read: .*invalid literal for int"),
        (
            "model=fcn",
            "--config.steps.more=1",
            "--config.steps.more=1 cannot be read: config.steps has no keys of its own, but config.steps.more was",
        ),
    ],
)
def test_a_config_that_cannot_be_is_said(runner, variant, override, said):
    with pytest.raises(ValueError, match=said):
        runner(override).load(variant)


def test_a_variant_may_be_of_another_config(fake, runner):
    (fake / "configs" / "other.py").write_text((fake / "configs" / "small.py").read_text())
    made, core = runner("--config.steps=20"), available_cores()[:1]
    made.separately("other:model=fcn", 1, core)
    path = fake / "results" / "experiments" / "small" / "other-model=fcn---config.steps=20-1.json"
    assert made.path("other:model=fcn", 1) == path
    said = json.loads((fake / "runs" / "small" / path.stem[:-2] / "1" / "said.json").read_text())
    assert said["words"][:2] == ["--config", f"{fake}/configs/other.py:model=fcn"]
    command = "python train.py --config configs/other.py:model=fcn --config.seed=1 --config.steps=20"
    assert read_record(path)["command"] == command
    assert made.result("model=fcn", 1) is None
    with pytest.raises(ValueError, match=r"^configs/other.py:modl --config.steps=20 cannot be read: the variant must"):
        made.load("other:modl")


def test_predictions_of_runs_are_averaged(tmp_path):
    table = Table("T", "digits_stn", {"FCN": {"error": Cell(DIGITS, None, members=2)}})
    made = Runner("averaged", table, (), tmp_path / "runs", tmp_path / "results")
    folders = [tmp_path / "runs" / "averaged" / DIGITS / str(seed) for seed in (0, 1)]
    for step, folder in enumerate(folders, 1):  # a checkpoint's weights are drawn from its step
        trained_runs.leave(folder, f"digits_stn:{DIGITS}", {step: None})
    made.average(DIGITS, range(2))
    record = made.result(DIGITS, "0+1")
    runs = [recipes.load_run(folder) for folder in folders]
    test = recipes.read_recipe(made.load(DIGITS)).test
    labels, images = np.array([each["label"] for each in test]), np.stack([each["image"] for each in test])
    mean = np.mean([run.predict(images)[0].astype(np.float64) for run in runs], axis=0)
    assert record["figures"]["accuracy"] == pytest.approx((mean.argmax(1) == labels).mean())
    assert record["figures"]["loss"] == pytest.approx(-np.log(mean[np.arange(len(labels)), labels]).mean(), rel=1e-4)
    shown = [f"runs/experiments/averaged/{DIGITS}/{seed}" for seed in (0, 1)]  # where the command puts them
    also = f"--eval_only --workdir {shown[0]} --also {shown[1]}"
    assert record["command"] == f"python train.py --config configs/digits_stn.py:{DIGITS} {also}"
    assert record["seeds"] == [0, 1]
    folders[1].rename(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="must be the workdir of a trained run"):
        made.average(DIGITS, range(2))
