"""Settings of XLA's CPU compiler; they must stand in the environment before JAX first computes."""

import importlib.metadata
import importlib.util
import re

# By default a library takes over convolutions that XLA's own code does faster, above all gradients to the kernel.
_CONVOLUTIONS = "--xla_cpu_experimental_ynn_fusion_type="
_KNOWN = ((0, 10), (0, 12))  # The first and last jaxlib seen to know the flag: another would end the process over it.


def cpu_flags() -> str:
    """The XLA_FLAGS with which the installed jaxlib runs convolutions faster on a CPU.

    Whoever starts JAX themselves sets them before JAX first computes, and leaves their own flags alone:

        os.environ.setdefault("XLA_FLAGS", vtnjax.cpu_flags())

    Returns:
        The flags, separated by spaces. The string is empty where JAX has a plugin for a GPU or a TPU, whose compiler
        reads the same variable, and where this jaxlib is not known to have the flags.
    """
    try:
        version = importlib.metadata.version("jaxlib")
    except importlib.metadata.PackageNotFoundError:
        return ""
    first, last = _KNOWN
    known = first <= tuple(map(int, re.findall(r"\d+", version)[:2])) <= last
    return _CONVOLUTIONS if known and not _has_accelerator() else ""


def _has_accelerator() -> bool:
    """Whether JAX would find a plugin for something else than a CPU."""
    modules = any(importlib.util.find_spec(name) for name in ("libtpu", "jax_plugins"))
    return modules or bool(importlib.metadata.entry_points(group="jax_plugins"))
