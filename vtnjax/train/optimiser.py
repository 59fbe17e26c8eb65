"""Optimisers and learning-rate schedules from a config's values, all optax."""

import itertools
import numbers
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from vtnjax._checks import check_choice
from vtnjax.train.config import Config, check_numbers
from vtnjax.train.state import path_names

OPTIMISERS = ("sgd", "momentum", "adam")
SCHEDULES = ("constant", "step", "cosine")

Rates: TypeAlias = Callable[[tuple[str, ...]], tuple[float, int]]


def learning_rate_schedule(config: Config) -> optax.Schedule:
    """The learning rate by step.

    "step" multiplies by `config.decay_factor` at each of `config.boundaries`, fractions of `config.steps`; "cosine"
    falls to 0 at the last step; all begin with `config.warmup_steps` of linear growth from 0. A run of no step has no
    schedule.

    Raises:
        ValueError: if the schedule's name is unknown, the warm-up is longer than the run, or with "step" the factor is
            not between 0 and 1 or the boundaries are not increasing fractions of the run, the first after the warm-up.
    """
    check_choice("config.schedule", config.schedule, SCHEDULES)
    if not config.steps:
        return optax.constant_schedule(config.learning_rate)
    if not 0 <= config.warmup_steps < config.steps:
        raise ValueError(
            f"config.warmup_steps must be from 0 to below steps ({config.steps}), not {config.warmup_steps}"
        )
    check_numbers(config)
    rate, left = config.learning_rate, config.steps - config.warmup_steps
    if config.schedule == "constant":
        after = optax.constant_schedule(rate)
    elif config.schedule == "cosine":
        after = optax.cosine_decay_schedule(rate, left)
    else:
        _check_decay(config)
        boundaries: dict[int, float] = {}
        for fraction in config.boundaries:  # in a short run several may fall on one step
            step = round(fraction * config.steps) - config.warmup_steps
            boundaries[step] = boundaries.get(step, 1.0) * config.decay_factor
        after = optax.piecewise_constant_schedule(rate, boundaries)
    if not config.warmup_steps:
        return after
    return optax.join_schedules([optax.linear_schedule(0, rate, config.warmup_steps), after], [config.warmup_steps])


def make_optimiser(
    config: Config, rates: Rates | None = None, *, history: Sequence[dict[str, Any]] = ()
) -> optax.GradientTransformation:
    """Gradient clipping, weight decay, SGD, momentum or Adam, and parameters' own learning rates.

    Args:
        config: the run's config.
        rates: the function from the names on a parameter's path to the factor of its updates, and to the step from
            which it learns; a parameter with the factor 0 never learns. None: every parameter learns at the rate.
        history: the run's history, as `open_workdir` returns it: where clipping came or went while the run went on,
            the optimiser's state keeps the names that its checkpoints have.

    Raises:
        ValueError: if the optimiser's name is unknown or a number is out of range.
    """
    check_choice("config.optimiser", config.optimiser, OPTIMISERS)
    rate = learning_rate_schedule(config)
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else optax.identity()
    clipped_first = next((change["before"] for change in history if change["key"] == "clip_norm"), config.clip_norm)
    steps = [clip] if clipped_first else []
    if config.optimiser == "adam":
        steps += [optax.scale_by_adam(), optax.add_decayed_weights(config.weight_decay)]
    else:
        steps += [optax.add_decayed_weights(config.weight_decay)]
        steps += [optax.trace(config.momentum)] if config.optimiser == "momentum" else []
    steps += [optax.scale_by_learning_rate(rate)]
    steps += [scale_by_rates(rates)] if rates else []
    chain = optax.chain(*steps)
    if clipped_first or not config.clip_norm:
        return chain

    def update(updates, state, params=None):
        return chain.update(clip.update(updates, optax.EmptyState())[0], state, params)

    return optax.GradientTransformation(chain.init, update)


def _check_decay(config: Config) -> None:
    """Raise a ValueError unless a schedule by steps lowers the rate within the run."""
    if not 0 < config.decay_factor < 1:
        raise ValueError(f"config.decay_factor must be above 0 and below 1, not {config.decay_factor!r}")
    given, run = config.boundaries, config.steps
    fractions: tuple[Any, ...] = tuple(given) if isinstance(given, Sequence) else ()
    real = fractions and all(isinstance(fraction, numbers.Real) for fraction in fractions)
    if not real or not all(a < b for a, b in itertools.pairwise((0, *fractions, 1))):
        hint = ""
        if real and all(1 <= step < run for step in fractions):
            hint = f"; steps {given} of {run:,} are {tuple(round(step / run, 4) for step in fractions)}"
        raise ValueError(
            f"config.boundaries must be increasing fractions of the run, above 0 and below 1, not {given}{hint}"
        )
    if fractions[0] * run <= config.warmup_steps:
        raise ValueError(
            f"config.boundaries must come after the warm-up of {config.warmup_steps:,} steps, not at step "
            f"{fractions[0] * run:,.0f}"
        )


class _RatesState(NamedTuple):
    step: Int[Array, ""]


def scale_by_rates(rates: Rates) -> optax.GradientTransformation:
    """Multiply each parameter's updates by its factor, from its first step on; see `make_optimiser`."""

    def update(updates, state, params=None):
        def scaled(path, update):
            factor, first = rates(path_names(path))
            return jnp.where(state.step >= first, update * factor, 0) if first else update * factor

        return jax.tree_util.tree_map_with_path(scaled, updates), _RatesState(state.step + 1)

    return optax.GradientTransformation(lambda params: _RatesState(jnp.zeros((), jnp.int32)), update)
