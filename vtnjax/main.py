"""The command `vtnjax`: `vtnjax train --config digits_stn` runs train.py wherever vtnjax is installed."""

import importlib
import itertools
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from vtnjax._checks import nearest

_PACKAGE = Path(__file__).parent
_SHIPPED = _PACKAGE / "_shipped"  # in a wheel; in a checkout the same files stand beside the package
HOME = _SHIPPED if _SHIPPED.is_dir() else _PACKAGE.parent  # of train.py and configs/


def main() -> None:
    """Run the command that the first word of the command line names."""
    name, *words = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(_help())
    elif name in COMMANDS:
        COMMANDS[name](words)
    else:
        sys.exit(f"vtnjax: the command must be one of {', '.join(COMMANDS)}, not {name!r}{nearest(name, COMMANDS)}")


def train(words: list[str]) -> None:
    """Train a network, or go on with a run that was stopped: `vtnjax train --config digits_stn`."""
    _import("train")  # says which extra is missing, where train.py's imports would not
    script = str(HOME / "train.py")
    sys.argv = [script, *_with_paths(words)]
    runpy.run_path(script, run_name="__main__")


def predict(words: list[str]) -> None:
    """Say what a trained run's network sees in pictures: `vtnjax predict runs/birds wren.jpg more/`."""
    _import("predict").main(words)


def export(words: list[str]) -> None:
    """Write a trained run's network as a program that runs without vtnjax: `vtnjax export runs/birds birds.bin`."""
    _import("export").main(words)


COMMANDS: dict[str, Callable[[list[str]], None]] = {"train": train, "predict": predict, "export": export}


def _import(module: str) -> ModuleType:
    """A module of vtnjax, or the end of the program with what it says is missing."""
    try:
        return importlib.import_module(f"vtnjax.{module}")
    except ModuleNotFoundError as error:
        sys.exit(f"vtnjax: {error}")


def _help() -> str:
    lines = [f"  {name:8} {command.__doc__}" for name, command in COMMANDS.items()]
    return "\n".join(["usage: vtnjax COMMAND ...", "", *lines, "", "`vtnjax COMMAND --help` lists a command's flags."])


def _with_paths(words: list[str]) -> list[str]:
    """The words of a command line, with the path of a config in place of its bare name."""
    flags, found = ("--config", "-config"), []
    for before, word in itertools.pairwise(["", *words]):
        flag, equals, value = word.partition("=")
        if before in flags:
            found.append(_config_path(word))
        elif equals and flag in flags:
            found.append(f"{flag}={_config_path(value)}")
        else:
            found.append(word)
    return found


def _config_path(config: str) -> str:
    """NAME[:VARIANT] with NAME's path among the configs that come with vtnjax; a path stays as it is."""
    name, colon, variant = config.partition(":")
    if Path(name).is_file() or Path(name).name != name or name.endswith(".py"):
        return config
    configs = {path.stem: path for path in sorted((HOME / "configs").glob("*.py"))}
    if name not in configs:
        known = ", ".join(configs)
        sys.exit(f"vtnjax: --config must be a file or one of {known}, not {name!r}{nearest(name, configs)}")
    return f"{configs[name]}{colon}{variant}"
