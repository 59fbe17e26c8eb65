import types

from vtnjax.train import keep_freed_memory, memory


def test_glibc_is_told_to_keep_large_blocks(monkeypatch):
    options = {}
    library = types.SimpleNamespace(mallopt=options.__setitem__)
    monkeypatch.setattr(memory.ctypes, "CDLL", {"libc.so.6": library}.__getitem__)
    keep_freed_memory()
    # <malloc.h>: M_TRIM_THRESHOLD is -1, M_MMAP_MAX -4 and M_ARENA_MAX -8; an int holds 2**31 - 1.
    assert options == {-1: 2**31 - 1, -4: 0, -8: 1}


def test_without_glibc_nothing_is_done(monkeypatch):
    asked = []

    def absent(name):
        asked.append(name)
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(memory.ctypes, "CDLL", absent)
    keep_freed_memory()
    assert asked == ["libc.so.6"]


def test_a_libc_without_mallopt_is_left_as_it_is(monkeypatch):
    calls = []

    class Libc:
        def __getattr__(self, name):
            calls.append(name)
            raise AttributeError(name)

    monkeypatch.setattr(memory.ctypes, "CDLL", {"libc.so.6": Libc()}.__getitem__)
    keep_freed_memory()
    assert calls == ["mallopt"]
