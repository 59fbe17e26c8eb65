import collections
import gc
import os
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import train_runs as runs

from vtnjax.train.checkpoint import Checkpoints, NotFiniteError, SaveError

POSITION = {"data": {"next_index": 3}, "recent": [{"loss": 0.1}]}


def state_at(step, dtype=jnp.float32):
    values = np.random.default_rng(step).normal(size=(40, 50))
    return {"w": jnp.asarray(values, dtype), "step": jnp.asarray(step, jnp.int32)}


@pytest.fixture
def opened(tmp_path):
    made = []

    def open_(**options):
        made.append(Checkpoints(tmp_path, **options))
        return made[-1]

    yield open_
    for checkpoints in made:
        checkpoints.close()


def saved(checkpoints, *steps, accuracies=()):
    for step, accuracy in zip(steps, [*accuracies, *[None] * len(steps)], strict=False):
        checkpoints.save(step, state_at(step), POSITION)
        if accuracy is not None:
            checkpoints.record(step, accuracy)
    checkpoints.wait()


def assert_is_state_at(step, restored):
    assert restored is not None
    state, position = restored
    assert position == POSITION
    chex.assert_trees_all_equal(state, state_at(step))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_what_is_saved_comes_back(opened, dtype):
    checkpoints = opened()
    checkpoints.save(7, state_at(7, dtype), POSITION)
    checkpoints.wait()
    state, position = opened().restore(state_at(0, dtype))
    assert position == POSITION
    assert state["w"].dtype == dtype
    chex.assert_trees_all_equal(state, state_at(7, dtype))


def test_a_new_folder_has_none(opened):
    checkpoints = opened()
    assert checkpoints.latest() is None
    assert checkpoints.restore(state_at(0)) is None


def test_the_state_may_be_donated_as_soon_as_save_returns(opened):
    checkpoints, state = opened(), state_at(3)
    overwrite = jax.jit(lambda s: jax.tree.map(lambda x: x * 0, s), donate_argnums=0)
    checkpoints.save(3, state, POSITION)
    overwrite(state)
    checkpoints.wait()
    assert_is_state_at(3, checkpoints.restore(state_at(0)))


def test_the_position_may_be_changed_as_soon_as_save_returns(opened):
    checkpoints, position = opened(), {**POSITION, "recent": list(POSITION["recent"])}
    for step in range(1, 6):
        checkpoints.save(step, state_at(step), position)
        position["recent"] += [{"loss": 0.2}] * 1000
        checkpoints.wait()
        assert_is_state_at(step, checkpoints.restore(state_at(0)))
        position["recent"] = list(POSITION["recent"])


def test_the_latest_two_and_the_best_are_kept(opened, tmp_path):
    saved(opened(), 1, 2, 3, 4, 5, accuracies=[0.5, 0.9, 0.7])
    assert runs.checkpoints(tmp_path) == [2, 4, 5]


def test_the_best_is_kept_by_a_run_that_was_stopped_in_between(opened, tmp_path):
    saved(opened(), 1, 2, accuracies=[0.5, 0.9])
    checkpoints = opened()
    for step in (3, 4, 5):
        saved(checkpoints, step)
        checkpoints.record(step, 0.7)
    assert runs.checkpoints(tmp_path) == [2, 4, 5]


def test_a_figure_that_was_recorded_is_not_changed(opened, tmp_path):
    checkpoints = opened()
    saved(checkpoints, 1, accuracies=[0.5])
    checkpoints.record(1, 0.7)
    assert (tmp_path / "checkpoints" / "1" / "metrics" / "metrics").read_text() == '{"figure": 0.5}'
    assert_is_state_at(1, checkpoints.restore(state_at(0)))


def test_half_a_figure_that_a_killed_run_left_is_none(opened, tmp_path):
    saved(opened(), 1)
    partial = tmp_path / "checkpoints" / "1" / "metrics.partial"
    partial.mkdir()
    (partial / "metrics").write_text('{"accu')
    checkpoints = opened()
    assert_is_state_at(1, checkpoints.restore(state_at(0)))
    checkpoints.record(1, 0.5)
    assert (tmp_path / "checkpoints" / "1" / "metrics" / "metrics").read_text() == '{"figure": 0.5}'


def test_the_latest_the_best_or_any_one_is_read(opened):
    saved(opened(), 1, 2, 3, accuracies=[0.9, 0.5, None])
    for step, found in (("latest", 3), ("best", 1), (2, 2), (3, 3)):
        assert_is_state_at(found, opened(read_only=True).restore(state_at(0), step=step))


def test_of_several_best_ones_the_latest_is_read(opened):
    saved(opened(), 1, 2, 3, accuracies=[0.5, 0.9, 0.9])
    assert_is_state_at(3, opened(read_only=True).restore(state_at(0), step="best"))


def test_one_that_is_not_there_is_refused(opened):
    assert opened().restore(state_at(0), step="best") is None
    saved(opened(), 1, 2)
    with pytest.raises(ValueError, match=r"step must be 'latest', 'best' or one of \[2, 1\] in .*, not 3"):
        opened().restore(state_at(0), step=3)
    with pytest.raises(ValueError, match="has a test figure, so that none is the best"):
        opened().restore(state_at(0), step="best")


def test_of_one_that_is_asked_for_and_damaged_no_other_is_taken(opened, tmp_path):
    saved(opened(), 1, 2)
    runs.damage(tmp_path, 2, "flip")
    said = []
    with pytest.raises(ValueError, match=r"none of the checkpoints \[2\]"):
        opened(read_only=True, say=said.append).restore(state_at(0), step=2)
    assert [line.endswith("before it") for line in said] == [False]


def test_what_is_discarded_is_gone(opened, tmp_path):
    checkpoints = opened()
    saved(checkpoints, 1, 2)
    checkpoints.discard(2)
    assert checkpoints.latest() == 1
    assert_is_state_at(1, checkpoints.restore(state_at(0)))


def test_a_zero_keeps_its_sign(opened):
    checkpoints, state = opened(), {"w": jnp.array([-0.0, 0.0])}
    checkpoints.save(1, state, POSITION)
    checkpoints.wait()
    restored, _ = opened().restore(state)
    assert np.signbit(restored["w"]).tolist() == [True, False]


# Orbax's interrupted reads are collected with a complaint of their own.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", ["truncate", "delete", "flip"])
@pytest.mark.daily("flip")
def test_a_damaged_one_is_set_aside_and_the_one_before_it_taken(opened, tmp_path, how):
    saved(opened(), 1, 2)
    runs.damage(tmp_path, 2, how)
    said = []
    checkpoints = opened(say=said.append)
    assert_is_state_at(1, checkpoints.restore(state_at(0)))
    (line,) = said
    assert line.startswith("checkpoint 2 is damaged (")
    assert runs.checkpoints(tmp_path) == [1]
    assert (tmp_path / "checkpoints" / "damaged-2" / "state").is_dir()
    saved(checkpoints, 2)
    assert_is_state_at(2, opened().restore(state_at(0)))
    gc.collect()


def test_a_flipped_bit_in_the_position_is_damage_too(opened, tmp_path):
    saved(opened(), 1, 2)
    path = tmp_path / "checkpoints" / "2" / "position" / "metadata"
    path.write_text(path.read_text().replace('"next_index": 3', '"next_index": 2'))
    said = []
    assert_is_state_at(1, opened(say=said.append).restore(state_at(0)))
    assert "checksum" in said[0]


def test_when_none_can_be_read_nothing_is_deleted(opened, tmp_path):
    saved(opened(), 1, 2)
    for step in (1, 2):
        runs.damage(tmp_path, step, "flip")
    with pytest.raises(ValueError, match=r"none of the checkpoints \[2, 1\]"):
        opened(say=lambda text: None).restore(state_at(0))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["damaged-1", "damaged-2"]


def test_read_only_leaves_a_damaged_one_where_it_is(opened, tmp_path):
    saved(opened(), 1, 2)
    runs.damage(tmp_path, 2, "flip")
    assert_is_state_at(1, opened(read_only=True, say=lambda text: None).restore(state_at(0)))
    assert runs.checkpoints(tmp_path) == [1, 2]


def test_half_a_checkpoint_that_a_killed_run_left_is_not_one(opened, tmp_path):
    saved(opened(), 1)
    folder = tmp_path / "checkpoints"
    shutil.copytree(folder / "1", folder / "2.orbax-checkpoint-tmp")
    assert opened(read_only=True).latest() == 1
    assert (folder / "2.orbax-checkpoint-tmp").exists()
    checkpoints = opened()
    assert_is_state_at(1, checkpoints.restore(state_at(0)))
    saved(checkpoints, 2)  # until then it may be tidied in the background
    assert not (folder / "2.orbax-checkpoint-tmp").exists()


@pytest.mark.parametrize(
    "other", [{"w": jnp.zeros((40, 51))}, {"w": jnp.zeros((40, 50), jnp.int32)}, {"v": jnp.zeros(3)}]
)
def test_one_of_another_network_is_refused_and_left_alone(opened, tmp_path, other):
    saved(opened(), 1, 2)
    rest = state_at(0) if "w" in other else {}
    with pytest.raises(
        ValueError, match=r"checkpoint 2 in .* must be of this network, not of another: .* must be .*, not "
    ):
        opened().restore({**rest, **other})
    assert runs.checkpoints(tmp_path) == [1, 2]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_not_saved(opened, tmp_path, bad):
    checkpoints = opened()
    state = {**state_at(1), "v": jnp.array([1.0, bad])}
    with pytest.raises(NotFiniteError, match="v holds numbers that are not finite"):
        checkpoints.save(1, state, POSITION)
    checkpoints.wait()
    assert runs.checkpoints(tmp_path) == []


def test_a_full_disk_is_noticed_before_anything_is_written(opened, tmp_path, monkeypatch):
    checkpoints = opened()
    saved(checkpoints, 1)
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10, 9, 1))
    with pytest.raises(SaveError, match=r"needs 8,004 bytes, but .* has only 1 left"):
        checkpoints.save(2, state_at(2), POSITION)
    assert runs.checkpoints(tmp_path) == [1]
    assert checkpoints.latest() == 1


def test_a_failure_in_the_background_is_an_os_error_of_the_next_wait(opened, tmp_path, monkeypatch):
    checkpoints = opened()
    saved(checkpoints, 1)

    def full(*args, **kwargs):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(checkpoints._manager, "wait_until_finished", full)
    with pytest.raises(SaveError, match=r"could not be written to .*No space left on device"):
        checkpoints.wait()
    assert checkpoints.latest() == 1
