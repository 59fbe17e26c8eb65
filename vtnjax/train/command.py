"""The command line: what absl and ml_collections raise, in a sentence."""

import re
import sys

from absl import flags


def parse_flags(args: list[str]) -> list[str]:
    """Read the flags of the command line; what is wrong with one ends the program with a sentence."""
    try:
        rest = flags.FLAGS(args)
        hasattr(flags.FLAGS.config, "steps")  # a file that could not be loaded raises only when it is looked at
        return rest
    except AttributeError as error:
        key = re.search(r"\w+", str(error))
        near = re.search(r'Did you mean "([\w.]+)"', str(error))
        hint = f"; did you mean {near[1]!r}?" if near else ""
        sys.exit(f"train.py: the config has no key {key[0] if key else str(error)!r}{hint}")
    except (flags.Error, OSError) as error:
        sys.exit(f"train.py: {_sentence(error)}")


def _sentence(error: BaseException) -> str:
    text = str(error)
    if "Error whilst parsing config file" in text:
        # The flag's error, ml_collections' with the traceback, the config's own.
        while error.__context__ is not None:
            error = error.__context__
        return str(error)
    return " ".join(text[text.find("[Errno") :].split()) if "Failed loading config file" in text else text
