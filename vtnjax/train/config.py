"""Configs: plain values, chosen by variant, checked before anything is built, and compared when a run goes on."""

import difflib
import json
from collections.abc import Sequence
from typing import Any, TypeAlias

from etils import epath

from vtnjax.train.store import write_whole

# An ml_collections.ConfigDict. Its own types make a union of everything of each value; `check_config` checks instead.
Config: TypeAlias = Any

DTYPES = ("float32", "bfloat16")
REQUIRED = ("steps", "batch_size", "learning_rate", "seed", "data_dir", "log_every", "eval_every", "checkpoint_every")


def choose(variant: str, /, **choices: Sequence[str] | bool) -> dict[str, Any]:
    """What a config's variant chooses: "smoke,model=fcn" with `model=("st_fcn", "fcn"), smoke=False`.

    Args:
        variant: the text after the config file's colon, choices separated by commas.
        **choices: for each key the values it may have, the first being the default, or False for a switch.

    Returns:
        A value for every key.

    Raises:
        ValueError: if a key or a value does not exist, naming the nearest that does.
    """
    chosen = {key: values if isinstance(values, bool) else values[0] for key, values in choices.items()}
    for item in filter(None, variant.split(",")):
        key, equals, value = (part.strip() for part in item.partition("="))
        values = choices.get(key)
        if values is None:
            raise ValueError(f"the variant {item!r} is none of {', '.join(choices)}{nearest(key, choices)}")
        if isinstance(values, bool):
            if equals:
                raise ValueError(f"the variant {key!r} is a switch and takes no value, but it was {item!r}")
            chosen[key] = True
        elif value in values:
            chosen[key] = value
        else:
            raise ValueError(
                f"the variant {key} must be one of {', '.join(values)}, not {value!r}{nearest(value, values)}"
            )
    return chosen


def nearest(word: str, words: Sequence[str] | dict[str, Any]) -> str:
    """A hint at the nearest of `words`, or nothing."""
    near = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def check_config(config: Config) -> None:
    """Raise a ValueError in a sentence unless the numbers that every run needs make sense."""
    missing = [key for key in REQUIRED if key not in config]
    if missing:
        raise ValueError(f"the config lacks {', '.join(missing)}: every config has {', '.join(REQUIRED)}")
    for key in ("steps", "batch_size", "log_every", "eval_every", "checkpoint_every"):
        if not isinstance(config[key], int) or config[key] < 1:
            raise ValueError(f"config.{key} must be a whole number of at least 1, not {config[key]!r}")
    if not config.learning_rate > 0:
        raise ValueError(f"config.learning_rate must be above 0, not {config.learning_rate!r}")
    if not isinstance(config.seed, int) or config.seed < 0:
        raise ValueError(f"config.seed must be a whole number of at least 0, not {config.seed!r}")
    if config.get("dtype", DTYPES[0]) not in DTYPES:
        raise ValueError(f"config.dtype must be one of {DTYPES}, not {config.dtype!r}{nearest(config.dtype, DTYPES)}")


def config_differences(workdir: epath.Path, config: Config) -> list[str]:
    """How a config differs from the one a workdir was started with, a line each; none in a new workdir."""
    path = workdir / "config.json"
    if not path.exists():
        return []
    before, now = json.loads(path.read_text()), json.loads(config.to_json())
    keys = sorted({*before, *now})
    absent = "absent"
    return [
        f"{key} was {before.get(key, absent)!r} and is now {now.get(key, absent)!r}"
        for key in keys
        if before.get(key, absent) != now.get(key, absent)
    ]


def write_config(workdir: epath.Path, config: Config) -> None:
    """Leave `config.json` in the workdir, whole or not at all."""
    text = json.dumps(json.loads(config.to_json()), indent=2, sort_keys=True) + "\n"
    write_whole(workdir / "config.json", text.encode())
