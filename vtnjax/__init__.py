"""Learned spatial warping in JAX: samplers, grids, spatial transformers and the recipes that train them.

A room is imported when it is first asked for: `from vtnjax import ops` loads JAX, and nothing of what training needs.
"""

import importlib
from typing import TYPE_CHECKING, Any

from vtnjax._checks import nearest

if TYPE_CHECKING:
    from vtnjax import data, distort, evaluate, experiments, losses, models, nn, ops, plot, recipes, retrieval, train
    from vtnjax._cpu import cpu_flags
    from vtnjax.recipes import load_run

__version__ = "0.1.0"
__all__ = (
    "data",
    "distort",
    "evaluate",
    "experiments",
    "losses",
    "models",
    "nn",
    "ops",
    "plot",
    "recipes",
    "retrieval",
    "train",
    "cpu_flags",
    "load_run",
)
_FUNCTIONS = {"cpu_flags": "_cpu", "load_run": "recipes"}  # with their modules


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{nearest(name, __all__)}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(f"{__name__}.{_FUNCTIONS[name]}"), name)
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
