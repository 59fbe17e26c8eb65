import contextlib
import importlib.util
import json
import os
import subprocess

import bucket
import chex
import jax.numpy as jnp
import numpy as np
import pytest
import train_runs as runs
from etils.epath import backend
from fsspec.registry import _registry

from vtnjax.train import Checkpoints, Lock, LockedError, MetricsFile, find_workdir, lock
from vtnjax.train.checkpoint import latest_step

POSITION = {"data": {"next_index": 3}, "recent": [{"loss": 0.1}]}


@pytest.fixture
def buckets(tmp_path, monkeypatch):
    """The folder that has the buckets of this process."""
    monkeypatch.setenv(bucket.ROOT, str(tmp_path))
    monkeypatch.setenv("EPATH_USE_TF", "false")
    for name in bucket.Bucket.protocol:
        monkeypatch.setitem(_registry, name, bucket.Bucket)
    backend.fsspec_backend._get_filesystem.cache_clear()
    yield tmp_path
    backend.fsspec_backend._get_filesystem.cache_clear()


@pytest.fixture(params=["gs", "s3"])
def workdir(request, buckets):
    return find_workdir(f"{request.param}://bucket/state/run")


@pytest.fixture
def folder(workdir, buckets):
    """What is in the bucket, as a folder."""
    scheme, _, rest = str(workdir).partition("://")
    return buckets / scheme / rest


def state_at(step):
    return {"w": jnp.asarray(np.random.default_rng(step).normal(size=(40, 50)), jnp.float32), "step": jnp.asarray(step)}


def saved(workdir, *steps):
    with contextlib.closing(Checkpoints(workdir)) as checkpoints:
        for step in steps:
            checkpoints.save(step, state_at(step), POSITION)


def restored(workdir, **options):
    with contextlib.closing(Checkpoints(workdir, **options)) as checkpoints:
        return checkpoints.restore(state_at(0))


def test_metrics_are_lines_and_are_cut_back(workdir, folder):
    metrics = MetricsFile(workdir)
    assert metrics.read() == []
    for step in (1, 2, 3):
        metrics.write(step, {"train/loss": step / 10})
    metrics.cut_back(2)
    assert (folder / "metrics.jsonl").read_text() == (
        '{"step": 1, "train/loss": 0.1}\n{"step": 2, "train/loss": 0.2}\n'
    )


def test_tensorboard_is_for_folders(workdir):
    with pytest.raises(ValueError, match=r"config\.tensorboard must be False in a bucket, not True"):
        MetricsFile(workdir, tensorboard=True)


@pytest.mark.daily("s3")
def test_the_latest_two_and_the_best_are_kept_and_come_back(workdir, folder):
    assert latest_step(workdir / "checkpoints") is None
    with contextlib.closing(Checkpoints(workdir)) as checkpoints:
        for step, accuracy in ((1, 0.5), (2, 0.9), (3, 0.7)):
            checkpoints.save(step, state_at(step), POSITION)
            checkpoints.record(step, accuracy)
    saved(workdir, 4, 5)  # another start, which knows what the best is
    assert runs.checkpoints(folder) == [2, 4, 5]
    assert json.loads((folder / "checkpoints" / "2" / "metrics" / "metrics").read_text()) == {"figure": 0.9}
    assert latest_step(workdir / "checkpoints") == 5
    state, position = restored(workdir)
    assert position == POSITION
    chex.assert_trees_all_equal(state, state_at(5))
    np.testing.assert_array_equal(runs.arrays(folder, 5)["w"], state_at(5)["w"])


def test_what_a_killed_run_left_half_copied_is_no_checkpoint(workdir, folder):
    saved(workdir, 1, 2)
    (folder / "checkpoints" / "2" / "commit_success.txt").unlink()
    assert latest_step(workdir / "checkpoints") == 1
    state, _ = restored(workdir)
    chex.assert_trees_all_equal(state, state_at(1))
    (folder / "checkpoints" / "2" / "left").touch()
    (folder / "checkpoints" / "3").mkdir()
    (folder / "checkpoints" / "3" / "left").touch()
    saved(workdir, 2)
    assert runs.checkpoints(folder) == [1, 2]
    assert not (folder / "checkpoints" / "2" / "left").exists()
    chex.assert_trees_all_equal(restored(workdir)[0], state_at(2))


def test_the_mark_is_copied_last(workdir, folder, monkeypatch):
    saved(workdir, 1, 2)
    write = bucket.Bucket._open
    order = []

    def watched(self, path, mode="rb", **options):
        if "w" in mode:
            order.append(os.path.relpath(path, folder / "checkpoints"))
        return write(self, path, mode, **options)

    monkeypatch.setattr(bucket.Bucket, "_open", watched)
    saved(workdir, 3)
    assert order[-1] == "3/commit_success.txt"
    files = [path for path in (folder / "checkpoints" / "3").rglob("*") if path.is_file()]
    assert len(set(order)) == len(order) == len(files)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_damaged_one_is_set_aside_and_the_one_before_it_taken(workdir, folder):
    saved(workdir, 1, 2)
    runs.damage(folder, 2, "flip")
    said = []
    state, _ = restored(workdir, read_only=True, say=said.append)
    chex.assert_trees_all_equal(state, state_at(1))
    assert runs.checkpoints(folder) == [1, 2]
    state, _ = restored(workdir, say=said.append)
    chex.assert_trees_all_equal(state, state_at(1))
    assert [line[:24] for line in said] == ["checkpoint 2 is damaged "] * 2
    assert runs.checkpoints(folder) == [1]
    assert (folder / "checkpoints" / "damaged-2" / "state").is_dir()


def test_what_is_discarded_is_gone(workdir, folder):
    saved(workdir, 1, 2)
    with contextlib.closing(Checkpoints(workdir)) as checkpoints:
        checkpoints.discard(2)
    assert runs.checkpoints(folder) == [1]


def test_a_bucket_that_cannot_be_written_is_an_os_error_and_one_that_cannot_be_read_damages_nothing(
    workdir, folder, monkeypatch
):
    saved(workdir, 1)
    ordinary = bucket.Bucket._open

    def gone(*_, **__):
        raise RuntimeError("no connection")

    with contextlib.closing(Checkpoints(workdir)) as writer, contextlib.closing(Checkpoints(workdir)) as reader:
        monkeypatch.setattr(bucket.Bucket, "_open", gone)
        writer.save(2, state_at(2), POSITION)
        with pytest.raises(OSError, match=r"a checkpoint could not be written to \w+://.*no connection"):
            writer.wait()
        with pytest.raises(OSError, match=r"metrics.jsonl cannot be written: no connection"):
            MetricsFile(workdir).write(2, {})
        with pytest.raises(OSError, match=r"in \w+://.* cannot be read \(RuntimeError: no connection\)"):
            reader.restore(state_at(0))
        with pytest.raises(OSError, match=r"in \w+://.* cannot be read \(RuntimeError: no connection\)"):
            Checkpoints(workdir)
        monkeypatch.setattr(bucket.Bucket, "_open", ordinary)
    assert runs.checkpoints(folder) == [1]


def test_nothing_is_left_among_the_temporary_files(workdir, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    saved(workdir, 1)
    restored(workdir)
    assert not list((tmp_path / "temporary").iterdir())


def test_a_lock_is_held_and_released(workdir, folder):
    held = Lock(workdir)
    assert json.loads((folder / "lock").read_text())["process"] == os.getpid()
    with pytest.raises(LockedError, match=f"{workdir} is being trained by process {os.getpid()} on"):
        Lock(workdir)
    held.release()
    assert not (folder / "lock").exists()
    Lock(workdir, say=pytest.fail).release()


def test_a_lock_of_a_machine_that_gives_no_sign_of_life_is_waited_for(workdir, folder, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.05)
    monkeypatch.setattr(lock, "STALE", 0.5)
    folder.mkdir(parents=True)
    foreign = {"host": "elsewhere", "process": 7, "machine": "another/1/2", "run": "theirs", "beat": 3}
    (folder / "lock").write_text(json.dumps(foreign))
    said = []
    Lock(workdir, say=said.append).release()
    assert "process 7 on elsewhere" in said[0]


TRAIN = "import runpy, bucket; bucket.stand_in(); runpy.run_path('train.py', run_name='__main__')"


def start(workdir, folder, *words, env=None, **overrides):
    python, _, *rest = runs.command("--workdir", workdir, *words, **overrides)
    paths = os.pathsep.join([str(runs.ROOT / "tests" / "train"), str(runs.ROOT)])
    temporary = folder / "temporary"  # of a bucket's lock on this machine, where another test run may have one too
    temporary.mkdir(exist_ok=True)
    places = {bucket.ROOT: str(folder), "TMPDIR": str(temporary)}
    env = {**(env or runs.environment()), **places, "PYTHONPATH": paths}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([python, "-c", TRAIN, *rest], cwd=runs.ROOT, env=env, text=True, **pipes)


TINY = {**runs.PLAIN, "steps": 20, "batch_size": 32, "log_every": 4, "eval_every": 7, "checkpoint_every": 3}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_run_in_a_bucket_is_that_in_a_folder_though_it_is_killed(tmp_path, scheme):
    runs.run_in_turn(tmp_path / "here", **TINY)
    place, there = f"{scheme}://bucket/run", tmp_path / scheme / "bucket" / "run"
    process = start(place, tmp_path, **TINY)
    runs.stop_when(process, lambda: (there / "checkpoints" / "9" / "commit_success.txt").exists())
    runs.kill(process)
    out, _ = runs.end(start(place, tmp_path, **TINY))
    assert "resuming from step" in out
    assert "may be alive" not in out
    runs.assert_same_run(there, tmp_path / "here", TINY["steps"])
    assert runs.checkpoints(there) == runs.checkpoints(tmp_path / "here")
    assert json.loads((there / "config.json").read_text()) == json.loads((tmp_path / "here/config.json").read_text())
    assert (there / "figures" / "test.png").stat().st_size > 1000
    out, _ = runs.end(start(place, tmp_path, "--eval_only", **TINY))
    assert "step 20: test error" in out
    names = ["checkpoints", "config.json", "data.json", "figures", "metrics.jsonl"]  # and no lock
    assert sorted(path.name for path in there.iterdir()) == names
    assert not (runs.ROOT / f"{scheme}:").exists()


@pytest.mark.slow
def test_two_processes_train_in_a_bucket_and_go_on_there(tmp_path):
    there = tmp_path / "gs" / "bucket" / "run"

    def pair():
        envs = [env | runs.OPTIMISED for env in runs.two_processes()]
        return [start("gs://bucket/run", tmp_path, "--distributed", env=env, **TINY) for env in envs]

    processes = pair()
    runs.stop_when(processes[0], lambda: (there / "checkpoints" / "9" / "commit_success.txt").exists())
    for process in processes:
        runs.kill(process)
    (out, _), _ = [runs.end(process) for process in pair()]
    assert "resuming from step" in out
    runs.run(tmp_path / "here", env=runs.environment(**runs.OPTIMISED), **TINY)
    assert runs.checkpoints(there) == [7, 18, 20]
    for one, other in zip(runs.metrics(there), runs.metrics(tmp_path / "here"), strict=True):
        assert one == pytest.approx(other, rel=1e-3)


@pytest.mark.slow
def test_a_bucket_whose_package_is_absent_is_refused_before_anything_is_done():
    if importlib.util.find_spec("gcsfs"):
        pytest.skip("needs an environment without gcsfs")
    said = runs.complaint("gs://bucket/run")
    assert 'a workdir on gs:// needs gcsfs: pip install "vtnjax[gcs]"' in said
    assert not (runs.ROOT / "gs:").exists()
