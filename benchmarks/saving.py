"""Where a benchmark leaves what it measured."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from vtnjax.experiments.record import write_record

RESULTS = Path(__file__).parent.parent / "results"


def save(name: str, command: str, *, seconds: float, figures: Mapping[str, Any], packages: Sequence[str] = ()) -> None:
    """Write results/NAME-PLATFORM.json and say so; `packages` are those beside JAX's whose versions matter."""
    path = RESULTS / f"{name}-{jax.default_backend()}.json"
    write_record(path, command, seconds=seconds, figures=figures, packages=packages)
    print(f"\nwrote {path}")
