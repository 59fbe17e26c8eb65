"""Optimisers and learning-rate schedules from a config's values, all optax."""

from collections.abc import Hashable
from typing import Any

import jax
import optax

from vtnjax.train.config import Config, nearest
from vtnjax.train.state import Variables

OPTIMISERS = ("sgd", "momentum", "adam")
SCHEDULES = ("constant", "step", "cosine")


def learning_rate_schedule(config: Config) -> optax.Schedule:
    """The learning rate by step.

    "step" multiplies by `config.decay_factor` at each of `config.boundaries`, fractions of `config.steps`; "cosine"
    falls to 0 at the last step; all begin with `config.warmup_steps` of linear growth from 0. Where there is a
    `config.learning_rate_batch`, the rate is for batches of that many and grows in proportion to the batch.

    Raises:
        ValueError: if the schedule's name is unknown or the warm-up is longer than the run.
    """
    if config.schedule not in SCHEDULES:
        raise ValueError(
            f"config.schedule must be one of {SCHEDULES}, not {config.schedule!r}{nearest(config.schedule, SCHEDULES)}"
        )
    if not 0 <= config.warmup_steps < config.steps:
        raise ValueError(
            f"config.warmup_steps must be from 0 to below steps ({config.steps}), not {config.warmup_steps}"
        )
    rate = config.learning_rate * config.batch_size / config.get("learning_rate_batch", config.batch_size)
    left = config.steps - config.warmup_steps
    if config.schedule == "constant":
        after = optax.constant_schedule(rate)
    elif config.schedule == "cosine":
        after = optax.cosine_decay_schedule(rate, left)
    else:
        boundaries = {round(f * config.steps) - config.warmup_steps: config.decay_factor for f in config.boundaries}
        after = optax.piecewise_constant_schedule(rate, boundaries)
    if not config.warmup_steps:
        return after
    return optax.join_schedules([optax.linear_schedule(0, rate, config.warmup_steps), after], [config.warmup_steps])


def make_optimiser(config: Config) -> optax.GradientTransformation:
    """Gradient clipping, weight decay, SGD, momentum or Adam, and the localisers' own learning rate.

    Parameters below a module attribute named `transformer` are a localiser's: their updates are multiplied by
    `config.localiser_multiplier` (STN appendix A.5, A.6).

    Raises:
        ValueError: if the optimiser's name is unknown or a number is out of range.
    """
    if config.optimiser not in OPTIMISERS:
        hint = nearest(config.optimiser, OPTIMISERS)
        raise ValueError(f"config.optimiser must be one of {OPTIMISERS}, not {config.optimiser!r}{hint}")
    if config.clip_norm < 0 or config.weight_decay < 0 or config.localiser_multiplier < 0:
        raise ValueError("config.clip_norm, weight_decay and localiser_multiplier must be at least 0")
    rate = learning_rate_schedule(config)
    steps = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    if config.optimiser == "adam":
        steps += [optax.scale_by_adam(), optax.add_decayed_weights(config.weight_decay)]
    else:
        steps += [optax.add_decayed_weights(config.weight_decay)]
        steps += [optax.trace(config.momentum)] if config.optimiser == "momentum" else []
    steps += [optax.scale_by_learning_rate(rate)]
    if config.localiser_multiplier != 1:
        own: dict[Hashable, optax.GradientTransformation] = {
            "localiser": optax.scale(config.localiser_multiplier),
            "other": optax.identity(),
        }
        steps += [optax.multi_transform(own, localiser_labels)]
    return optax.chain(*steps)


def localiser_labels(params: Variables) -> Any:
    """For each parameter "localiser", if it is below an attribute named `transformer`, or "other"."""

    def label(path, _):
        names = [str(getattr(key, "key", getattr(key, "name", key))) for key in path]
        return "localiser" if "transformer" in names else "other"

    return jax.tree_util.tree_map_with_path(label, params)
