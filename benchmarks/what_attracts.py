"""What must a warp of features see to be drawn to the object: all channels, or the maximum and mean of each group?

    python -m vtnjax.experiments.store_features scenes --config.data_dir=/usr/share/tuxpaint/stamps
    python benchmarks/what_attracts.py runs/features/scenes

Trains warps on the features of configs/scenes.py:frozen, by the recipe of its saliency sampler (SSN) but for the warp,
and prints their test errors. One warp is SSN; another is drawn by a softmax over 5 x 5 candidates, as VTN is, but to a
response that is learned, of one field or of a field for each of 32 groups of channels. The map of each is made by a
1 x 1 convolution, of all channels or of each group's maximum and mean, which is what VTN's estimator sees. Writes
results/what-attracts-<platform>.json.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float
from saving import save

from vtnjax import experiments, nn, ops, recipes, train

GROUPS, WINDOW = 32, (5, 5)


def maximum_and_mean(features: Float[Array, "n h w c"]) -> Float[Array, "n h w c2"]:
    """Of each group of channels, as VTN's estimator sees them."""
    grouped = features.reshape(*features.shape[:3], GROUPS, -1)
    return jnp.concatenate([grouped.max(-1), grouped.mean(-1)], axis=-1)


class Drawn(nnx.Module):
    """Features warped by what a 1 x 1 convolution, zero at first, makes of them or of what is seen of them."""

    def __init__(self, warp: Callable[..., Any], maps: int, channels: int, *, all_channels: bool, seed: int):
        seen, zeros = channels if all_channels else 2 * GROUPS, nnx.initializers.zeros
        self.response = nnx.Conv(seen, maps, (1, 1), kernel_init=zeros, rngs=nnx.Rngs(seed))
        self.warp, self.all_channels = warp, all_channels

    def __call__(self, features: Float[Array, "n h w c"]) -> tuple[Float[Array, "n h w c"], dict[str, Array]]:
        """Warp a batch."""
        seen = features if self.all_channels else maximum_and_mean(features)
        return self.warp(features, self.response(seen))


def by_candidates(
    features: Float[Array, "n h w c"], response: Float[Array, "n h w groups"]
) -> tuple[Float[Array, "n h w c"], dict[str, Array]]:
    """Warp each group of channels by the mean offset of the candidates, as VTN does without residuals."""

    def coords(response):
        residual = jnp.zeros((*response.shape, WINDOW[0] * WINDOW[1]))
        probabilities = ops.candidate_probabilities(residual, response, window=WINDOW, temperature=1.0)
        return ops.displace(ops.expected_displacement(probabilities, window=WINDOW))

    read = jax.vmap(coords)(response)
    return jax.vmap(ops.sample_channels)(features, read), {"coords": read}


def test_error(config: Any, warp: Callable[..., nnx.Module], seed: int) -> float:
    """The percentage of the test set that a network with this warp gets wrong after its training."""
    recipe = recipes.read_recipe(config)
    network: Any = recipe.network(seed)
    network.transformer = warp(recipe.train[0]["image"].shape[-1], seed=seed)
    optimiser = train.make_optimiser(config, recipe.rates)
    graphdef, state = train.create_state(network, optimiser, seed)
    step = jax.jit(recipe.training_step(graphdef, optimiser), donate_argnums=0)
    batches = recipe.batches(seed)
    for _ in range(config.steps):
        state, _ = step(state, next(batches))
    evaluate = recipes.make_evaluate(recipe, config.batch_size, train.data_mesh())
    return 100 * (1 - evaluate(train.merged(graphdef, state))["accuracy"])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("features", help="the folder that store_features wrote")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, from 0 on (default 3)")
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        parser.error(f"--seeds must be at least 1, not {arguments.seeds}")
    if not Path(arguments.features).is_dir():
        parser.error(f"features must be the folder that store_features wrote, and there is no {arguments.features}")
    table, nowhere = experiments.Table("", "scenes", {}), Path()
    overrides = (f"--config.data_dir={arguments.features}",)
    config = experiments.Runner("", table, overrides, nowhere, nowhere).load("frozen,warp=ssn")
    size = recipes.read_recipe(config).train[0]["image"].shape[:2]
    warps = {
        "saliency sampler": (nn.SaliencySampler(size), 1),
        "5 x 5 candidates, one field": (by_candidates, 1),
        "5 x 5 candidates, 32 fields": (by_candidates, GROUPS),
    }
    began, errors = time.perf_counter(), {}
    for name, (warp, maps) in warps.items():
        for sight in ("all channels", "maximum and mean"):
            make = functools.partial(Drawn, warp, maps, all_channels=sight == "all channels")
            row = f"{name}, of {sight}"
            errors[row] = [test_error(config, make, seed) for seed in range(arguments.seeds)]
            print(
                f"{row:50}{statistics.mean(errors[row]):5.1f}", *(f"{error:.1f}" for error in errors[row]), flush=True
            )
    command = f"python benchmarks/what_attracts.py FEATURES --seeds {arguments.seeds}"
    save("what-attracts", command, seconds=time.perf_counter() - began, figures=errors)


if __name__ == "__main__":
    main()
