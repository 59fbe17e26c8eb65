"""Configs of shorter runs: `smaller.py:NAME:VARIANT` is that of configs/NAME.py with fewer digits and a small trunk."""

import runpy
from pathlib import Path
from typing import Any

CONFIGS = Path(__file__).parents[1] / "configs"
DIGITS = {"source_options": {"count": 96}}
TRUNK = {"network.trunk": {"name": "small", "widths": (4, 6, 8)}}
TRUNKS = {**TRUNK, "network.attention_trunk": TRUNK["network.trunk"]}
SMALLER: dict[str, dict[str, Any]] = {
    "digits_stn": DIGITS,
    "distorted_digits": DIGITS,
    "feature_maps": DIGITS,
    "volume_digits": {**DIGITS, "network.sampled": (8, 16, 16)},
    "two_digits": {"network.warp_options.widths": (4, 4, 4, 4)},
    "cub_stn": TRUNK,
    "cub_tasn": TRUNKS,
    "hidden_digits": TRUNKS,
    "solar": TRUNKS,
    "cub_vtn": {**TRUNK, "network.warp.groups": 4},
    "cub_dcl": TRUNK,
    "delf": TRUNK,
    "composites": TRUNK,
    "retrieval": {**TRUNK, "network.scale": 1.0},
    "scenes": {**TRUNK, "network.warp.groups": 4},
}


def get_config(variant: str) -> Any:
    """The config of a name and a variant of its own."""
    name, _, variant = variant.partition(":")
    config = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"](variant)
    put(config, SMALLER.get(name, {}))
    return config


def put(config: Any, values: dict[str, Any]) -> None:
    """Put values where their dotted keys say, of other types too."""
    for key, value in values.items():
        *parts, last = key.split(".")
        part = config
        for each in parts:
            part = part[each]
        with part.ignore_type():
            part[last] = value
