"""The command line: a sentence for each mistake that absl and ml_collections raise, and for each they pass over."""

import ast
import contextlib
import itertools
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from vtnjax._checks import nearest
from vtnjax.train.config import wrong_key
from vtnjax.train.loop import DivergedError, StoppedError


def forget_flags() -> None:
    """Take back the flags of an earlier run in the same interpreter, such as `%run train.py` in a notebook."""
    defined = flags.FLAGS.flags_by_module_dict()
    earlier = [flag.name for flag in defined.get(flags.FLAGS.find_module_defining_flag("config") or "", [])]
    # An override of that run is a flag too, bound to that run's config.
    overrides = [name for name in flags.FLAGS if name.startswith("config.")]
    for name in {*earlier, *overrides}:
        delattr(flags.FLAGS, name)


def parse_flags(args: list[str], *, moved: Mapping[str, str] | None = None) -> list[str]:
    """Read the flags of the command line; a wrong flag, or a word that is no flag, ends the program with a sentence.

    Args:
        args: the words of the command line.
        moved: the present name of each key of a config that had another name once.
    """
    _explain_config(args)
    try:
        rest = flags.FLAGS(args)
        hasattr(flags.FLAGS.config, "steps")  # a file that could not be loaded raises only when it is looked at
    except (flags.Error, OSError) as error:
        sys.exit(f"train.py: {_sentence(error)}")
    except (AttributeError, LookupError, TypeError, ValueError):
        wrong = _wrong_key(args, moved or {})
        if wrong is None:
            raise
        sys.exit(f"train.py: {wrong}")
    if rest[1:]:
        sys.exit(f"train.py: {'; '.join(_left_over(word, args) for word in rest[1:])}")
    return rest


@contextlib.contextmanager
def sentences() -> Iterator[None]:
    """End the program with a sentence instead of a traceback where a user can mend what is wrong."""
    try:
        yield
    except (ValueError, OSError, ImportError, DivergedError) as error:
        sys.exit(f"train.py: {error}")
    except AttributeError as error:
        if not isinstance(error.obj, ConfigDict):
            raise
        hint = nearest(str(error.name), list(error.obj))
        sys.exit(f"train.py: the config lacks the key {error.name!r}{hint}")
    except StoppedError as stop:
        print(f"train.py: {stop}", flush=True)
        sys.exit(143)
    except KeyboardInterrupt:
        print("train.py: interrupted before or after the loop; the same command goes on", flush=True)
        sys.exit(130)


def _explain_config(args: list[str]) -> None:
    """Print the config file's docstring, which tells of its variants, above the flags where help is asked for."""
    if not {"--help", "-h", "-help", "--helpfull", "--helpshort"} & {*args[1:]}:
        return
    values = [after for before, after in itertools.pairwise(args) if before in ("--config", "-config")]
    values += [value for flag, _, value in (arg.partition("=") for arg in args) if flag in ("--config", "-config")]
    for path in (Path(value.partition(":")[0]) for value in filter(None, values)):
        with contextlib.suppress(SyntaxError):  # reading the config says where
            if path.is_file() and (docstring := ast.get_docstring(ast.parse(path.read_text()))):
                print(f"{path}:\n\n{docstring}\n")


def _wrong_key(args: list[str], moved: Mapping[str, str]) -> str | None:
    """A sentence about the first `--config.KEY` whose key the config file does not have."""
    alone = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=alone, sys_argv=[])
    alone(args, known_only=True)
    for override in filter(None, (re.match(r"--?(?:no)?config\.([^=]*)", arg) for arg in args)):
        if wrong := wrong_key(alone.config, override[1], moved):
            return wrong
    return None


def _left_over(word: str, args: list[str]) -> str:
    """The sentence about a word that belongs to no flag."""
    before, flag = args[args.index(word) - 1], word.lstrip("-\u2013\u2014")
    if flag.partition("=")[0] in flags.FLAGS or flag.startswith("config."):
        meant = f"--{flag}"
    elif before.startswith("-") and "=" not in before:
        meant = f"{before}={word}"
    else:
        return f"{word!r} belongs to no flag"
    return f"{word!r} belongs to no flag; did you mean {meant}?"


def _sentence(error: BaseException) -> str:
    text = str(error)
    if "Error whilst parsing config file" in text:
        # The flag's error, ml_collections' with the traceback, the config's own.
        while error.__context__ is not None:
            error = error.__context__
        return str(error)
    return " ".join(text[text.find("[Errno") :].split()) if "Failed loading config file" in text else text
