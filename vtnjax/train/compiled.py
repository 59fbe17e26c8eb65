"""Compiled programs, kept from one start to the next."""

import hashlib
import os
import platform
from pathlib import Path

import jax


def keep_compiled() -> Path | None:
    """Keep every compiled program in a folder of the user's cache, so that a second start compiles nothing.

    The folder is `$XDG_CACHE_HOME/vtnjax/compiled`, by default in `~/.cache`, and in it one for each kind of processor:
    a home that machines share serves none of them what was compiled for another. It may be deleted at any time.

    Returns:
        The folder, or None where JAX was told of another one (`JAX_COMPILATION_CACHE_DIR`) or nothing can be written.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return None
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = home / "vtnjax" / "compiled" / _processor()
        folder.mkdir(parents=True, exist_ok=True)
    except (RuntimeError, OSError):  # a user without a home, or a home that is full or only read
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return folder


def _processor(about: Path = Path("/proc/cpuinfo")) -> str:
    """A short name that differs where what was compiled for one processor may not run on the other."""
    try:
        lines = about.read_text().splitlines()
    except OSError:
        lines = []
    kept = sorted({line for line in lines if line.startswith(("flags", "Features", "model name", "CPU part"))})
    return f"{platform.machine()}-{hashlib.sha256(''.join(kept).encode()).hexdigest()[:12]}"
