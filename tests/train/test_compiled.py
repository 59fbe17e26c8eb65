import json
import os
import subprocess
import sys

import jax
import pytest
import train_runs

from vtnjax.train import compiled, keep_compiled

COUNTED = """
import atexit, collections, json, runpy, sys
import jax

found = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: found.update([event.rpartition("/")[2]]))
atexit.register(lambda: print(json.dumps(found)))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def settings():
    names = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
    before = {name: getattr(jax.config, name) for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_programs_are_kept_in_the_users_cache(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = keep_compiled()
    assert folder is not None
    assert folder.parent == tmp_path / "vtnjax" / "compiled"
    assert jax.config.jax_compilation_cache_dir == str(folder)
    assert jax.config.jax_persistent_cache_min_compile_time_secs == 0


def test_by_default_the_users_cache_is_in_the_home(settings, monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = keep_compiled()
    assert folder is not None
    assert folder.is_relative_to(tmp_path / ".cache")


def test_a_folder_that_jax_was_told_of_stays(settings, tmp_path):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    assert keep_compiled() is None
    assert jax.config.jax_compilation_cache_dir == str(tmp_path)


def test_without_a_home_nothing_is_kept(settings, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(compiled.Path, "home", homeless)
    assert keep_compiled() is None
    assert jax.config.jax_compilation_cache_dir is None


def test_where_nothing_can_be_written_nothing_is_kept(settings, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert keep_compiled() is None
    assert jax.config.jax_compilation_cache_dir is None


def test_processors_of_other_features_have_folders_of_their_own(tmp_path):
    names = []
    for number, text in enumerate(["flags: avx2", "flags: avx2 avx512f", "flags: avx2\nflags: avx2\nprocessor: 7"]):
        about = tmp_path / f"cpuinfo-{number}"
        about.write_text(text)
        names.append(compiled._processor(about))
    assert names[0] != names[1]
    assert names[0] == names[2]  # the number of processors is no feature
    assert compiled._processor(tmp_path / "none") not in names


def start(workdir, cache, *words):
    """What JAX counts while train.py runs, with a cache of its own."""
    env = {name: value for name, value in train_runs.environment().items() if "COMPILATION_CACHE" not in name}
    command = train_runs.command("--workdir", workdir, *words, **train_runs.PLAIN, steps=2, batch_size=8)
    out = subprocess.run(
        [sys.executable, "-c", COUNTED, *command[1:]],
        cwd=train_runs.ROOT,
        env={**env, "XDG_CACHE_HOME": os.fspath(cache)},
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    return json.loads(out.splitlines()[-1])


@pytest.mark.slow
def test_a_second_start_compiles_nothing(tmp_path):
    first, second = (start(tmp_path / name, tmp_path / "cache") for name in ("first", "second"))
    assert first["cache_misses"] > 10
    assert "cache_misses" not in second
    assert second["cache_hits"] >= first["cache_misses"]


@pytest.mark.slow
def test_a_flag_turns_it_off(tmp_path):
    start(tmp_path / "run", tmp_path / "cache", "--nokeep_compiled")
    assert not (tmp_path / "cache" / "vtnjax" / "compiled").exists()
