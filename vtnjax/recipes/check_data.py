"""Reading every picture once before a run does, and saying what the readers of data left out."""

import logging
from collections.abc import Callable

from vtnjax import data
from vtnjax.recipes.recipe import read_sources
from vtnjax.train.config import Config


def check_data(config: Config, say: Callable[[str], None]) -> int:
    """Read every picture of a config's training and test set once, and tell of each that cannot be read.

    Args:
        config: the config; its `source_options.on_error` is left aside, so that pictures a run would skip count too.
        say: the function that shows a line.

    Returns:
        The number of pictures that cannot be read.
    """
    sources = read_sources(config, without=("on_error",))
    count, bad = sum(map(len, sources)), [found for source in sources for found in data.check_source(source)]
    for name, reason in bad:
        say(f"{name}: {reason}")
    say(f"{len(bad):,} of {count:,} pictures cannot be read")
    return len(bad)


def show_left_out() -> None:
    """Write what the readers of data log, such as the names of pictures they skip, to stderr."""
    logger = logging.getLogger("vtnjax.data")
    logger.setLevel(logging.INFO)
    logger.handlers = [logging.StreamHandler()]  # one, also where a notebook runs train.py again
    logger.propagate = False
