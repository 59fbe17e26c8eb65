"""Checkpoints copied to a store, which here is a folder too."""

import pytest
from etils import epath

from vtnjax.train import mirror
from vtnjax.train.mirror import Mirror, whole_steps

PARTS = {"state/w": "numbers", "position/position": "{}", "_CHECKPOINT_METADATA": "made"}


@pytest.fixture
def store(tmp_path):
    place = epath.Path(tmp_path / "store")
    place.mkdir()
    return place


@pytest.fixture
def opened(store):
    """Opens mirrors of the store, and closes them in the end."""
    made = []

    def make():
        made.append(Mirror(store))
        return made[-1]

    yield make
    for each in made:
        each.close()


def write(folder, parts):
    for name, text in parts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def texts(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in mirror.files_below(folder)}


def sent(opened, *steps):
    first = opened()
    for step in steps:
        write(first.folder / str(step), PARTS)
        first.send(step)
    return first


def test_what_is_sent_is_whole_and_another_process_has_all_of_it_but_the_arrays(store, opened):
    sent(opened, 3, 12)
    assert sorted(whole_steps(store)) == ["12", "3"]
    second = opened()
    without = {name: text for name, text in PARTS.items() if not name.startswith("state")}
    found = texts(second.folder / "12")
    assert {name: found[name] for name in without} == without
    assert not (second.folder / "12" / "state").exists()
    second.fetch_state(12)
    assert (second.folder / "12" / "state" / "w").read_text() == "numbers"
    assert not (second.folder / "3" / "state").exists()


def test_the_mark_comes_last(store, opened, monkeypatch):
    first = opened()
    write(first.folder / "3", PARTS)

    (first.folder / "3" / "commit_success.txt").write_text("as another process left it")

    def broken(source, target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text())
        if len(mirror.files_below(store / "3")) == len(PARTS):
            raise OSError("no connection")

    monkeypatch.setattr(mirror, "copy_file", broken)
    with pytest.raises(OSError, match="no connection"):
        first.send(3)
    assert whole_steps(store) == []
    assert texts(store / "3") == PARTS


def test_what_was_left_half_sent_is_replaced(store, opened):
    write(store / "3", {"state/old": "half"})
    assert whole_steps(store) == []
    sent(opened, 3)
    assert whole_steps(store) == ["3"]
    assert "state/old" not in texts(store / "3")


def test_others_are_forgotten_and_what_is_no_step_stays(store, opened):
    first = sent(opened, 3, 6)
    write(store / "damaged-1", PARTS)
    write(store / "9", {"state/w": "half"})
    (first.folder / "3").rmtree()
    first.forget_others()
    assert sorted(path.name for path in store.iterdir()) == ["6", "damaged-1"]


def test_what_is_set_aside_is_no_checkpoint_and_keeps_its_files(store, opened):
    first = sent(opened, 3)
    write(store / "damaged-3", {"earlier": "damage"})
    first.set_aside(3, "damaged-3")
    assert whole_steps(store) == []
    assert not (store / "3").exists()
    assert PARTS.items() <= texts(store / "damaged-3").items()
    assert "earlier" not in texts(store / "damaged-3")


def test_closing_deletes_the_folder(opened):
    first = opened()
    assert first.folder.is_dir()
    first.close()
    assert not first.folder.exists()
