import types

import pytest

from vtnjax.train import keep_freed_memory, memory


def test_glibc_is_told_to_keep_large_blocks(monkeypatch):
    options = {}
    library = types.SimpleNamespace(mallopt=options.__setitem__)
    monkeypatch.setattr(memory.ctypes, "CDLL", {"libc.so.6": library}.__getitem__)
    keep_freed_memory()
    # <malloc.h>: M_TRIM_THRESHOLD is -1, M_MMAP_MAX -4 and M_ARENA_MAX -8; an int holds 2**31 - 1.
    assert options == {-1: 2**31 - 1, -4: 0, -8: 1}


def absent(name):
    raise OSError(f"{name}: cannot open shared object file")


@pytest.mark.parametrize("load", [absent, lambda name: types.SimpleNamespace()])
def test_without_glibc_nothing_is_done(monkeypatch, load):
    monkeypatch.setattr(memory.ctypes, "CDLL", load)
    keep_freed_memory()
