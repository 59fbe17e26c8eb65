"""The host's memory on a CPU."""

import ctypes

_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8  # of <malloc.h>


def keep_freed_memory() -> None:
    """Let glibc keep what XLA frees after a step for the next one.

    Blocks above 32 MB would go back to the system after every step, and be cleared page by page again in the next.
    Where there is no glibc this does nothing.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    mallopt(_ARENA_MAX, 1)  # the other threads' arenas give a large block back as soon as it is free
    mallopt(_MMAP_MAX, 0)
    mallopt(_TRIM_THRESHOLD, 2**31 - 1)
