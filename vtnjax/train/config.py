"""Configs: plain values, chosen by variant, checked before anything is built, and kept as JSON in a workdir."""

import contextlib
import functools
import json
import math
import numbers
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from etils import epath

from vtnjax._checks import check_choice, nearest
from vtnjax.train.store import write_whole

# An ml_collections.ConfigDict. Its own types make a union of everything of each value; `check_config` checks instead.
Config: TypeAlias = Any

REQUIRED = ("steps", "batch_size", "learning_rate", "seed", "data_dir", "log_every", "eval_every", "checkpoint_every")
# Keys that came later, with what runs did before they came.
LATER: dict[str, Any] = {
    "head_multiplier": 1.0,
    "head_alone_steps": 0,
    "trunk_multiplier": 1.0,
    "label_smoothing": 0.0,
    "class_weights": [],
    "ema": 0.0,
    "micro_batches": 1,
}
WEIGHTS = ("pretrained", "attention_pretrained")
_REMEDY = "restore it, or remove it and the same command writes it anew"

Bound: TypeAlias = tuple[str, Callable[[Any], bool]]
ABOVE_0: Bound = ("above 0 and finite", lambda value: 0 < value < math.inf)
AT_LEAST_0: Bound = ("at least 0 and finite", lambda value: 0 <= value < math.inf)
BELOW_1: Bound = ("at least 0 and below 1", lambda value: 0 <= value < 1)
WHOLE: Bound = ("a whole number of at least 0", lambda value: isinstance(value, int) and value >= 0)
COUNT: Bound = ("a whole number of at least 1", lambda value: isinstance(value, int) and value >= 1)
SEED: Bound = (
    "a whole number of at least 0 and below 2**63",
    lambda value: isinstance(value, int) and 0 <= value < 2**63,
)

# Other values would silently learn nothing, or something else. Other numbers are checked where they are used.
BOUNDS = {
    "steps": WHOLE,  # 0: the network is tested and saved as it is
    "batch_size": COUNT,
    "seed": SEED,
    "data_threads": WHOLE,
    "log_every": COUNT,
    "eval_every": COUNT,
    "checkpoint_every": COUNT,
    "learning_rate": ABOVE_0,
    "warmup_steps": WHOLE,
    "momentum": BELOW_1,
    "weight_decay": AT_LEAST_0,
    "clip_norm": AT_LEAST_0,
    "localiser_multiplier": AT_LEAST_0,
    "trunk_multiplier": AT_LEAST_0,
    "head_multiplier": ABOVE_0,
    "head_alone_steps": WHOLE,
    "label_smoothing": BELOW_1,
    "ema": BELOW_1,
    "micro_batches": COUNT,
}


def choose(variant: str, /, **choices: Sequence[str] | bool) -> dict[str, Any]:
    """The choices of a config's variant: "smoke,model=fcn" with `model=("st_fcn", "fcn"), smoke=False`.

    Args:
        variant: the text after the config file's colon, with choices separated by commas.
        **choices: the values that each key may have, the first being the default, or False for a switch.

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
            raise ValueError(f"the variant must be of {', '.join(choices)}, not {item!r}{nearest(key, choices)}")
        if isinstance(values, bool):
            if equals:
                raise ValueError(f"the variant {key!r} must be a switch without a value, not {item!r}")
            chosen[key] = True
        else:
            check_choice(f"the variant {key}", value, values)
            chosen[key] = value
    return chosen


def check_config(config: Config) -> None:
    """Raise a ValueError in a sentence unless the numbers that every run needs make sense."""
    missing = [key for key in REQUIRED if key not in config]
    if missing:
        raise ValueError(f"the config must have {', '.join(REQUIRED)}, but lacks {', '.join(missing)}")
    check_numbers(config)


def check_numbers(config: Config, bounds: Mapping[str, Bound] = BOUNDS) -> None:
    """Raise a ValueError in a sentence if the config has a number that is out of its range."""
    for key, (what, holds) in bounds.items():
        *parts, last = key.split(".")
        part = functools.reduce(lambda part, name: part.get(name, {}), parts, config)
        if last in part and not (isinstance(part[last], numbers.Real) and holds(part[last])):
            raise ValueError(f"config.{key} must be {what}, not {part[last]!r}")


def wrong_key(config: Config, key: str, moved: Mapping[str, str]) -> str | None:
    """A sentence about a key, such as "network.warp.name", that a config has not; None if it has it.

    Args:
        config: the config that its file makes.
        key: the text after "config." on the command line.
        moved: the present name of each key that had another name once.
    """
    part, before = config, []
    for name in key.split("."):
        if not hasattr(part, "keys"):
            return f"config.{'.'.join(before)} has no keys of its own, but config.{key} was given"
        before.append(name)
        if name not in part:
            if not before[1:] and name in moved:
                for now in (moved[name] + key.removeprefix(name), f"network.{key}"):
                    if now.partition(",")[1] or wrong_key(config, now, {}) is None:
                        return f"the config has no key {key!r}: it is now config.{now}"
            return f"the config has no key {'.'.join(before)!r}{nearest(name, list(part))}"
        part = part[name]
    return None


@contextlib.contextmanager
def naming(key: str) -> Iterator[None]:
    """Say in which part of the config a value is wrong, or a key too much or missing."""
    try:
        yield
    except ValueError as error:
        if str(error).startswith("config."):  # a part of this part was named already
            raise
        raise ValueError(f"config.{key}: {error}") from error
    except TypeError as error:
        if found := re.search("unexpected keyword argument (.*)", str(error)):
            raise ValueError(f"config.{key} must not have {found[1]}, which is no option of it") from error
        if found := re.search("missing .*arguments?: (.*)", str(error)):
            raise ValueError(f"config.{key} must have {found[1]}, for which there is no default") from error
        raise


def read_config(workdir: epath.PathLike) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The config that a run has, as JSON has it, and its history: what changed while it went on.

    Raises:
        ValueError: if `config.json` holds no JSON of a config, naming the file.
        OSError: if it cannot be read.
    """
    config = read_json(epath.Path(workdir) / "config.json")
    return config, config.pop("history", [])


def write_config(workdir: epath.Path, config: Config, history: Sequence[dict[str, Any]] = ()) -> None:
    """Leave `config.json` in the workdir, whole or not at all; a history that is empty leaves no trace."""
    beside = {"history": list(history)} if history else {}
    write_json(workdir / "config.json", {**json.loads(config.to_json()), **beside})


def read_json(path: epath.Path) -> dict[str, Any]:
    """The dictionary that `write_json` wrote.

    Raises:
        ValueError: if the file holds something else, naming it.
        OSError: if it cannot be read.
    """
    try:
        value = json.loads(path.read_text())
    except ValueError as error:  # of UTF-8 or of JSON
        raise ValueError(f"{path} must hold a JSON object, but it is damaged ({error}): {_REMEDY}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object, not {type(value).__name__}: {_REMEDY}")
    return value


def write_json(path: epath.Path, value: dict[str, Any]) -> None:
    """A JSON file, whole or not at all."""
    write_whole(path, (json.dumps(value, indent=2, sort_keys=True) + "\n").encode())
