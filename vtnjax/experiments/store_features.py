"""Features of a frozen trunk, computed once: what warps and heads are trained on within minutes on two cores.

    python -m vtnjax.experiments.store_features scenes --config.data_dir=/usr/share/tuxpaint/stamps

runs the trunk of configs/scenes.py over the training images and those that it is tested on, without augmentation, and
keeps its last features in runs/features/scenes. `python train.py --config configs/scenes.py:frozen
--config.data_dir=runs/features/scenes` trains on them, and so does any config with `dataset="stored"` and the trunk
"none". A split that is there already is left as it is.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import jax
import numpy as np

from vtnjax import data, experiments, models, recipes
from vtnjax.data.stored import write_stored
from vtnjax.experiments.checkout import find_checkout
from vtnjax.models.layers import last_features
from vtnjax.recipes.recipe import read_input, read_sources

_BATCH = 50


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m vtnjax.experiments.store_features", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("config", metavar="CONFIG[:VARIANT]", help="a config of warped features, such as scenes")
    parser.add_argument("--out", type=Path, help="the folder to write; by default runs/features/CONFIG[-VARIANT]")
    known, overrides = parser.parse_known_args(arguments)
    name, _, variant = known.config.partition(":")
    out = known.out or find_checkout() / "runs" / "features" / known.config.replace(":", "-")
    try:
        store(name, variant, overrides, out)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"store_features: {error}")


def store(name: str, variant: str, overrides: Sequence[str], out: Path) -> None:
    """Write the features of both splits.

    Args:
        name: of a config whose network is "warped_features".
        variant: of the config.
        overrides: "--config.key=value", each.
        out: the folder.

    Raises:
        ValueError: if there is no such config, or its network is another.
    """
    table = experiments.Table("", name, {})
    config = experiments.Runner("", table, tuple(overrides), out, out).load(variant)
    if config.network.name != "warped_features":
        raise ValueError(f"the network of a config must be 'warped_features', not {config.network.name!r}")
    recipe = recipes.read_recipe(config)
    network = cast(models.WarpedFeatures, recipe.network(config.seed))
    network.eval()
    features = jax.jit(lambda images: last_features(network.backbone, recipe.as_input(images)))
    for split, source in zip(("train", config.test_split), read_sources(config), strict=True):
        if (out / split).is_dir():
            print(f"{out / split} is there already")
            continue
        began, seen = time.perf_counter(), read_input(config).to_test(source)
        shape = jax.eval_shape(features, seen[0]["image"][None]).shape[1:]
        batches = _batches(seen, features)
        write_stored(out / split, batches, count=len(seen), shape=shape, classes=seen.classes)
        print(f"\r{out / split}: {len(seen):,} feature maps {shape} in {time.perf_counter() - began:.0f} s")


def _batches(seen, features):
    """Features and labels of a source."""
    done = 0
    for batch in data.eval_batches(seen, batch_size=_BATCH):
        kept = batch["mask"] > 0
        yield np.asarray(features(batch["image"]))[kept], batch["label"][kept]
        done += int(kept.sum())
        print(f"\r{done:,} of {len(seen):,} images", end="", flush=True)


if __name__ == "__main__":
    main()
