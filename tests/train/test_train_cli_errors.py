import resource
import shutil
import subprocess
import sys

import pytest
import train_runs as runs

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"learning_rat": 0.1}, ("no key 'learning_rat'", "did you mean 'learning_rate'")),
        ({"config": "configs/digits_stn.py:smok"}, ("'smok'", "did you mean 'smoke'")),
        ({"config": "configs/digits_stn.py:smoke,model=st_fnc"}, ("model must be one of", "did you mean 'st_fcn'")),
        ({"config": "configs/digit_stn.py"}, ("No such file", "configs/digit_stn.py")),
        ({"steps": "many"}, ("config.steps=many",)),
        ({"steps": 2.5}, ("config.steps=2.5",)),
        ({"steps": -1}, ("config.steps must be a whole number of at least 0, not -1",)),
        ({"seed": -1}, ("config.seed must be",)),
        ({"model": "fcn"}, ("the config has no key 'model'", "it is now config.network.model")),
        ({"network.warp": "afine"}, ("afine", "affine")),
        ({"input.distortion": "RST"}, ("config.input: distortion", "did you mean 'RTS'")),
        ({"dtype": "float31"}, ("config.dtype", "did you mean 'float32'")),
        ({"optimiser": "adma"}, ("config.optimiser", "did you mean 'adam'")),
        ({"schedule": "cosin"}, ("config.schedule", "did you mean 'cosine'")),
        ({"batch_size": 2000}, ("batch_size must be at most the 1000 records", "not 2000")),
        ({"input.distortion": "TC", "batch_size": 5}, ("at least 7",)),
        ({"dataset": "generate"}, ("generate", "generated")),
        ({"dataset": "idx", "data_dir": "/nowhere/at/all"}, ("/nowhere/at/all", "train-images-idx3-ubyte")),
        ({"env": runs.environment(8), "batch_size": 20}, ("divide evenly over the 8 devices", "20")),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_ends_with_a_sentence(tmp_path, options, words):
    said = runs.complaint(tmp_path / "run", **options)
    assert all(word in said for word in words), said


def test_an_empty_data_folder_is_named(tmp_path):
    said = runs.complaint(tmp_path / "run", dataset="idx", data_dir=tmp_path)
    assert str(tmp_path) in said


def test_a_config_is_asked_for():
    done = subprocess.run([sys.executable, "train.py"], cwd=runs.ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("train.py: flag --config")
    assert "Traceback" not in done.stderr


def test_a_workdir_below_a_file_is_named(tmp_path):
    (tmp_path / "file").touch()
    said = runs.complaint(tmp_path / "file" / "run")
    assert f"the workdir {tmp_path / 'file' / 'run'} cannot be written" in said


def test_eval_only_without_checkpoints_says_so_and_writes_nothing(tmp_path):
    said = runs.complaint(tmp_path, "--eval_only")
    assert "--workdir must be that of a trained run with --eval_only" in said
    assert str(tmp_path) in said
    assert not list(tmp_path.iterdir())


def test_eval_only_with_an_empty_folder_of_checkpoints_says_so(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    assert "--workdir must be that of a trained run with --eval_only" in runs.complaint(tmp_path, "--eval_only")
    assert not list((tmp_path / "checkpoints").iterdir())


def test_averages_are_for_eval_only(tmp_path):
    assert runs.complaint(tmp_path, "--flip") == "--flip and --also must come with --eval_only"
    assert runs.complaint(tmp_path, "--also=elsewhere") == "--flip and --also must come with --eval_only"


def test_distributed_without_a_cluster_says_what_to_set(tmp_path):
    said = runs.complaint(tmp_path, "--distributed", env=runs.environment())
    assert "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID" in said
    said = runs.complaint(tmp_path, "--distributed", env=runs.environment(JAX_NUM_PROCESSES="2"))
    assert "JAX_PROCESS_ID=None" in said


def test_a_diverging_run_stops_with_the_step_and_the_last_good_checkpoint(tmp_path):
    wild = {"optimiser": "sgd", "clip_norm": 0.0, "learning_rate": 1e30}
    said = runs.complaint(tmp_path, **wild)
    assert "the loss of step 2 is nan" in said
    assert "no checkpoint was saved yet" in said
    assert runs.checkpoints(tmp_path) == []


def test_a_full_disk_ends_the_run_naming_the_last_good_checkpoint_and_nothing_is_lost(tmp_path):
    """A limit on the size of files stands for the disk, which only an administrator can fill."""
    options = {"config": runs.PLAIN["config"], "steps": 120, "batch_size": 32}
    options |= {"log_every": 1, "eval_every": 120, "checkpoint_every": 10}
    process = runs.start(tmp_path, **options)
    runs.stop_when(process, runs.reached(tmp_path, 30), runs.signal.SIGTERM)
    out, _ = runs.end(process, expect=143)
    saved = runs.checkpoints(tmp_path)[-1]
    before = runs.arrays(tmp_path, saved)

    process = runs.start(tmp_path, **options)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (500_000, 500_000))
    _, err = runs.end(process, expect=1)
    last = err.strip().splitlines()[-1]
    assert last.startswith("train.py: ")
    assert f"the last good checkpoint is step {saved}. The same command goes on from there" in last
    after = runs.arrays(tmp_path, saved)
    assert all((before[name] == after[name]).all() for name in before)

    out, _ = runs.run_in_turn(tmp_path, **options)
    assert f"resuming from step {saved}" in out
    assert [line["step"] for line in runs.metrics(tmp_path)] == [*range(1, 121), 120]


def test_a_nearly_full_disk_is_noticed_before_anything_is_written(tmp_path):
    if shutil.which("mount") is None or subprocess.run(["mount", *_TMPFS, tmp_path], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        said = runs.complaint(tmp_path / "run", config=runs.PLAIN["config"], env=runs.environment())
        assert "has only" in said
        assert "the last good checkpoint is step 20" in said
        assert runs.checkpoints(tmp_path / "run") == [20]
    finally:
        subprocess.run(["umount", tmp_path], check=True)


_TMPFS = ("-t", "tmpfs", "-o", "size=5m", "tmpfs")
