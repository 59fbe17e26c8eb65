"""How an error of one process ends the others, with the service of JAX's coordinator played by a dictionary."""

import threading

import pytest

from vtnjax.train import StoppedError, ended_together, ending


class Told:
    def __init__(self):
        self.sentences = []
        self.finish = []

    def tell(self, sentence):
        self.sentences.append(sentence)


@pytest.fixture
def other(monkeypatch):
    told = Told()
    monkeypatch.setattr(ending, "_watching", [told])
    return told


def fail(error, *notes):
    for note in notes:
        error.add_note(note)
    with pytest.raises(type(error)), ended_together():
        raise error


def test_an_error_is_told_with_its_last_note(other):
    fail(ValueError("the disk is full"), "first", "step 3 was kept")
    assert other.sentences == ["the disk is full; step 3 was kept"]


def test_an_error_without_words_is_told_by_its_kind(other):
    fail(KeyboardInterrupt())
    assert other.sentences == ["KeyboardInterrupt"]


@pytest.mark.parametrize("error", [StoppedError("stopped by SIGTERM"), SystemExit("train.py: no")])
def test_what_ends_all_processes_at_once_is_told_to_nobody(other, error):
    fail(error)
    assert other.sentences == []


def test_nothing_is_told_where_nothing_fails(other):
    with ended_together():
        pass
    assert other.sentences == []


class Service(dict):
    """What a process of two reads and writes."""

    def key_value_set(self, key, value):
        self[key] = value

    def key_value_dir_get(self, folder):
        return [(key, value) for key, value in self.items() if key.startswith(folder)]


def test_a_process_ends_with_the_sentence_of_another_and_finishes_what_was_begun_first(monkeypatch, capsys):
    left, codes, service = threading.Event(), [], Service()

    def leave(code):
        codes.append((code, sorted(service)))
        left.set()
        raise RuntimeError  # the listener ends here, as the process would

    monkeypatch.setattr(ending, "_POLL", 0.01)
    monkeypatch.setattr(ending, "_PATIENCE", 0.0)
    monkeypatch.setattr(ending.os, "_exit", leave)
    process = ending._Others(service, index=1, count=2)
    monkeypatch.setattr(ending, "_watching", [process])
    ending.finish_first(lambda: codes.append("saved"))
    service.key_value_set("vtnjax/failed/0", "the loss is nan")
    assert left.wait(10)
    process._thread.join()
    assert codes == ["saved", (1, ["vtnjax/failed/0", "vtnjax/left/1"])]
    assert capsys.readouterr().err == "train.py: process 0 ended: the loss is nan\n"


def test_a_process_that_is_done_waits_for_the_others():
    service = Service({"vtnjax/finished/0": ""})
    process = ending._Others(service, index=1, count=3)
    threading.Timer(0.2, service.key_value_set, ("vtnjax/finished/2", "")).start()
    process.leave()
    assert sorted(service) == [f"vtnjax/finished/{index}" for index in range(3)]
